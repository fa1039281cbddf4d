"""Indicators of TA-Lib that carry a state from candle to candle, computed over each unbroken stretch on its own.

TA-Lib compares with absolute tolerances, so prices are first divided by the power of two below the first close
of the stretch: the same numbers come out whatever unit the price is in. A stretch begins anew after a gap or a
missing value; until the indicator is warm its values are NaN.
"""

from collections.abc import Callable

import numpy as np

from agent_market.factors.panel import Panel


def kama(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    """Kaufman's adaptive moving average: float64 array of shape (n_rows,), in the unit of x."""
    import talib

    return _by_stretch(panel, lambda x: talib.KAMA(x, timeperiod=window), x, is_price=True)


def adx(panel: Panel, high: np.ndarray, low: np.ndarray, close: np.ndarray, window: int) -> np.ndarray:
    """Wilder's average directional index, 0..100: float64 array of shape (n_rows,)."""
    import talib

    return _by_stretch(panel, lambda *x: talib.ADX(*x, timeperiod=window), high, low, close, is_price=False)


def psar(panel: Panel, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Wilder's parabolic stop and reverse: float64 array of shape (n_rows,), in the unit of the price."""
    import talib

    return _by_stretch(panel, lambda *x: talib.SAR(*x, acceleration=0.02, maximum=0.2), high, low, is_price=True)


def _by_stretch(panel: Panel, function: Callable, *series: np.ndarray, is_price: bool) -> np.ndarray:
    """A function of price series on each stretch in which all of them are known."""
    out = np.full(series[0].size, np.nan)
    for start, stop in zip(*panel.stretches(*series), strict=True):
        scale = _power_of_two(series[-1][start])
        values = function(*(np.ascontiguousarray(x[start:stop]) / scale for x in series))
        out[start:stop] = values * scale if is_price else values
    return out


def _power_of_two(value: float) -> float:
    """The power of two next below a value: dividing by it loses no digit."""
    exponent = int(np.frexp(value)[1]) - 1
    return 2.0 ** min(max(exponent, -1000), 1000) if value > 0 else 1.0
