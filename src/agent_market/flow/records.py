"""What nodes were made of: one small file per node and fingerprint, written when all outputs are on the disk."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Made:
    """One output as it was made: the version it lies in (None without versions), and the hash of its content."""

    version: str | None
    content: str


@dataclass(frozen=True)
class Record:
    """A finished node: its fingerprint, what that is made of, and its outputs by name."""

    node: str
    fingerprint: str
    code: str
    inputs: dict[str, str]
    outputs: dict[str, Made]
    run: str
    seconds: float
    made: str

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Record":
        """A record from its JSON."""
        return cls(**content | {"outputs": {name: Made(**made) for name, made in content["outputs"].items()}})


class Records:
    """All records below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, node: str, fingerprint: str) -> Record | None:
        """The record of a node with this fingerprint; None if it never finished so."""
        return self._read(self._file(node, fingerprint))

    def newest(self, node: str) -> Record | None:
        """What the node was last made of, or last found unchanged with."""
        files = sorted(self._folder.joinpath(node).glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return self._read(files[-1]) if files else None

    def all(self) -> list[Record]:
        """All records there are."""
        records = (self._read(file) for file in sorted(self._folder.glob("*/*.json")))
        return [record for record in records if record is not None]

    def keep(self, record: Record) -> None:
        """Store a record; a crash leaves the whole of it or nothing."""
        write_json(self._file(record.node, record.fingerprint), asdict(record))

    def touch(self, record: Record) -> None:
        """Mark a record as the newest of its node."""
        os.utime(self._file(record.node, record.fingerprint))

    def drop(self, record: Record) -> None:
        """Forget a record."""
        self._file(record.node, record.fingerprint).unlink(missing_ok=True)

    def _file(self, node: str, fingerprint: str) -> Path:
        return self._folder / node / f"{fingerprint}.json"

    def _read(self, file: Path) -> Record | None:
        """The record in a file; None for one that is not there, or was damaged: the node runs again."""
        try:
            return Record.read(json.loads(file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file that is there whole or not at all, also after a power cut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def now() -> str:
    """The time, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_json(file: Path) -> Any:
    """A JSON file; None if it is not there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def link(source: str, target: str) -> None:
    """Give a file a second name, or copy it where there are no links."""
    try:
        Path(target).hardlink_to(source)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)
