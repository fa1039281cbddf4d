"""Candle files of freqtrade: `BTC_USDT-1h.feather`, `futures/BTC_USDT_USDT-1h-futures.feather`."""

import gzip
import json
import re
import zlib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_string_dtype
from pyarrow import ArrowException

from agent_market.errors import DataError
from agent_market.market.options import MarketOptions
from agent_market.market.pairs import shorten, unknown_pair

COLUMNS = ["date", "open", "high", "low", "close", "volume"]
FILE_NAME = re.compile(
    r"(?P<pair>[\w-]+)-(?P<timeframe>\d+[a-zA-Z]{1,2})(-(?P<kind>\w+))?\.(?P<format>feather|parquet|json\.gz|json)"
)
KINDS = {"spot": None, "futures": "futures"}  # what stands after the timeframe; mark and funding files differ there
RATE_COLUMNS = ["date", "funding_rate"]


@dataclass(frozen=True)
class CandleFile:
    """One file and what its name says."""

    path: Path
    pair: str
    timeframe: str
    format: str


def read_datadir(options: MarketOptions) -> pd.DataFrame:
    """Raw candles from freqtrade's files: pair, date (open time, UTC), open, high, low, close, volume
    (float64).

    Rows stand in the order of the files, pair by pair; nothing is cleaned and no file is touched. Without
    `options.pairs` all pairs of the timeframe and trading mode are read. Raises DataError naming the file,
    the column and the remedy, and ParameterError for a pair that has no file.
    """
    files = _select_files(options)
    frames = [read_columns(file, COLUMNS).assign(pair=file.pair) for file in files]
    candles = pd.concat(frames, ignore_index=True)
    candles["pair"] = pd.Categorical(candles["pair"], categories=sorted(file.pair for file in files))
    return candles[["pair", *COLUMNS]]


def _select_files(options: MarketOptions) -> list[CandleFile]:
    """One file per pair asked for, sorted by pair."""
    folder = _folder(options)
    there = list_files(folder, KINDS[options.trading_mode])
    files = [file for file in there if file.timeframe == options.timeframe]
    if not files:
        raise DataError(_nothing_found(options, folder, there))
    known = {file.pair for file in files}
    wanted = options.pairs or known
    for pair in wanted:
        if pair not in known:
            raise unknown_pair(pair, known, f"{folder} ({options.timeframe} {options.trading_mode} candles)")
    chosen = sorted((file for file in files if file.pair in set(wanted)), key=lambda file: file.pair)
    for pair, same in groupby(chosen, key=lambda file: file.pair):
        names = [file.path.name for file in same]
        if len(names) > 1:
            raise DataError(
                f"{pair} is in {folder} more than once: {' and '.join(sorted(names))}. Which one is right "
                "cannot be known: move the others out of market.datadir"
            )
    return chosen


def _folder(options: MarketOptions) -> Path:
    datadir = Path(options.datadir).expanduser()
    if not datadir.is_dir():
        found = "is a file" if datadir.exists() else "does not exist"
        raise DataError(
            f"market.datadir {datadir.absolute()} {found}; give the folder that freqtrade keeps an "
            "exchange's candles in, for example user_data/data/binance"
        )
    return datadir / "futures" if options.trading_mode == "futures" else datadir


def list_files(folder: Path, kind: str | None) -> list[CandleFile]:
    """All candle files of a kind (None for spot, futures, mark, funding_rate) in a folder, sorted by name."""
    files = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = FILE_NAME.fullmatch(path.name)
        if match and path.is_file() and match["kind"] == kind:
            pair = match["pair"].replace("_", "/", 1).replace("_", ":", 1)
            files.append(CandleFile(path, pair, match["timeframe"], match["format"]))
    return files


def _nothing_found(options: MarketOptions, folder: Path, there: list[CandleFile]) -> str:
    """Why no file fits, from what is there instead."""
    mode = options.trading_mode
    problem = f"no {options.timeframe} {mode} candles in {folder} (market.datadir={options.datadir})"
    if there:
        kinds = sorted({(file.timeframe, file.format) for file in there})
        counted = [
            f"{timeframe} ({sum((file.timeframe, file.format) == (timeframe, form) for file in there)} x {form})"
            for timeframe, form in kinds
        ]
        return f"{problem}; there are {', '.join(counted)}: set market.timeframe to one of these"
    other = "spot" if mode == "futures" else "futures"
    datadir = Path(options.datadir).expanduser()
    if list_files(datadir if other == "spot" else datadir / "futures", KINDS[other]):
        return f"{problem}; there are {other} candles: set market.trading_mode={other}"
    tables = sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]) if folder.is_dir() else []
    if tables:
        return (
            f"{problem}; there are CSV files ({shorten((path.name for path in tables), 3)}), but only "
            "freqtrade's formats are read: feather, parquet, json, json.gz. Convert each one with pandas: "
            f"name its columns {', '.join(COLUMNS)}, make date a UTC timestamp of the candle's opening, and "
            "save it with "
            f'frame.to_feather("BTC_USDT-{options.timeframe}.feather")'
        )
    below = [path.name for path in sorted(datadir.iterdir()) if path.is_dir() and list_files(path, KINDS["spot"])]
    if below:
        return f"{problem}; its folders {shorten(below)} have candles: set market.datadir to one of these"
    return (
        f"{problem}; expected files such as BTC_USDT-{options.timeframe}.feather. Download candles with "
        f"`freqtrade download-data --timeframes {options.timeframe}` or correct market.datadir"
    )


def read_columns(file: CandleFile, columns: list[str]) -> pd.DataFrame:
    """The columns of one file, date first, in its order, with their types made right: float64 but for the date.

    Rates that stand in the column `open`, where freqtrade kept them before 2026, are found there, too.
    """
    if not file.path.stat().st_size:
        raise DataError(f"{file.path} is empty (0 bytes); download it again or move it out of market.datadir")
    try:
        frame = _READERS[file.format](file.path)
    except (ArrowException, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{file.path} cannot be read as {file.format}: {error}. It is truncated or damaged; download it "
            "again or move it out of market.datadir"
        ) from error
    if columns == RATE_COLUMNS and "funding_rate" not in frame:
        frame = frame.rename(columns={"open": "funding_rate"})
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{file.path} has no column {', '.join(missing)}; it has "
            f"{shorten(map(str, frame.columns)) or 'none'}; candles need {', '.join(columns)}"
        )
    if frame.empty:
        raise DataError(f"{file.path} holds no candles; download it again or move it out of market.datadir")
    typed = {"date": _to_dates(frame["date"], file.path)}
    for column in columns[1:]:
        typed[column] = _to_numbers(frame[column], file.path)
    return pd.DataFrame(typed).reset_index(drop=True)


def _read_json(path: Path) -> pd.DataFrame:
    """freqtrade's json: a list of [milliseconds, open, high, low, close, volume] or [milliseconds, rate], no header."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as stream:
        rows = json.load(stream)
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError("expected a list of rows [milliseconds, open, high, low, close, volume]")
    columns = RATE_COLUMNS if rows and len(rows[0]) == len(RATE_COLUMNS) else COLUMNS
    wrong = next((number for number, row in enumerate(rows) if len(row) != len(columns)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong} has {len(rows[wrong])} values, expected {len(columns)}: {columns}")
    return pd.DataFrame(rows, columns=columns)


_READERS = {
    "feather": pd.read_feather,
    "parquet": pd.read_parquet,
    "json": _read_json,
    "json.gz": _read_json,
}


def _to_numbers(values: pd.Series, path: Path) -> pd.Series:
    """The column as float64; numbers written as text are numbers, anything else is an error."""
    if not is_numeric_dtype(values) or is_bool_dtype(values):
        numbers = pd.to_numeric(values.astype("str").where(values.notna()), errors="coerce")
        wrong = values.notna() & numbers.isna()
        if wrong.any():
            raise DataError(
                f"{path}: column {values.name} is not numeric ({values.dtype}); row "
                f"{wrong.to_numpy().argmax()} is {values[wrong].iloc[0]!r}; correct or download the file "
                "again"
            )
        values = numbers
    return values.astype("float64")


def _to_dates(values: pd.Series, path: Path) -> pd.Series:
    """The column as UTC timestamps: from timestamps (UTC if they name no zone), ISO text, or milliseconds."""
    numeric = is_numeric_dtype(values)
    known_form = {"unit": "ms"} if numeric else {"format": "ISO8601" if is_string_dtype(values) else None}
    dates = pd.to_datetime(values, utc=True, errors="coerce", **known_form)
    wrong = dates.isna() & ~(numeric & values.notna())
    if wrong.any():
        raise DataError(
            f"{path}: column date has {wrong.sum()} values that are not dates; row "
            f"{wrong.to_numpy().argmax()} is {values[wrong].iloc[0]!r}; expected timestamps, or milliseconds "
            "since 1970"
        )
    if numeric and not values.between(1e11, 1e13).all():  # the years 1973 to 2286; seconds are below that
        raise DataError(
            f"{path}: column date reaches from {values.min()} to {values.max()}; expected milliseconds since "
            "1970, such as 1672531200000; seconds must be multiplied by 1000"
        )
    return dates.dt.as_unit("ms")
