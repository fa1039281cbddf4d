"""Ticks and steps: the decimal arithmetic of an exchange, so that no result hangs on a float's last bit."""

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd

SIGNIFICANT_DIGITS = 14
"""How far freqtrade reads a price when it derives ticks (its `data/btanalysis/historic_precision.py`)."""


def decimal(number: float) -> Decimal:
    """The shortest decimal that reads back as this float: 0.1 is exactly one tenth."""
    return Decimal(repr(float(number)))


def round_to_tick(price: float, tick: float) -> float:
    """The multiple of `tick` nearest to `price`, halves up."""
    return float((decimal(price) / decimal(tick)).to_integral_value(ROUND_HALF_UP) * decimal(tick))


def truncate_to_step(amount: float, step: float) -> float:
    """The largest multiple of `step` not above `amount`."""
    return float((decimal(amount) / decimal(step)).to_integral_value(ROUND_DOWN) * decimal(step))


def price_decimals(prices: np.ndarray) -> np.ndarray:
    """How many decimals each price has within its first 14 significant digits (int64, shape of `prices`)."""
    prices = np.asarray(prices, dtype="float64")
    usable = np.isfinite(prices) & (prices > 0)
    magnitude = np.floor(np.log10(np.where(usable, prices, 1.0))).astype("int64")
    decimals = np.where(usable, SIGNIFICANT_DIGITS - 1 - magnitude, 0)
    digits = np.rint(np.where(usable, prices, 0.0) * 10.0**decimals).astype("int64")
    reducible = usable & (decimals > 0) & (digits % 10 == 0)
    while reducible.any():
        digits = np.where(reducible, digits // 10, digits)
        decimals = np.where(reducible, decimals - 1, decimals)
        reducible = reducible & (decimals > 0) & (digits % 10 == 0)
    return np.maximum(decimals, 0)


def monthly_ticks(candles: pd.DataFrame, default: float) -> np.ndarray:
    """The price tick in force at each candle of one pair (float64, one per row), as freqtrade derives it.

    A month's tick is one unit of the last decimal that any of its prices uses. A month of whole numbers keeps
    the tick of the month before, and `default` (the market's own tick) before the first month that tells.
    """
    columns = [price_decimals(candles[column].to_numpy()) for column in ("open", "high", "low", "close")]
    month = candles["date"].dt.tz_localize(None).to_numpy().astype("datetime64[M]")
    decimals = pd.Series(np.max(columns, axis=0), dtype="float64").groupby(month).transform("max")
    return (1 / 10 ** decimals.where(decimals > 0).ffill()).fillna(default).to_numpy()
