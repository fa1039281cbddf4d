"""Ticks: how many decimals prices use, which is what freqtrade derives the tick of a month from."""

import numpy as np


def price_decimals(prices: np.ndarray) -> np.ndarray:
    """How many decimals each price has within its first 14 significant digits (int64, shape of `prices`)."""
    from agent_market.trading.kernels.decimals import decimals_of_each

    prices = np.array(prices, dtype="float64")
    decimals = np.empty(prices.shape, dtype="int64")
    decimals_of_each(prices.ravel(), decimals.ravel())
    return decimals
