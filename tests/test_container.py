"""The container file installs what the Makefile installs, and copies what there is."""

import fnmatch
import re
import subprocess
import tomllib

import pytest

from projects import PROJECT

TEXT = (PROJECT / "Containerfile").read_text(encoding="utf-8")
STEPS = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line and not line.startswith("#")]
COPIED = [name.removeprefix("./") for step in STEPS if step.startswith("COPY ") for name in step.split()[1:-1]]
IGNORED = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def in_context(path: str) -> bool:
    """Whether a file reaches the build: the last line of .dockerignore that matches it or a folder above decides."""
    folders = path.split("/")
    ways = ["/".join(folders[:depth]) for depth in range(1, len(folders) + 1)]
    kept = True
    for line in IGNORED:
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        ends = [way.rpartition("/")[2] for way in ways] if pattern.startswith("**/") else ways
        if any(fnmatch.fnmatchcase(way, pattern.removeprefix("**/")) for way in ends):
            kept = line.startswith("!")
    return kept


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_it_installs_as_the_makefile_does():
    made = re.findall(r"pip install (?:-q )?(?:--disable-pip-version-check )?(.+)", (PROJECT / "Makefile").read_text())
    contained = re.findall(r"pip install (.+?)(?: && .*)?$", "\n".join(STEPS), flags=re.MULTILINE)
    assert contained == made == ["-r requirements.lock", "--no-deps -e ."]


def test_the_lock_comes_before_the_source_so_that_its_layer_stays():
    parts = ("COPY requirements.lock", "install -r requirements.lock", "COPY src", "--no-deps -e .", "COPY conf")
    order = [next(number for number, step in enumerate(STEPS) if part in step) for part in parts]
    assert order == sorted(order)


def test_what_it_copies_is_there_and_reaches_the_build(tracked):
    for name in COPIED:
        files = [path for path in tracked if path == name or path.startswith(f"{name}/")]
        assert files, f"{name} is copied, but git knows no such file"
        assert all(in_context(path) for path in files if path != "conf/local/.gitkeep")


def test_what_the_package_is_built_from_is_copied():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", project["readme"], *project["license-files"], "src", "conf"} <= set(COPIED)


@pytest.mark.parametrize(
    "path",
    ["conf/local/credentials.yml", "conf/local/parameters.yml", "data/01_raw/candles.parquet", ".git/config",
     ".venv/bin/python", "src/agent_market/__pycache__/cli.pyc", "src/agent_market.egg-info/PKG-INFO"],
)  # fmt: skip
def test_secrets_data_and_leftovers_stay_outside(path):
    assert not in_context(path)
    assert in_context("src/agent_market/cli.py")


def test_nothing_runs_as_root_and_no_secret_is_baked_in():
    assert STEPS[-3:] == ["STOPSIGNAL SIGINT", 'ENTRYPOINT ["kedro"]', 'CMD ["run"]']
    assert "USER agent" in STEPS
    assert not [step for step in STEPS if step.startswith(("ENV", "ARG")) and re.search("KEY|TOKEN|PASSWORD", step)]


def test_the_python_of_the_image_is_one_that_the_project_is_for():
    version = re.search(r"ARG PYTHON=(\S+)", TEXT)[1]
    assert version in ("3.11", "3.12", "3.13")
