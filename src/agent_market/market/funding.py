"""What holders of futures pay each other, from the files that freqtrade keeps beside the candles."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.market.datadir import RATE_COLUMNS, list_files, read_columns
from agent_market.market.options import MarketOptions
from agent_market.market.pairs import shorten

log = logging.getLogger(__name__)

DATE = "datetime64[ms, UTC]"
FUNDING_COLUMNS = ["pair", "date", "funding_rate", "mark_price"]
TIMEFRAMES = ("1h", "8h", "4h")  # under which freqtrade has kept rates and mark prices, the present one first
LONGEST_GAP = pd.Timedelta("8h")  # the longest usual time between two rates


def load_funding(candles: pd.DataFrame, options: MarketOptions) -> pd.DataFrame:
    """The funding rates of the candles' pairs while there are candles: pair, date, funding_rate, mark_price.

    date is when the rate is paid, on the full minute (datetime64[ms, UTC]); funding_rate a fraction of the position's
    worth that longs pay to shorts (float64); mark_price the open of the mark candle of that date (float64). Rows are
    sorted by pair and date, each once; those of which either value is unknown are not there. Spot has none, and so has
    a simulated market or a folder without such files: then a warning says that nothing is paid.
    """
    pairs = candles["pair"].cat.categories
    if options.trading_mode == "spot":
        return _table([], pairs)
    if options.source == "simulated":
        log.warning("A simulated market has no funding rates: positions in futures are held for nothing")
        return _table([], pairs)
    folder = options.folder / "futures"
    spans = candles.groupby("pair", observed=True)["date"].agg(["min", "max"])
    tables = [_of_pair(folder, pair, *spans.loc[pair]) for pair in pairs]
    absent = [pair for pair, table in zip(pairs, tables, strict=True) if table.empty]
    if absent:
        log.warning(
            "%s has no funding rates with mark prices of %s: its positions are held for nothing. `freqtrade "
            "download-data --trading-mode futures` or market.source=exchange fetches them",
            folder,
            shorten(absent),
        )
    for pair, table in zip(pairs, tables, strict=True):
        _warn_of_gaps(pair, table, *spans.loc[pair])
    return _table(tables, pairs)


def _of_pair(folder: Path, pair: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
    """Rates and mark prices of one pair from its first candle to its last."""
    rates = _read_any(folder, pair, ("funding_rate",), RATE_COLUMNS)
    marks = _read_any(folder, pair, ("mark", "futures"), ["date", "open"])
    if rates is None or marks is None:
        return _table([], [pair])
    # exchanges note the time of a payment to the millisecond; the mark candles are on the grid
    rates = rates.assign(date=rates["date"].dt.round("min").astype(DATE)).drop_duplicates("date", keep="last")
    marks = marks.rename(columns={"open": "mark_price"}).drop_duplicates("date", keep="last").astype({"date": DATE})
    table = rates.merge(marks, on="date", how="inner")
    known = np.isfinite(table["funding_rate"]) & (table["mark_price"] > 0) & np.isfinite(table["mark_price"])
    return table[known & table["date"].between(first, last)].sort_values("date").assign(pair=pair)


def _read_any(folder: Path, pair: str, kinds: tuple[str, ...], columns: list[str]) -> pd.DataFrame | None:
    """The first file that there is; where an exchange has no mark prices, freqtrade takes the pair's own."""
    for kind in kinds:
        files = {file.timeframe: file for file in list_files(folder, kind) if file.pair == pair}
        for timeframe in TIMEFRAMES:
            if timeframe in files:
                return read_columns(files[timeframe], columns)
    return None


def _warn_of_gaps(pair: str, table: pd.DataFrame, first: pd.Timestamp, last: pd.Timestamp) -> None:
    """Say where more than the longest usual time passes between two rates."""
    if table.empty:
        return
    dates = pd.Series([first, *table["date"], last])
    gaps = dates.diff().iloc[1:]
    gaps = gaps[gaps > LONGEST_GAP]
    if len(gaps):
        log.warning(
            "%s: for %d spans of up to %s, the longest from %s on, no funding rate is known; nothing is paid then",
            pair,
            len(gaps),
            gaps.max(),
            f"{dates[gaps.idxmax() - 1]:%Y-%m-%d %H:%M}",
        )


def _table(tables: list[pd.DataFrame], pairs: pd.Index | list[str]) -> pd.DataFrame:
    """All rows in one table, with the pairs that have any."""
    there = [table for table in tables if len(table)]
    if not there:
        empty = {"date": DATE, "funding_rate": "float64", "mark_price": "float64"}
        columns = {name: pd.Series(dtype=dtype) for name, dtype in empty.items()}
        return pd.DataFrame({"pair": pd.Categorical([], categories=pd.Index([], dtype="str")), **columns})
    table = pd.concat(there, ignore_index=True)
    present = set(table["pair"])
    table["pair"] = pd.Categorical(table["pair"], categories=[pair for pair in pairs if pair in present])
    return table[FUNDING_COLUMNS]
