"""A market in the shape of another one, without anything that could be foretold."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.market.options import MarketOptions
from agent_market.market.simulated import simulate, simulated_pairs

WORST = 0.9
"""No scaled return is larger than this; cut at both ends alike, so the mean stays zero."""


def silent_twin(candles: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Raw candles of the same pairs and dates as `candles`, drawn by the simulator without a signal.

    Each pair has the standard deviation of returns from open to close, the first price and the median volume of its
    model; gaps and late listings are where they were, and candles that had been filled in are left out, to be filled
    again. Simple returns are scaled, so their expectation stays exactly zero, whatever is known. The simulator's clock
    ticks in hours: for other timeframes its daily rhythm is stretched. How pairs move together is the simulator's, not
    measured.

    Args:
        candles: pair, date, open, high, low, close, volume, filled, sorted by pair and date.
        seed: same seed, same market.
    """
    dates = pd.DatetimeIndex(candles["date"].unique()).sort_values()
    pairs = list(candles["pair"].cat.categories)
    if len(dates) < 2:
        raise DataError(f"a market of {len(dates)} candles has no returns to imitate; expected 2 or more")
    options = MarketOptions(
        n_pairs=len(pairs), n_candles=len(dates), start=dates[0].floor("h").isoformat(), seed=seed, signal_strength=0.0
    )
    drawn = simulate(options)
    by_name = dict(list(drawn.groupby("pair", observed=True)))
    tables = [
        _like(candles[candles["pair"] == pair], by_name[name], dates)
        for pair, name in zip(pairs, simulated_pairs(options), strict=True)
    ]
    twin = pd.concat(tables, ignore_index=True)
    return twin.assign(pair=pd.Categorical(twin["pair"], categories=pairs))


def _like(real: pd.DataFrame, drawn: pd.DataFrame, dates: pd.DatetimeIndex) -> pd.DataFrame:
    """The drawn pair on the dates of the real one, with its volatility, price and volume."""
    real = real[~real["filled"]]
    rows = dates.get_indexer(pd.DatetimeIndex(real["date"]))
    prices = {name: drawn[name].to_numpy() for name in ("open", "high", "low", "close")}
    steps = prices["close"] / prices["open"] - 1.0
    own = (real["close"] / real["open"] - 1.0).to_numpy()
    spread = float(steps[rows].std())
    scale = float(own.std()) / spread if spread > 0.0 else 1.0

    growth = np.cumprod(1.0 + np.clip(scale * steps, -WORST, WORST))
    close = growth * real["open"].iloc[0] / np.concatenate([[1.0], growth])[rows[0]]
    opened = np.concatenate([[close[0] / growth[0]], close[:-1]])
    body_high, body_low = np.maximum(prices["open"], prices["close"]), np.minimum(prices["open"], prices["close"])
    high = np.maximum(opened, close) * (prices["high"] / body_high) ** scale
    low = np.minimum(opened, close) * (prices["low"] / body_low) ** scale
    volume = drawn["volume"].to_numpy()
    volume = volume * (real["volume"].median() / max(float(np.median(volume[rows])), 1e-12))
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    table = real[["pair", "date"]].astype({"pair": "str"}).reset_index(drop=True)
    return table.assign(**{name: values[rows] for name, values in columns.items()})
