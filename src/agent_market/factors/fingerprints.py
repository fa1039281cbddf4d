"""What a stored table of features was made of, and how much of it still holds for newer candles."""

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.factors.expression import canonical
from agent_market.factors.panel_folder import StoredPanel, parts_of
from agent_market.market import candles as candle_rules

log = logging.getLogger(__name__)

HASH_ROWS = 4096
"""Candles per hash: what changed is known to this grain, and recomputed from the beginning of such a block."""

_LIBRARIES = ("numpy", "numba", "bottleneck", "ta-lib")
_ALWAYS, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class CandleSource(Protocol):
    """Candles that can be read by pair and by rows; `rows` is their number, pairs in alphabetical order."""

    rows: Mapping[str, int]

    def read(
        self, pair: str, columns: Sequence[str] | None = None, *, start: int = 0, stop: int | None = None
    ) -> pd.DataFrame:
        """Rows `start` to `stop` of one pair's candles, with all columns or those asked for."""


class CandleTable:
    """Candles in memory as a source."""

    def __init__(self, candles: pd.DataFrame) -> None:
        parts = list(parts_of(candles))
        self._parts = dict(sorted(parts, key=lambda part: part[0]))
        if len(self._parts) < len(parts):
            raise DataError("the candles are not sorted by pair: a pair stands at several places; sort them")
        self.rows = {pair: len(rows) for pair, rows in self._parts.items()}

    def read(
        self, pair: str, columns: Sequence[str] | None = None, *, start: int = 0, stop: int | None = None
    ) -> pd.DataFrame:
        """Rows `start` to `stop` of one pair's candles, with all columns or those asked for."""
        rows = self._parts[pair].iloc[start:stop]
        return rows if columns is None else rows[list(columns)]


def open_times(source: CandleSource, pair: str, *, start: int = 0, stop: int | None = None) -> np.ndarray:
    """When the candles of a pair open, as int64 milliseconds since 1970."""
    return _milliseconds(source.read(pair, ["date"], start=start, stop=stop))


def fingerprint(source: CandleSource, factors: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the values of factors follow from, JSON-ready: expressions, settings, code, and hashes of the candles."""
    return {
        "factors": {name: canonical(text) for name, text in factors.items()},
        "settings": json.loads(json.dumps(dict(settings), default=str)),
        "code": code_fingerprint(),
        "hash_rows": HASH_ROWS,
        "candles": {pair: {"rows": rows, "hashes": _hashes(source.read(pair))} for pair, rows in source.rows.items()},
    }


@functools.cache
def code_fingerprint() -> str:
    """A short hash of the code that computes factors and of the versions of the libraries it uses."""
    digest = hashlib.blake2b(digest_size=8)
    for file in (*sorted(Path(__file__).parent.rglob("*.py")), Path(candle_rules.__file__)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {_version(library)}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Kept:
    """What of a stored table still holds.

    `rows` is the number of first rows of each pair that hold for factors of one pair, `cross_rows` the same for those
    with cross-sections; `factors` are the names of which this is said, all others are to be computed from the start.
    """

    factors: frozenset[str] = frozenset()
    rows: Mapping[str, int] | None = None
    cross_rows: Mapping[str, int] | None = None

    def of(self, pair: str, factor: str, *, is_cross: bool) -> int:
        """The number of first rows of a pair whose stored values of a factor hold."""
        if factor not in self.factors:
            return 0
        return (self.cross_rows if is_cross else self.rows)[pair]


def still_holds(stored: StoredPanel | None, facts: Mapping[str, Any], source: CandleSource) -> Kept:
    """How much of the stored table is what a full computation would give; the log says what is not, and why."""
    if stored is None:
        return Kept()
    known = stored.facts
    if reason := _unlike(known, facts, stored):
        log.info("all features are computed anew: the stored ones have %s", reason)
        return Kept()
    factors = frozenset(name for name, text in facts["factors"].items() if known["factors"].get(name) == text)
    if others := [name for name in facts["factors"] if name not in factors]:
        log.info("%d factors are new or changed, they are computed from the start: %s", len(others), _some(others))
    rows, until = {}, {}
    for pair in source.rows:
        rows[pair], until[pair] = _unchanged(source, pair, known["candles"].get(pair), facts["candles"][pair])
    _tell(rows, known["candles"], source)
    if known["candles"].keys() != source.rows.keys():
        log.info(
            "there are other pairs than in the stored features (%s): cross-sections are computed from the start",
            _some(sorted(known["candles"].keys() ^ source.rows.keys())),
        )
        return Kept(factors, rows, dict.fromkeys(source.rows, 0))
    earliest = min(until.values())
    return Kept(factors, rows, {pair: _rows_until(source, pair, earliest) for pair in source.rows})


def _unlike(known: Mapping[str, Any], facts: Mapping[str, Any], stored: StoredPanel) -> str:
    """Why nothing of the stored table can be kept, or nothing."""
    if not {*facts} <= {*known}:
        return "no fingerprint"
    if {pair: part["rows"] for pair, part in known["candles"].items()} != dict(stored.rows):
        return "not the rows that their fingerprint says"
    if stored.columns != ("pair", "date", *known["factors"]):
        return "not the columns that their fingerprint says"
    words = {"settings": "settings", "code": "code", "hash_rows": "sizes of hashed blocks"}
    unlike = [word for key, word in words.items() if known[key] != facts[key]]
    return f"other {' and '.join(unlike)}" if unlike else ""


def _unchanged(source: CandleSource, pair: str, old: Any, new: Mapping[str, Any]) -> tuple[int, int]:
    """How many first candles of a pair are those of before, and the date in ms up to which nothing differs."""
    if old is None:
        return 0, _ALWAYS
    if new["rows"] == old["rows"] and new["hashes"] == old["hashes"]:
        return new["rows"], _NEVER
    rows = 0
    for block, known in enumerate(old["hashes"]):
        size = min(HASH_ROWS, old["rows"] - rows)
        whole = size == HASH_ROWS
        found = new["hashes"][block : block + 1] if whole else _hashes(source.read(pair, start=rows, stop=rows + size))
        if found != [known]:
            break
        rows += size
    if rows == 0:
        return 0, _ALWAYS
    return rows, int(open_times(source, pair, start=rows - 1, stop=rows)[0])


def _rows_until(source: CandleSource, pair: str, date: int) -> int:
    """The number of a pair's candles up to a date."""
    if date in (_ALWAYS, _NEVER):
        return 0 if date == _ALWAYS else source.rows[pair]
    return int(np.searchsorted(open_times(source, pair), date, side="right"))


def _tell(rows: Mapping[str, int], known: Mapping[str, Any], source: CandleSource) -> None:
    """Log how much is kept and which pairs have another past than before."""
    log.info("%d of %d rows of features are kept as they are stored", sum(rows.values()), sum(source.rows.values()))
    changed = [pair for pair, kept in rows.items() if pair in known and kept < known[pair]["rows"]]
    if changed:
        log.info(
            "stored candles of %d pairs have changed, their features are computed anew from the change on: %s",
            len(changed),
            _some([f"{pair} from row {rows[pair]} of {known[pair]['rows']}" for pair in changed]),
        )


def _hashes(candles: pd.DataFrame) -> list[str]:
    """A hash of each block of candles, of their dates and all columns of numbers."""
    numbers = [candles[name].to_numpy() for name in candles if name != "date" and candles[name].dtype.kind in "fiub"]
    columns = [np.ascontiguousarray(column) for column in (_milliseconds(candles), *numbers)]
    return [
        hashlib.blake2b(
            b"".join(column[row : row + HASH_ROWS].tobytes() for column in columns), digest_size=8
        ).hexdigest()
        for row in range(0, len(candles), HASH_ROWS)
    ]


def _milliseconds(candles: pd.DataFrame) -> np.ndarray:
    return candles["date"].dt.as_unit("ms").astype("int64").to_numpy()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
