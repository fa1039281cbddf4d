"""Runs of `kedro flow …` that can be killed at a chosen place, many of them for the price of one start.

As a script this is a process that has imported the project and nothing more; for each line of JSON that it is sent it
forks a child, which runs the command as a process of its own, and kills it with SIGKILL where it is told to.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projects import PROJECT, run_environment

KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, its JSON lines, and what it wrote beside them."""

    code: int
    events: list[dict[str, Any]]
    said: str

    def nodes(self, event: str) -> list[str]:
        """Names of nodes of which an event told, in order."""
        return [line["node"] for line in self.events if line["event"] == event]


class Forks:
    """The process that forks; `run` waits for one command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self,
        *arguments: str | Path,
        data: Path,
        kill: tuple[str, int | str, float] | None = None,
        **variables: str,
    ) -> Ended:
        """`kedro …` with its datasets below `data`.

        kill: an event, the how-manieth of it or its node, and how many seconds after it the process is killed.
        """
        asked = {"arguments": [str(one) for one in arguments], "kill": kill}
        asked["variables"] = {"AGENT_MARKET_DATA": str(data)} | variables
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


@contextmanager
def forks() -> Iterator[Forks]:
    """A process that forks; it ends with the block."""
    environment = run_environment(Path(os.devnull)) | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__],
        cwd=PROJECT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield Forks(process)
        process.stdin.close()


def _serve() -> None:
    import lightgbm  # noqa: F401 - what takes long to import, once for all children
    import sklearn.linear_model  # noqa: F401
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    list(pipelines)
    from agent_market.cli import cli

    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile("w+") as said:
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                os.setpgid(0, 0)
                os.dup2(writing, 1)
                os.dup2(said.fileno(), 2)
                os.close(reading)
                os.environ |= asked["variables"]
                cli.main(args=asked["arguments"], prog_name="kedro")
            os.close(writing)
            events = list(_watched(reading, child, asked["kill"]))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            sys.__stdout__.write(json.dumps({"code": code, "events": events, "said": said.read()[-20_000:]}) + "\n")
            sys.__stdout__.flush()


def _watched(reading: int, child: int, kill: tuple[str, int | str, float] | None) -> Iterator[dict[str, Any]]:
    seen = 0
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line) if line.startswith("{") else {"event": "said", "text": line}
            yield event
            if kill is not None and event["event"] == kill[0]:
                seen += 1
                if kill[1] in (seen, event.get("node")):
                    time.sleep(kill[2])
                    os.killpg(child, signal.SIGKILL)


def half_written(data: Path) -> list[str]:
    """What a finished run must not leave: drafts, a journal, and folders of versions without their content."""
    found = []
    for path in data.rglob("*"):
        name = path.relative_to(data).as_posix()
        is_version = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z_*", path.name) and path.is_dir()
        is_draft = ".draft" in path.name or path.name in ("journal.jsonl", "holder.json")
        if is_draft or (is_version and not (path / path.parent.name).exists()):
            found.append(name)
    return sorted(found)


if __name__ == "__main__":
    _serve()
