"""Compiled loops of scoring: ranks across pairs, and what a factor's portfolio holds."""

import numpy as np
from numba import njit

ENTRY = {"cache": True, "nogil": True, "error_model": "numpy", "boundscheck": False}


@njit(**ENTRY)
def rank_correlations(values, cells, outcome, least, out, by_pair):
    """Rank correlation across pairs of each factor with the outcome, at each date.

    `values` float32 (n_factors, n_rows), `cells` int64 (n_dates, n_pairs) the row of each date and pair or -1,
    `outcome` float64 (n_dates, n_pairs); `out` float64 (n_factors, n_dates) is NaN where fewer than `least` pairs are
    known or all are equal. `by_pair` float64 (n_factors, n_pairs) gets each pair's share of the sum. Ranks are
    counted, pair by pair: of n pairs in n² steps.
    """
    n_factors, n_dates, n_pairs = values.shape[0], cells.shape[0], cells.shape[1]
    x, y, who = np.empty(n_pairs), np.empty(n_pairs), np.empty(n_pairs, np.int64)
    rx, ry = np.empty(n_pairs), np.empty(n_pairs)
    for f in range(n_factors):
        for t in range(n_dates):
            n = 0
            for i in range(n_pairs):
                row = cells[t, i]
                if row >= 0 and np.isfinite(outcome[t, i]) and np.isfinite(values[f, row]):
                    x[n], y[n], who[n] = values[f, row], outcome[t, i], i
                    n += 1
            out[f, t] = np.nan
            if n < least:
                continue
            xx, yy, xy = 0.0, 0.0, 0.0
            for i in range(n):
                a, b = 0.0, 0.0
                for j in range(n):
                    a += (x[j] < x[i]) - 1.0 * (x[j] > x[i])
                    b += (y[j] < y[i]) - 1.0 * (y[j] > y[i])
                rx[i], ry[i] = a, b  # twice the centred rank, ties at their mean
                xx += a * a
                yy += b * b
                xy += a * b
            if xx > 0 and yy > 0:
                scale = 1.0 / np.sqrt(xx * yy)
                out[f, t] = xy * scale
                for i in range(n):
                    by_pair[f, who[i]] += rx[i] * ry[i] * scale


@njit(**ENTRY)
def products(values, cells, outcome, out, by_pair, scale):
    """Mean over pairs of factor times outcome, at each date; arguments as of `rank_correlations`.

    `scale` float64 (n_factors,) gets the root of the sums of squares of both, over all dates and pairs: the sum of all
    products over it is the correlation.
    """
    for f in range(values.shape[0]):
        xx, yy = 0.0, 0.0
        for t in range(cells.shape[0]):
            n, total = 0, 0.0
            for i in range(cells.shape[1]):
                row = cells[t, i]
                if row >= 0 and np.isfinite(outcome[t, i]) and np.isfinite(values[f, row]):
                    x, y = values[f, row], outcome[t, i]
                    total += x * y
                    by_pair[f, i] += x * y
                    xx += x * x
                    yy += y * y
                    n += 1
            out[f, t] = total / n if n else np.nan
        scale[f] = np.sqrt(xx * yy)


@njit(**ENTRY)
def held(values, cells, is_cross_section, out):
    """The weights that one factor asks for: float64 (n_dates, n_pairs), sizes add up to 1 at each date.

    Across pairs: the rank less the mean rank. By pair: the value, which is a rank over time from -1 to 1.
    """
    n_pairs = cells.shape[1]
    for t in range(cells.shape[0]):
        size = 0.0
        for i in range(n_pairs):
            out[t, i] = 0.0
            row = cells[t, i]
            if row < 0 or not np.isfinite(values[row]):
                continue
            x = 0.0
            if is_cross_section:
                for j in range(n_pairs):
                    other = cells[t, j]
                    if other >= 0 and np.isfinite(values[other]):
                        x += (values[other] < values[row]) - 1.0 * (values[other] > values[row])
            else:
                x = values[row]
            out[t, i] = x
            size += abs(x)
        for i in range(n_pairs):
            out[t, i] = out[t, i] / size if size > 0 else 0.0
