"""freqtrade's candle files as a download leaves them, and the notes on what has been asked for.

A file is replaced in one step, so that it is whole at any moment: a process that is killed leaves the old one.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from agent_market.errors import DataError
from agent_market.market.datadir import COLUMNS, RATE_COLUMNS, CandleFile, read_columns
from agent_market.options import timeframe_delta

NOTES = "agent_market.json"
UNFINISHED = ".part"
ABANDONED = 3600  # seconds after which an unfinished file belongs to no running process


@dataclass(frozen=True)
class Series:
    """One pair's candles, mark prices or funding rates, and the file that holds them."""

    folder: Path
    pair: str
    timeframe: str
    kind: str  # spot, futures, mark, funding_rate

    @property
    def path(self) -> Path:
        """`BTC_USDT-1h.feather`, `BTC_USDT_USDT-1h-mark.feather`."""
        name = self.pair.translate(str.maketrans("/ .@$+:", "_______"))
        kind = "" if self.kind == "spot" else f"-{self.kind}"
        return self.folder / f"{name}-{self.timeframe}{kind}.feather"

    @property
    def step(self) -> pd.Timedelta:
        """The length of one candle."""
        return timeframe_delta(self.timeframe)

    def __str__(self) -> str:
        return f"{self.pair} {self.timeframe} {self.kind}"


def read_series(series: Series) -> pd.DataFrame | None:
    """What the file holds, sorted by date and each date once; None if there is no file.

    Raises DataError for a file that cannot be read, and for one of another format that stands in its place.
    """
    others = [series.path.with_suffix(suffix) for suffix in (".parquet", ".json", ".json.gz")]
    for other in others:
        if other.exists():
            raise DataError(
                f"{other} holds {series}, but a download keeps feather files; convert it with `freqtrade "
                "convert-data --format-to feather --erase`, or set market.datadir to another folder"
            )
    if not series.path.exists():
        return None
    file = CandleFile(series.path, series.pair, series.timeframe, "feather")
    return _in_order(read_columns(file, RATE_COLUMNS if series.kind == "funding_rate" else COLUMNS))


def merge(stored: pd.DataFrame | None, fetched: pd.DataFrame) -> pd.DataFrame:
    """Both, sorted by date; a date that both have is as fetched."""
    if stored is None or stored.empty:
        return _in_order(fetched)
    return stored if fetched.empty else _in_order(pd.concat([stored, fetched], ignore_index=True))


def write_series(series: Series, frame: pd.DataFrame) -> None:
    """Put the frame in the place of what the file held, in one step."""
    replace_file(series.path, lambda part: frame.to_feather(part, compression="lz4", compression_level=9))


def read_notes(folder: Path) -> dict[str, Any]:
    """What a download noted in a folder: `markets` by pair, and `asked`, the span asked for, by file."""
    path = folder / NOTES
    empty: dict[str, Any] = {"markets": {}, "asked": {}}
    if not path.exists():
        return empty
    try:
        return empty | json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}. Delete it; the next download writes it anew") from error


def write_notes(folder: Path, notes: dict[str, Any]) -> None:
    """Keep the notes of a download beside its files."""
    text = json.dumps(notes, indent=1, sort_keys=True)
    replace_file(folder / NOTES, lambda part: part.write_text(text, "utf-8"))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file beside `path` and give it that name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        if time.time() - old.stat().st_mtime > ABANDONED:
            old.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop_duplicates("date", keep="last").sort_values("date").reset_index(drop=True)
