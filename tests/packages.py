"""The project as `kedro package` hands it over, installed where nothing else of the repository can be seen."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]

OFFLINE = """
import sys
from kedro.framework.cli import project
from kedro.framework.startup import bootstrap_project
from pathlib import Path

call = project.call
project.call = lambda command, **where: call([*command, *(["--no-isolation"] if "build" in command else [])], **where)
project.package.main([], obj=bootstrap_project(Path.cwd()), standalone_mode=False)
"""
"""`kedro package` with one difference: setuptools is the one that is installed, where `build` would download it."""


@dataclass(frozen=True)
class Packaged:
    """What `kedro package` made, and an environment with nothing but the wheel and the libraries that it needs."""

    wheel: Path
    conf: Path  # the archive of conf
    python: Path

    def run(self, *arguments: str, folder: Path, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """`agent-market …` in `folder`."""
        command = [str(self.python.with_name("agent-market")), *arguments]
        return subprocess.run(
            command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=timeout, check=False
        )


def package(folder: Path) -> Packaged:
    """Package the files that git knows, from a copy below `folder`, and install the wheel."""
    copy = folder / "project"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(("docs/", "notebooks/", "tests/", "benchmarks/")) and (PROJECT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, copy / name)
    (copy / "conf" / "local" / "credentials.yml").write_text("llm: {api_key: a-secret}\n")
    _check(
        subprocess.run([sys.executable, "-c", OFFLINE], cwd=copy, env=_environment(), capture_output=True, text=True)
    )
    (wheel,) = (copy / "dist").glob("*.whl")

    place = folder / "environment"
    _check(subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], capture_output=True, text=True))
    python = place / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    _check(subprocess.run([*install, str(wheel)], env=_environment(), capture_output=True, text=True))
    (packages,) = place.glob("lib/python*/site-packages")
    # A path in a .pth file brings the libraries, but not that folder's own .pth files: not the editable project.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Packaged(wheel=wheel, conf=copy / "dist" / "conf-agent_market.tar.gz", python=python)


def _check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


def _environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEDRO_", "AGENT_MARKET_"))}
    clean.pop("PYTHONPATH", None)
    return clean | {"KEDRO_DISABLE_TELEMETRY": "1", "COLUMNS": "160"}
