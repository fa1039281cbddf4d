"""An append-only book of all that was tried and looked at: it outlives every run.

One JSON object per line, of kind `round` (a look at a gate segment) or `vault` (an opening). Each line holds the
digest of the line before it, so that a line that was changed or taken out is found. Without the book, trials of
earlier rounds could be forgotten, and with them why a lucky factor is no surprise.
"""

import getpass
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd

from agent_market.errors import DataError
from agent_market.mining.segments import Segment

START = "0" * 32


@dataclass(frozen=True)
class Look:
    """Which candles a look was at: simulated ones by their parameters, real ones wherever they were read from."""

    source: str
    timeframe: str
    pairs: tuple[str, ...]
    span: tuple[str, str]

    def touches(self, record: Mapping[str, Any]) -> bool:
        """Whether a record of the ledger is of candles that this look sees, too."""
        same = record["source"] == self.source and record["timeframe"] == self.timeframe
        start, end = (pd.Timestamp(date) for date in record["span"])
        mine = [pd.Timestamp(date) for date in self.span]
        return same and bool(set(record["pairs"]) & set(self.pairs)) and start < mine[1] and mine[0] < end

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the ledger."""
        return {
            "source": self.source,
            "timeframe": self.timeframe,
            "pairs": list(self.pairs),
            "span": list(self.span),
        }


@dataclass(frozen=True)
class Past:
    """What earlier rounds did to the same gate segment."""

    rounds: int
    trials: frozenset[str]  # rank keys that were evaluated, each counted once
    tested: frozenset[str]  # rank keys that the gate has judged
    openings: int  # of a vault that overlaps


def past_of(records: Iterable[Mapping[str, Any]], gate: Look, vault: Look | None = None) -> Past:
    """What the ledger knows of a gate segment; one that lies later than all earlier ones starts anew."""
    rounds, trials, tested, openings = 0, set(), set(), 0
    for record in records:
        if record["kind"] == "round" and gate.touches(record):
            rounds += 1
            trials |= set(record["trials"])
            tested |= set(record["tested"])
        elif record["kind"] == "vault" and vault is not None and vault.touches(record):
            openings += 1
    return Past(rounds, frozenset(trials), frozenset(tested), openings)


def look_of(segment: Segment, candles: pd.DataFrame, *, source: str, timeframe: str) -> Look:
    """A look at one segment of candles."""
    pairs = tuple(sorted(candles["pair"].astype(str).unique()))
    return Look(source, timeframe, pairs, tuple(segment.span))


def round_record(
    look: Look, *, number: int, q: float, trials: Sequence[str], tested: Sequence[str], accepted: Sequence[str]
) -> dict[str, Any]:
    """The line of one round: `trials`, `tested` and `accepted` are rank keys."""
    keys = {"trials": sorted(set(trials)), "tested": sorted(tested), "accepted": sorted(accepted)}
    return {"kind": "round", "round": number, "q": q, **look.as_dict(), **keys}


def vault_record(look: Look, *, factors: Mapping[str, str], code: str) -> dict[str, Any]:
    """The line of an opening of the vault: who, when, the code's version, and the factors by name and key."""
    who, when = getpass.getuser(), datetime.now(UTC).isoformat(timespec="seconds")
    return {"kind": "vault", "when": when, "who": who, "code": code, "factors": dict(factors), **look.as_dict()}


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All records, oldest first; none if there is no file yet.

    Raises:
        DataError: A line was changed, taken out or cut off.
    """
    if not path.exists():
        return []
    records, before = [], START
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or record.pop("before", None) != before:
            raise DataError(
                f"{path}: line {number} does not follow from the lines before it: the ledger was edited or cut off. "
                "Restore it from a backup; without it nobody knows how often the gate and the vault were looked at"
            )
        before = _digest(line)
        records.append(record)
    return records


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line, after checking that the book is whole; two runs at once wait for one another.

    A record that stands in the book with all its fields is not written a second time: it is of a run that was killed
    after its line was written, and is gone on with.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(record), sort_keys=True, ensure_ascii=False, allow_nan=False)
    with FileLock(f"{path}.lock"):
        if json.loads(text) in read_ledger(path):
            return
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        before = _digest(lines[-1]) if lines else START
        line = json.dumps({"before": before, **record}, sort_keys=True, ensure_ascii=False, allow_nan=False)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def fingerprint_of(records: Iterable[Mapping[str, Any]]) -> str:
    """32 hex digits, equal for the same records in the same order."""
    return _digest(json.dumps(list(records), sort_keys=True, ensure_ascii=False, allow_nan=False))


def _digest(line: str) -> str:
    return blake2b(line.encode(), digest_size=16).hexdigest()
