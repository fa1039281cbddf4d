"""Time-series operators: over the past of one pair, within an unbroken stretch of candles.

A window that holds a NaN, or reaches over a gap or the first candle, is NaN. Formulas are those of pandas
and Qlib on full windows: standard deviations divide by n - 1, skewness and kurtosis are bias-corrected.
"""

# ruff: noqa: D103 (what each operator means stands in operators.py)

import numpy as np

from agent_market.factors import rolling
from agent_market.factors.element_wise import div, log, sub
from agent_market.factors.panel import Panel


def delay(panel: Panel, x: np.ndarray, lag: int) -> np.ndarray:
    """The value `lag` candles ago."""
    out = np.full(x.size, np.nan)
    rows = np.flatnonzero(panel.place >= lag)
    out[rows] = x[rows - lag]
    return out


def delta(panel: Panel, x: np.ndarray, lag: int) -> np.ndarray:
    return sub(x, delay(panel, x, lag))


def pct_change(panel: Panel, x: np.ndarray, lag: int) -> np.ndarray:
    return sub(div(x, delay(panel, x, lag)), 1.0)


def log_ret(panel: Panel, x: np.ndarray, lag: int) -> np.ndarray:
    return log(div(x, delay(panel, x, lag)))


def ts_mean(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return _moments(panel, x, window)[0]


def ts_sum(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.fold(x, *panel.stretches(x), window, False)


def ts_product(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.fold(x, *panel.stretches(x), window, True)


def ts_var(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return _moments(panel, x, window)[1] / (window - 1)


def ts_std(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return np.sqrt(ts_var(panel, x, window))


def ts_zscore(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    mean, m2, _, _ = _moments(panel, x, window)
    return div(sub(x, mean), np.sqrt(m2 / (window - 1)))


def ts_skew(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    _, m2, m3, _ = _moments(panel, x, window)
    biased = div(np.sqrt(window) * m3, m2**1.5)
    return biased * np.sqrt(window * (window - 1)) / (window - 2)


def ts_kurt(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    _, m2, _, m4 = _moments(panel, x, window)
    biased = div(window * m4, m2 * m2)
    return ((window + 1) * biased - 3 * (window - 1)) * (window - 1) / ((window - 2) * (window - 3))


def ts_max(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.largest(x, *panel.stretches(x), window)[0]


def ts_min(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return -rolling.largest(-x, *panel.stretches(x), window)[0]


def ts_argmax(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.largest(x, *panel.stretches(x), window)[1]


def ts_argmin(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.largest(-x, *panel.stretches(x), window)[1]


def ts_median(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return ts_quantile(panel, x, window, 0.5)


def ts_mad(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.mean_absolute_deviation(x, *panel.stretches(x), window)


def ts_quantile(panel: Panel, x: np.ndarray, window: int, level: float) -> np.ndarray:
    return rolling.order_statistics(x, *panel.stretches(x), window, float(level))[1]


def ts_rank(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.order_statistics(x, *panel.stretches(x), window, 0.5)[0]


def ts_count(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return ts_sum(panel, np.where(np.isnan(x), np.nan, x != 0), window)


def ts_corr(panel: Panel, x: np.ndarray, y: np.ndarray, window: int) -> np.ndarray:
    _, _, sxx, syy, sxy = _comoments(panel, x, y, window)
    return np.clip(div(sxy, np.sqrt(sxx) * np.sqrt(syy)), -1, 1)


def ts_cov(panel: Panel, x: np.ndarray, y: np.ndarray, window: int) -> np.ndarray:
    return _comoments(panel, x, y, window)[4] / (window - 1)


def ts_beta(panel: Panel, y: np.ndarray, x: np.ndarray, window: int) -> np.ndarray:
    _, _, sxx, _, sxy = _comoments(panel, x, y, window)
    return div(sxy, sxx)


def ts_resid(panel: Panel, y: np.ndarray, x: np.ndarray, window: int) -> np.ndarray:
    mean_x, mean_y, sxx, _, sxy = _comoments(panel, x, y, window)
    return sub(sub(y, mean_y), div(sxy, sxx) * sub(x, mean_x))


def ema(panel: Panel, x: np.ndarray, span: int) -> np.ndarray:
    return rolling.exponential_mean(x, *panel.stretches(x), span)


def decay_linear(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    """The weighted mean Σ k·x / Σ k, as the mean of x plus its co-moment with the weights over their sum."""
    mean, _, _, _, covariance = _comoments(panel, x, panel.place, window)
    return mean + covariance / (window * (window + 1) / 2)


def slope(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return ts_beta(panel, x, panel.place, window)


def rsquare(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return ts_corr(panel, x, panel.place, window) ** 2


def resi(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return ts_resid(panel, x, panel.place, window)


def _moments(panel: Panel, x: np.ndarray, window: int) -> np.ndarray:
    return rolling.moments(x, *panel.stretches(x), window)


def _comoments(panel: Panel, x: np.ndarray, y: np.ndarray, window: int) -> np.ndarray:
    return rolling.comoments(x, y, *panel.stretches(x, y), window)
