"""What both engines are given: checked candles and signals inside the test window, and nothing else."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.options import timeframe_delta
from agent_market.trading.markets import check_trading_mode, split_pair
from agent_market.trading.options import BacktestOptions
from agent_market.trading.signals import SIGNALS

PRICES = ["open", "high", "low", "close"]


@dataclass(frozen=True)
class Window:
    """The test window of one backtest, from the first to the last date of its signals.

    candles: pair, date, open, high, low, close, volume; as given, holes included. `pair` is a categorical.
    signals: pair, date, the four signals (bool) and `size`; no shorts in spot. A candle without a row is flat: it
    enters nothing, and both exits are set.
    pairs: those with candles in the window, in alphabetical order, which is the order of priority.
    step: length of one candle.
    """

    candles: pd.DataFrame
    signals: pd.DataFrame
    pairs: list[str]
    step: pd.Timedelta


def select_window(
    candles: pd.DataFrame,
    signals: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
) -> Window:
    """The window that `signals` span, with the candles of their pairs.

    Raises ParameterError or DataError where the two tables, the markets and the options do not fit together.
    """
    check_trading_mode(trading_mode)
    signals = _checked_signals(signals, trading_mode)
    wanted = set(signals["pair"].cat.categories)
    start, end = signals["date"].min(), signals["date"].max()
    columns = ["pair", "date", *PRICES, "volume"]
    inside = candles["pair"].isin(wanted) & candles["date"].between(start, end)
    window = sorted_rows(candles.loc[inside, columns])
    _check_pairs(wanted, candles, markets, options, trading_mode)
    if window.empty:
        raise DataError(f"no candles from {start} to {end}, where the signals are; load candles for those dates")
    step = timeframe_delta(timeframe)
    check_candles(window, step, timeframe)
    pairs = list(window["pair"].cat.categories)
    if len(pairs) < len(wanted):
        signals = sorted_rows(signals[signals["pair"].isin(pairs)])
    return Window(window, signals, pairs, step)


def _checked_signals(signals: pd.DataFrame, trading_mode: str) -> pd.DataFrame:
    missing = [name for name in ("pair", "date", *SIGNALS, "size") if name not in signals]
    if missing:
        raise DataError(f"signals: the columns {', '.join(missing)} are missing; make signals with signals_of")
    if signals.empty:
        raise DataError("signals: no rows, so there is nothing to backtest")
    if not signals["size"].between(0, 1).all():
        raise DataError("signals: size must lie from 0 to 1, the part of a full stake that an entry takes")
    types = dict.fromkeys(SIGNALS, bool) | {"size": "float64"}
    signals = sorted_rows(signals[["pair", "date", *SIGNALS, "size"]].astype(types))
    if _has_repeated_rows(signals):
        raise DataError("signals: a (pair, date) is there more than once; pass the signals of one model at a time")
    if trading_mode == "spot":
        signals = signals.assign(enter_short=False, exit_short=False)
    return signals


def milliseconds(date: pd.Series) -> np.ndarray:
    """Dates as int64 milliseconds since 1970, UTC."""
    return date.dt.as_unit("ms").astype("int64").to_numpy()


def sorted_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows by pair and date, `pair` a categorical of those present in alphabetical order."""
    pair = rows["pair"].astype("category").cat.remove_unused_categories()
    pair = pair.cat.reorder_categories(sorted(pair.cat.categories))
    rows = rows.assign(pair=pair)
    code, date = pair.cat.codes.to_numpy(), milliseconds(rows["date"])
    if not ((code[1:] > code[:-1]) | ((code[1:] == code[:-1]) & (date[1:] >= date[:-1]))).all():
        rows = rows.iloc[np.lexsort((date, code))]
    return rows.reset_index(drop=True)


def _has_repeated_rows(rows: pd.DataFrame) -> bool:
    """Whether a (pair, date) is there twice in sorted rows."""
    code, date = rows["pair"].cat.codes.to_numpy(), milliseconds(rows["date"])
    return bool(((code[1:] == code[:-1]) & (date[1:] == date[:-1])).any())


def _check_pairs(
    wanted: set[str],
    candles: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    trading_mode: str,
) -> None:
    without_candles = sorted(wanted - set(candles["pair"].unique()))
    if without_candles:
        raise DataError(f"signals name pairs without candles: {', '.join(without_candles)}; add them to market.pairs")
    check_markets(wanted, markets)
    check_currency(wanted, options, trading_mode)
    for pair in sorted(wanted):
        if trading_mode == "futures" and not markets[pair].get("leverageTiers"):
            raise DataError(f"the market snapshot has no leverageTiers for {pair}; build it anew with snapshot_markets")


def check_markets(pairs: Iterable[str], markets: dict[str, dict]) -> None:
    """Raise DataError for pairs that the market snapshot does not have."""
    missing = sorted(set(pairs) - markets.keys())
    if missing:
        raise DataError(f"the market snapshot lacks {', '.join(missing)}; build it from the same candles")


def check_currency(pairs: Iterable[str], options: BacktestOptions, trading_mode: str) -> None:
    """Raise ParameterError for pairs that are paid in another currency than the account."""
    for pair in sorted(pairs):
        quote = split_pair(pair, trading_mode)[1]
        if quote != options.stake_currency:
            raise ParameterError(
                f"{pair} is paid in {quote}, but backtest.stake_currency is {options.stake_currency}; "
                f"set backtest.stake_currency to {quote} or choose other market.pairs"
            )


def check_candles(window: pd.DataFrame, step: pd.Timedelta, timeframe: str) -> None:
    """Raise DataError for sorted candles with prices that cannot be, repeated rows or dates off the grid."""
    opening, high, low, close = (window[name].to_numpy(dtype="float64") for name in PRICES)
    bad = ~((low > 0) & (np.minimum(opening, close) > 0) & (np.maximum(high, np.maximum(opening, close)) < np.inf))
    if bad.any():
        row = window[bad].iloc[0]
        raise DataError(
            f"candles: a price of {row['pair']} at {row['date']} is missing or not positive; drop the candle"
        )
    outside = (low > np.minimum(opening, close)) | (high < np.maximum(opening, close))
    if outside.any():
        row = window[outside].iloc[0]
        raise DataError(
            f"candles: open or close of {row['pair']} at {row['date']} is outside low to high; mend the candle"
        )
    if _has_repeated_rows(window):
        raise DataError("candles: a (pair, date) is there more than once; clean the candles first")
    date = milliseconds(window["date"])
    off_grid = (date - date.min()) % (step // pd.Timedelta("1ms")) != 0
    if off_grid.any():
        row = window[off_grid].iloc[0]
        raise DataError(
            f"candles: {row['pair']} at {row['date']} is not on the grid of {timeframe} candles; "
            "set market.timeframe to the candles' own length"
        )
