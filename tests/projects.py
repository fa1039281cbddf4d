"""Running the project from the command line, as a user does."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def kedro(*arguments: str, data: Path, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """`kedro …` in the project, with its datasets below `data`."""
    return python("-m", "kedro", *arguments, data=data, timeout=timeout, **variables)


def python(*arguments: str, data: Path, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python …` in the project, with its datasets below `data`."""
    environment = run_environment(data) | variables
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=timeout)


def kedro_on_a_terminal(*arguments: str, data: Path) -> str:
    """What a terminal of 160 columns receives from `kedro …`, control sequences of cursor and colour taken out."""
    mine, its = pty.openpty()
    environment = run_environment(data) | {"TERM": "xterm-256color"}
    command = [sys.executable, "-m", "kedro", *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    received = b""
    while True:
        try:
            part = os.read(mine, 65536)
        except OSError:  # Linux's way to say that the other end was closed
            break
        if not part:
            break
        received += part
    os.close(mine)
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received.decode())
    assert process.wait(60) == 0, said
    return said


def run_environment(data: Path) -> dict[str, str]:
    """The variables of a run that keeps its datasets below `data`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEDRO_")}
    return clean | {"AGENT_MARKET_DATA": str(data), "KEDRO_DISABLE_TELEMETRY": "1", "COLUMNS": "160"}


def only_version(data: Path, dataset: str) -> Path:
    """The one stored version of a dataset, given by its path below the data folder."""
    (found,) = (data / dataset).glob("*/*")
    return found


def stored(data: Path) -> dict[str, list[Path]]:
    """Each stored dataset's versions, oldest first, by the dataset's path below the data folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted(data.rglob("*")):
        relative = path.relative_to(data).parts
        if len(relative) >= 3 and path.name == path.parents[1].name:
            found.setdefault("/".join(relative[:-2]), []).append(path)
    return found
