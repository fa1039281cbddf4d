"""The archive of flows: a folder per run with all that is needed to understand it, go on with it, and repeat it.

runs/latest.json               which run is the latest, of all and by name; never "the newest folder"
runs/<run>/run.json            task, state, code, versions of libraries, and of each round what it read and made
runs/<run>/events.jsonl        what happened, a line as it happens
runs/<run>/rounds/01/          parameters.json, feedback and mining feedback of the round, its report
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from kedro.io.core import generate_timestamp

from agent_market.errors import FlowError
from agent_market.flow.records import now, write_json

State = Literal["running", "done", "stopped", "failed"]

FINISHED: tuple[State, ...] = ("done",)


@dataclass
class Pins:
    """What a round of mining sees of earlier ones: lines of the ledger, a version of the library, and a feedback."""

    ledger: int
    library: str | None
    feedback: str | None  # a path below the folder of runs

    @classmethod
    def read(cls, content: dict[str, Any] | None) -> "Pins | None":
        """Pins from their JSON."""
        return None if content is None else cls(**content)


@dataclass
class Round:
    """One round: what it started from, and what came of it."""

    number: int
    pins: Pins | None = None
    state: State = "running"
    kedro_runs: list[str] = field(default_factory=list)
    started: str = ""
    ended: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)  # of each dataset, by name
    contents: dict[str, str] = field(default_factory=dict)
    dates: dict[str, Any] = field(default_factory=dict)  # of the candles that models saw
    accepted: int | None = None
    trials: int | None = None
    llm_tokens: int | None = None
    ran: int = 0
    unchanged: int = 0

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Round":
        """A round from its JSON."""
        return cls(**content | {"pins": Pins.read(content["pins"])})


@dataclass
class Run:
    """One run of a flow, as it is archived."""

    id: str
    name: str
    task: dict[str, Any]
    task_file: str
    folder: Path
    state: State = "running"
    reason: str = ""
    started: str = ""
    ended: str | None = None
    code: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # models, or the step factor_mining, that failed
    rounds: list[Round] = field(default_factory=list)

    def save(self) -> None:
        """Write the run's state; a crash leaves the one before or this one."""
        content = asdict(self)
        del content["folder"]
        write_json(self.folder / "run.json", content)

    def tell(self, event: str, **facts: Any) -> dict[str, Any]:
        """Add a line to the run's events, and give it back."""
        line = {"time": now(), "run": self.id, "event": event, **facts}
        text = json.dumps(line, ensure_ascii=False, default=str) + "\n"
        with (self.folder / "events.jsonl").open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else "\n" + text  # what a crash cut off is a line of its own
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        return line

    def events(self) -> list[dict[str, Any]]:
        """All that happened; a line that a crash cut off is left out."""
        file = self.folder / "events.jsonl"
        found = []
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def round_folder(self, number: int) -> Path:
        """Where a round's files lie."""
        return self.folder / "rounds" / f"{number:02d}"


class Archive:
    """All runs below a folder."""

    def __init__(self, folder: Path, project: Path | None = None) -> None:
        self.folder = folder
        self.project = project or Path.cwd()

    def begin(self, name: str, task: dict[str, Any], task_file: str, libraries: dict[str, str]) -> Run:
        """A new run; it is the latest one from here on."""
        run_id = f"{generate_timestamp()}-{name}"
        run = Run(run_id, name, task, task_file, self.folder / run_id, started=now())
        run.code, run.libraries = code_state(self.project), libraries
        run.folder.mkdir(parents=True)
        run.save()
        pointers = self._pointers()
        pointers["latest"] = run_id
        pointers["by_name"] = pointers.get("by_name", {}) | {name: run_id}
        write_json(self.folder / "latest.json", pointers)
        return run

    def latest(self, name: str | None = None) -> Run | None:
        """The latest run, or the latest of a name; None if there is none."""
        pointers = self._pointers()
        run_id = pointers.get("latest") if name is None else pointers.get("by_name", {}).get(name)
        return self._read(self.folder / run_id) if run_id else None

    def get(self, run_id: str | None) -> Run:
        """A run by its id or the start of it; the latest one without.

        Raises:
            FlowError: There is none, or more than one.
        """
        if run_id in (None, "latest"):
            if (run := self.latest()) is None:
                raise FlowError(f"no flow has run yet: {self.folder} holds none; `kedro flow run TASK.yml` begins one")
            return run
        names = [folder.name for folder in self._folders()]
        found = [name for name in names if name == run_id] or [name for name in names if name.startswith(str(run_id))]
        found = found or [name for name in names if str(run_id) in name]
        if len(found) == 1:
            return self._read(self.folder / found[0])
        if found:
            raise FlowError(f"{run_id!r} fits {len(found)} runs: {', '.join(found[:5])}")
        close = get_close_matches(str(run_id), names, n=1)
        hint = f"did you mean {close[0]}?" if close else "`kedro flow list` shows those there are"
        raise FlowError(f"there is no run {run_id!r}; {hint}")

    def all(self) -> list[Run]:
        """All runs, the newest first."""
        return [self._read(folder) for folder in sorted(self._folders(), reverse=True)]

    def remove(self, run: Run) -> None:
        """Take a run out of the archive; pointers to it go to what is left."""
        draft = self.folder / f".{run.id}.removed"
        run.folder.rename(draft)
        shutil.rmtree(draft)
        left = self.all()
        names = {name: next((r.id for r in left if r.name == name), None) for name in {r.name for r in left}}
        write_json(self.folder / "latest.json", {"latest": left[0].id if left else None, "by_name": names})

    def _pointers(self) -> dict[str, Any]:
        file = self.folder / "latest.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def _folders(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (f for f in self.folder.iterdir() if not f.name.startswith(".") and (f / "run.json").is_file())

    def _read(self, folder: Path) -> Run:
        try:
            content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            rounds = [Round.read(part) for part in content.pop("rounds")]
            return Run(**content, folder=folder, rounds=rounds)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FlowError(
                f"{folder}/run.json cannot be read ({error}): this run was damaged; remove its folder"
            ) from None


def code_state(project: Path) -> dict[str, Any]:
    """The commit of the project, and whether files differ from it; empty outside of git."""
    import subprocess

    ask = {"cwd": project, "capture_output": True, "text": True, "check": False}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **ask)
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **ask)
    except FileNotFoundError:
        return {}
    if commit.returncode:
        return {}
    return {"commit": commit.stdout.strip(), "changed": sorted(line[3:] for line in changed.stdout.splitlines())}
