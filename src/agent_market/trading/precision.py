"""Decimals: how many prices use, which is what freqtrade derives the tick of a month from, and rounding to some."""

import numpy as np


def price_decimals(prices: np.ndarray) -> np.ndarray:
    """How many decimals each price has within its first 14 significant digits (int64, shape of `prices`)."""
    from agent_market.trading.kernels.decimals import decimals_of_each

    prices = np.array(prices, dtype="float64")
    decimals = np.empty(prices.shape, dtype="int64")
    decimals_of_each(prices.ravel(), decimals.ravel())
    return decimals


def rounded(values: np.ndarray, places: int) -> np.ndarray:
    """Python's `round(value, places)` of each value: the float nearest to the decimal nearest to the value."""
    power = 10.0**places
    scaled = values * power
    lost = _lost(values, power, scaled)
    whole = np.rint(scaled)
    half = np.abs(scaled - whole) == 0.5  # rint goes to the even one, the exact product may be on one side
    whole = np.where(half & (lost != 0.0), scaled + np.copysign(0.5, lost), whole)
    return np.where(np.abs(scaled) >= 2.0**53, values, whole / power)


def _lost(values: np.ndarray, power: float, products: np.ndarray) -> np.ndarray:
    """What rounding the products to floats lost (Dekker 1971; as in `kernels.decimals`)."""
    splitter = 2.0**27 + 1
    big = splitter * values
    high = big - (big - values)
    low = values - high
    big = splitter * power
    power_high = big - (big - power)
    power_low = power - power_high
    return ((high * power_high - products) + high * power_low + low * power_high) + low * power_low
