"""Cross-section operators: over the pairs with a value at one date; NaN with fewer than three of them."""

# ruff: noqa: D103 (what each operator means stands in operators.py)

import numpy as np
import pandas as pd

from agent_market.factors.kernels.compiling import ROUNDING
from agent_market.factors.operators import MIN_LIVE_PAIRS
from agent_market.factors.panel import Panel


def cs_rank(panel: Panel, x: np.ndarray) -> np.ndarray:
    table = _live(panel, x)
    ranks = pd.DataFrame(table).rank(axis=1, pct=True).to_numpy()  # equals share their mean rank
    return panel.from_table(ranks)


def cs_mean(panel: Panel, x: np.ndarray) -> np.ndarray:
    table = _live(panel, x)
    return panel.from_table(np.where(np.isnan(table), np.nan, _mean(table)))


def cs_demean(panel: Panel, x: np.ndarray) -> np.ndarray:
    table = _live(panel, x)
    return panel.from_table(_difference(table, _mean(table)))


def cs_std(panel: Panel, x: np.ndarray) -> np.ndarray:
    table = _live(panel, x)
    return panel.from_table(np.where(np.isnan(table), np.nan, _std(table)))


def cs_zscore(panel: Panel, x: np.ndarray) -> np.ndarray:
    table = _live(panel, x)
    return panel.from_table(_quotient(_difference(table, _mean(table)), _std(table)))


def cs_scale(panel: Panel, x: np.ndarray) -> np.ndarray:
    table = _live(panel, x)
    return panel.from_table(_quotient(table, np.nansum(np.abs(table), axis=1, keepdims=True)))


def cs_median(panel: Panel, x: np.ndarray) -> np.ndarray:
    return _at_live(panel, x, np.median)


def cs_min(panel: Panel, x: np.ndarray) -> np.ndarray:
    return _at_live(panel, x, np.min)


def cs_max(panel: Panel, x: np.ndarray) -> np.ndarray:
    return _at_live(panel, x, np.max)


def cs_resid(panel: Panel, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    unknown = np.isnan(x) | np.isnan(y)
    table_x, table_y = (_live(panel, np.where(unknown, np.nan, values)) for values in (x, y))
    dx, dy = _difference(table_x, _mean(table_x)), _difference(table_y, _mean(table_y))
    slope = _quotient(np.nansum(dx * dy, axis=1, keepdims=True), np.nansum(dx * dx, axis=1, keepdims=True))
    return panel.from_table(_difference(dy, slope * dx))


def _live(panel: Panel, x: np.ndarray) -> np.ndarray:
    """The values as (n_dates, n_pairs), NaN on dates with too few pairs."""
    table = panel.to_table(x)
    table[np.isfinite(table).sum(axis=1) < MIN_LIVE_PAIRS] = np.nan
    return table


def _mean(table: np.ndarray) -> np.ndarray:
    """The mean of each date, (n_dates, 1)."""
    return _quotient(np.nansum(table, axis=1, keepdims=True), np.isfinite(table).sum(axis=1, keepdims=True))


def _std(table: np.ndarray) -> np.ndarray:
    count = np.isfinite(table).sum(axis=1, keepdims=True)
    squares = np.nansum(_difference(table, _mean(table)) ** 2, axis=1, keepdims=True)
    return np.sqrt(_quotient(squares, count - 1.0))


def _at_live(panel: Panel, x: np.ndarray, statistic) -> np.ndarray:
    """A statistic of the values of each date, at the pairs that have one."""
    table = _live(panel, x)
    ordered = np.sort(table, axis=1)  # NaN last
    count = np.isfinite(table).sum(axis=1)
    out = np.full(table.shape, np.nan)
    for live in np.unique(count[count > 0]):
        rows = count == live
        out[rows] = statistic(ordered[rows, :live], axis=1)[:, None]
    return panel.from_table(np.where(np.isnan(table), np.nan, out))


def _difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x - y; exactly 0 where it is at the rounding level of the two."""
    difference = x - y
    return np.where(np.abs(difference) <= ROUNDING * np.maximum(np.abs(x), np.abs(y)), 0.0, difference)


def _quotient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x / y; NaN where y is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = np.divide(x, y)
    return np.where(np.isfinite(quotient), quotient, np.nan)
