"""What both engines are given: checked candles and positions inside the test window, and nothing else."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.options import timeframe_delta
from agent_market.trading.markets import check_trading_mode, split_pair
from agent_market.trading.options import BacktestOptions

PRICES = ["open", "high", "low", "close"]


@dataclass(frozen=True)
class Window:
    """The test window of one backtest, from the first to the last date of its positions.

    candles: pair, date, open, high, low, close, volume; as given, holes included.
    positions: pair, date, position in {-1, 0, 1}; no shorts in spot.
    pairs: those with candles in the window, in alphabetical order, which is the order of priority.
    step: length of one candle.
    """

    candles: pd.DataFrame
    positions: pd.DataFrame
    pairs: list[str]
    step: pd.Timedelta


def select_window(
    candles: pd.DataFrame,
    positions: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
) -> Window:
    """The window that `positions` span, with the candles of their pairs.

    Raises ParameterError or DataError where the two tables, the markets and the options do not fit together.
    """
    check_trading_mode(trading_mode)
    positions = _sides(positions, trading_mode)
    wanted = set(positions["pair"])
    start, end = positions["date"].min(), positions["date"].max()
    columns = ["pair", "date", *PRICES, "volume"]
    inside = candles["pair"].isin(wanted) & candles["date"].between(start, end)
    window = candles.loc[inside, columns].astype({"pair": "str"}).sort_values(["pair", "date"], ignore_index=True)
    _check_pairs(wanted, candles, markets, options, trading_mode)
    if window.empty:
        raise DataError(f"no candles from {start} to {end}, where the positions are; load candles for those dates")
    step = timeframe_delta(timeframe)
    _check_candles(window, step, timeframe)
    pairs = sorted(window["pair"].unique())
    return Window(window, positions[positions["pair"].isin(pairs)], pairs, step)


def _sides(positions: pd.DataFrame, trading_mode: str) -> pd.DataFrame:
    if positions.empty:
        raise DataError("positions: no rows, so there is nothing to backtest; check that the model made predictions")
    if positions.duplicated(["pair", "date"]).any():
        raise DataError("positions: a (pair, date) is there more than once; pass the positions of one model at a time")
    side = np.sign(positions["position"].fillna(0.0))
    return pd.DataFrame(
        {
            "pair": positions["pair"].astype("str"),
            "date": positions["date"],
            "position": (side if trading_mode == "futures" else side.clip(lower=0)).astype("int8"),
        }
    ).sort_values(["pair", "date"], ignore_index=True)


def _check_pairs(
    wanted: set[str],
    candles: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    trading_mode: str,
) -> None:
    without_candles = sorted(wanted - set(candles["pair"].unique()))
    if without_candles:
        raise DataError(f"positions name pairs without candles: {', '.join(without_candles)}; add them to market.pairs")
    without_market = sorted(wanted - markets.keys())
    if without_market:
        raise DataError(f"the market snapshot lacks {', '.join(without_market)}; build it from the same candles")
    for pair in sorted(wanted):
        quote = split_pair(pair, trading_mode)[1]
        if quote != options.stake_currency:
            raise ParameterError(
                f"{pair} is paid in {quote}, but backtest.stake_currency is {options.stake_currency}; "
                f"set backtest.stake_currency to {quote} or choose other market.pairs"
            )


def _check_candles(window: pd.DataFrame, step: pd.Timedelta, timeframe: str) -> None:
    bad = ~(np.isfinite(window[PRICES]) & (window[PRICES] > 0)).all(axis=1)
    if bad.any():
        row = window[bad].iloc[0]
        raise DataError(
            f"candles: a price of {row['pair']} at {row['date']} is missing or not positive; drop the candle"
        )
    if window.duplicated(["pair", "date"]).any():
        raise DataError("candles: a (pair, date) is there more than once; clean the candles first")
    off_grid = (window["date"] - window["date"].min()) % step != pd.Timedelta(0)
    if off_grid.any():
        row = window[off_grid].iloc[0]
        raise DataError(
            f"candles: {row['pair']} at {row['date']} is not on the grid of {timeframe} candles; "
            "set market.timeframe to the candles' own length"
        )
