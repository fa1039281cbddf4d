"""The test window on one grid of candles: per pair what the event loop reads, as plain lists."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.trading.precision import monthly_ticks
from agent_market.trading.window import PRICES, Window

# freqtrade's margins on the exchange's minimum (`exchange.py`, `_get_stake_amount_limit`)
COST_RESERVE = 1.05 / (1 - 0.05)
AMOUNT_RESERVE = 1.05


@dataclass(frozen=True)
class Quotes:
    """One pair on the common grid; every list has the grid's length, and 0 outside the pair's own candles."""

    open: list[float]
    high: list[float]
    low: list[float]
    close: np.ndarray
    tick: list[float]
    target: list[int]  # side to hold from this open on: decided at the close before
    last: int  # number of the pair's last candle
    step: float  # amount step, in contracts
    contract: float  # base currency in one contract
    market_limits: dict

    def limits(self, rate: float) -> tuple[float, float]:
        """The smallest and the largest stake that the market takes at this rate, in stake currency."""
        cost, amount = self.market_limits["cost"], self.market_limits["amount"]
        smallest = [
            (cost["min"] or 0.0) * self.contract * COST_RESERVE,
            (amount["min"] or 0.0) * self.contract * rate * AMOUNT_RESERVE,
        ]
        largest = [(cost["max"] or np.inf) * self.contract, (amount["max"] or np.inf) * self.contract * rate]
        return max(smallest), min(largest)


@dataclass(frozen=True)
class MarketBook:
    """All pairs, and for each candle the pairs that want a position, in alphabetical order."""

    dates: pd.DatetimeIndex
    step: pd.Timedelta
    pairs: dict[str, Quotes]
    wanted: list[list[str]]

    @property
    def length(self) -> int:
        """Number of candles on the grid."""
        return len(self.dates)


def build_book(window: Window, markets: dict[str, dict]) -> MarketBook:
    """Candles and positions of a window on a dense grid; a missing candle repeats the last close."""
    first, last = window.candles["date"].min(), window.candles["date"].max()
    dates = pd.date_range(first, last, freq=window.step, unit="ms")
    candles = dict(list(window.candles.groupby("pair")))
    sides = dict(list(window.positions.groupby("pair")))
    pairs = {pair: _quotes(candles[pair], sides[pair], dates, markets[pair]) for pair in window.pairs}
    wanted: list[list[str]] = [[] for _ in dates]
    for pair, quotes in pairs.items():
        for candle in np.flatnonzero(quotes.target):
            wanted[candle].append(pair)
    return MarketBook(dates, window.step, pairs, wanted)


def _quotes(candles: pd.DataFrame, sides: pd.DataFrame, dates: pd.DatetimeIndex, market: dict) -> Quotes:
    own = pd.date_range(candles["date"].iloc[0], candles["date"].iloc[-1], freq=dates.freq, unit="ms")
    dense = candles.set_index("date")[PRICES].reindex(own)
    close = dense["close"].ffill()
    dense = dense.apply(lambda price: price.fillna(close)).rename_axis("date").reset_index()
    dense["tick"] = monthly_ticks(dense, market["precision"]["price"])
    decided = sides.set_index("date")["position"].reindex(own, fill_value=0)
    dense["target"] = decided.shift(1, fill_value=0).to_numpy()
    start = dates.get_loc(own[0])
    rows = range(start, start + len(own))
    grid = dense.drop(columns="date").set_axis(rows).reindex(range(len(dates)), fill_value=0)
    return Quotes(
        open=grid["open"].tolist(),
        high=grid["high"].tolist(),
        low=grid["low"].tolist(),
        close=grid["close"].to_numpy(),
        tick=grid["tick"].tolist(),
        target=grid["target"].tolist(),
        last=start + len(own) - 1,
        step=market["precision"]["amount"],
        contract=float(market.get("contractSize") or 1.0),
        market_limits=market["limits"],
    )
