"""From raw candles to clean ones, with a count of everything that was dropped, repaired or filled."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.market.datadir import read_datadir
from agent_market.market.exchange import read_exchange
from agent_market.market.options import MarketOptions
from agent_market.market.simulated import simulate
from agent_market.options import timeframe_delta

DATE = "datetime64[ms, UTC]"
PRICES = ["open", "high", "low", "close"]
SIGNIFICANT_DIGITS = 12  # of prices; what stands after them is noise of binary arithmetic
SOURCES = {"simulated": simulate, "freqtrade_datadir": read_datadir, "exchange": read_exchange}


def load_candles(options: MarketOptions) -> pd.DataFrame:
    """Raw candles of the options' source: pair, date (open time, UTC), open, high, low, close, volume."""
    return SOURCES[options.source](options)


def clean_candles(raw: pd.DataFrame, options: MarketOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clean candles, sorted by (pair, date) and unique, and the quality table that says what was found and
    done.

    Candles: pair (categorical), date (open time, datetime64[ms, UTC]), open, high, low, close, volume
    (float64), filled (bool). Each value of a row comes from candles at or before its date; only *whether* a
    gap is filled depends on how long it turns out to be.

    Quality, one row per pair: candles (rows of the result), first, last, gaps, missing and longest_gap (in
    candles, before filling), duplicates (surplus rows), out_of_order, ohlc_violations (high or low does not
    hold the other prices), non_positive_or_nan, zero_volume, stale (all four prices repeat the previous
    close), dropped, repaired (high or low widened), filled.

    Raises DataError for dates off the timeframe's grid, for duplicates (unless `options.on_duplicates` says
    which to keep), and for a pair of which nothing is left.
    """
    _check_columns(raw)
    dates = raw["date"].dt.tz_convert("UTC").dt.as_unit("ms")
    raw = raw.assign(date=dates, pair=raw["pair"].astype("str")).reset_index(drop=True)
    _check_grid(raw, options)
    _check_duplicates(raw, options)
    cleaned = [_clean_pair(pair, rows, options) for pair, rows in raw.groupby("pair", sort=True)]
    candles = pd.concat([frame for frame, _ in cleaned], ignore_index=True)
    quality = pd.DataFrame([counts for _, counts in cleaned])
    names = quality["pair"].tolist()
    candles["pair"] = pd.Categorical(candles["pair"], categories=names)
    quality["pair"] = pd.Categorical(quality["pair"], categories=names)
    return candles[["pair", "date", *PRICES, "volume", "filled"]], quality


def contiguous_segments(frame: pd.DataFrame, timeframe: str, max_gap: int = 0) -> np.ndarray:
    """Where the unbroken runs of candles begin: int64 array of shape (n_segments + 1,), the last entry is
    len(frame).

    A run ends where the pair changes or where more than `max_gap` candles are missing. Segment i is
    `frame.iloc[starts[i] : starts[i + 1]]`. Raises DataError if rows are not sorted by (pair, date) and
    unique.
    """
    if frame.empty:
        return np.zeros(1, dtype=np.int64)
    starts = pair_starts(frame)
    steps = np.diff(_milliseconds(frame["date"]))
    steps[starts[1:] - 1] = np.iinfo(np.int64).max  # from one pair to the next
    if frame["pair"].iloc[starts].duplicated().any() or steps.min(initial=1) <= 0:
        raise DataError("the candles are not sorted by pair and date, or some date stands twice; clean them first")
    breaks = np.flatnonzero(steps > (max_gap + 1) * _step(timeframe)) + 1
    return np.concatenate([[0], breaks, [len(frame)]]).astype(np.int64)


def pair_starts(frame: pd.DataFrame) -> np.ndarray:
    """The first row of each run of one pair: int64 of shape (n_runs,)."""
    pair = frame["pair"]
    codes = pair.cat.codes.to_numpy() if isinstance(pair.dtype, pd.CategoricalDtype) else pd.factorize(pair)[0]
    return np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))


def _clean_pair(pair: str, rows: pd.DataFrame, options: MarketOptions) -> tuple[pd.DataFrame, dict]:
    """The clean candles of one pair, and its row of the quality table."""
    found = {
        "duplicates": rows["date"].duplicated().sum(),
        "out_of_order": (np.diff(_milliseconds(rows["date"])) < 0).sum(),
        "ohlc_violations": _violates(rows).sum(),
    }
    good = usable(rows)
    kept = rows[good].sort_values("date", kind="stable")
    if options.on_duplicates != "error":
        kept = kept.drop_duplicates("date", keep=options.on_duplicates)
    if kept.empty:
        raise DataError(
            f"{pair}: none of its {len(rows)} candles is usable (prices must be positive, volume 0 or more); "
            "leave the pair out of market.pairs"
        )
    kept, widened = repair_prices(kept.reset_index(drop=True))
    missing = np.diff(_milliseconds(kept["date"])) // _step(options.timeframe) - 1
    candles = _fill_gaps(kept, missing, options)
    previous = kept["close"].shift()
    counts = {
        "gaps": (missing > 0).sum(),
        "missing": missing.sum(),
        "longest_gap": missing.max(initial=0),
        **found,
        "non_positive_or_nan": (~good).sum(),
        "zero_volume": (kept["volume"] == 0).sum(),
        "stale": kept[PRICES].eq(previous, axis=0).all(axis=1).sum(),
        "dropped": len(rows) - len(kept),
        "repaired": widened,
        "filled": candles["filled"].sum(),
    }
    span = {"first": candles["date"].iloc[0], "last": candles["date"].iloc[-1]}
    counts = {name: int(count) for name, count in counts.items()}
    return candles, {"pair": pair, "candles": len(candles), **span, **counts}


def usable(rows: pd.DataFrame) -> pd.Series:
    """Whether each candle's prices are positive numbers and its volume is 0 or more."""
    numbers = rows[[*PRICES, "volume"]]
    return np.isfinite(numbers).all(axis=1) & (rows[PRICES] > 0).all(axis=1) & (rows["volume"] >= 0)


def repair_prices(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows with prices rounded and high and low widened to hold the others; how many were widened."""
    violates = _violates(rows)
    prices = rows[PRICES].apply(_round_prices)
    prices["high"], prices["low"] = prices.max(axis=1), prices.min(axis=1)
    return rows.assign(**prices), violates.sum()


def _violates(rows: pd.DataFrame) -> pd.Series:
    """Whether the high is not the highest of the four prices or the low not the lowest."""
    return (rows["high"] < rows[PRICES].max(axis=1)) | (rows["low"] > rows[PRICES].min(axis=1))


def _round_prices(prices: pd.Series) -> pd.Series:
    """The doubles nearest to the prices' first twelve significant digits."""
    exponent = SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(prices))
    scale = 10.0 ** exponent.clip(-300, 300)
    return np.rint(prices * scale) / scale


def _fill_gaps(rows: pd.DataFrame, missing: np.ndarray, options: MarketOptions) -> pd.DataFrame:
    """Rows with each short gap filled by candles without movement at the last close, flagged in `filled`."""
    added = np.where(missing <= options.max_fill, missing, 0)
    copies = np.append(added, 0) + 1  # how often each row appears: itself and the invented candles after it
    source = np.repeat(np.arange(len(rows)), copies)
    steps = np.arange(len(source)) - np.repeat(copies.cumsum() - copies, copies)
    candles = rows.iloc[source].reset_index(drop=True).assign(filled=steps > 0)
    later = pd.to_timedelta(steps * _step(options.timeframe), unit="ms")
    candles["date"] = (candles["date"] + later).astype(DATE)
    for column in ["open", "high", "low"]:
        candles[column] = candles[column].where(~candles["filled"], candles["close"])
    candles["volume"] = candles["volume"].where(~candles["filled"], 0.0)
    return candles


def _check_columns(raw: pd.DataFrame) -> None:
    missing = [column for column in ["pair", "date", *PRICES, "volume"] if column not in raw.columns]
    if missing:
        raise DataError(f"the raw candles have no column {', '.join(missing)}; they have {', '.join(raw.columns)}")
    if raw.empty:
        raise DataError("there are no raw candles; check market.source, market.datadir and market.pairs")


def _check_grid(raw: pd.DataFrame, options: MarketOptions) -> None:
    """Raise where candles do not open at multiples of the timeframe, or are spaced more widely throughout."""
    step = _step(options.timeframe)
    dates = _milliseconds(raw["date"])
    # weeks begin on Mondays, not with the epoch's Thursday: beyond a day the first candle sets the grid
    phase = dates.min() % step if step > _step("1d") else 0
    off = dates % step != phase
    spacings = raw["date"].sort_values().groupby(raw["pair"]).diff()
    spacings = spacings[spacings > pd.Timedelta(0)]
    if off.any():
        first = raw.loc[off].iloc[0]
        raise DataError(
            f"{off.sum()} of {len(raw)} candles do not open at a multiple of "
            f"market.timeframe={options.timeframe}; the first is {first['pair']} at "
            f"{first['date']:%Y-%m-%d %H:%M:%S}; the candles stand mostly {_usual(spacings)} apart: set "
            "market.timeframe to that, or mend the dates"
        )
    if len(spacings) >= 24 and spacings.min() > timeframe_delta(options.timeframe):
        raise DataError(
            f"no two candles are market.timeframe={options.timeframe} apart; they stand mostly "
            f"{_usual(spacings)} apart: set market.timeframe to that"
        )


def _check_duplicates(raw: pd.DataFrame, options: MarketOptions) -> None:
    surplus = raw[raw.duplicated(["pair", "date"])]
    if surplus.empty or options.on_duplicates != "error":
        return
    pairs = ", ".join(
        f"{pair} {len(rows)} (first {rows['date'].min():%Y-%m-%d %H:%M})"
        for pair, rows in list(surplus.groupby("pair"))[:5]
    )
    raise DataError(
        f"{len(surplus)} candles are there more than once, pair and date being the same: {pairs}; set "
        "market.on_duplicates=first or =last to keep one of each, or mend the files"
    )


def _usual(spacings: pd.Series) -> str:
    if spacings.empty:
        return "an unknown span"
    seconds = int(spacings.mode().iloc[0].total_seconds())
    for unit, length in {"d": 86_400, "h": 3_600, "m": 60}.items():
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds} seconds"


def _milliseconds(dates: pd.Series) -> np.ndarray:
    return pd.DatetimeIndex(dates).as_unit("ms").asi8


def _step(timeframe: str) -> int:
    return timeframe_delta(timeframe) // pd.Timedelta(1, "ms")
