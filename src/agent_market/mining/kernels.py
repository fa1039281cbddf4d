"""Compiled loops of scoring: ranks across pairs, and what a factor's portfolio holds."""

import numpy as np
from numba import njit

ENTRY = {"cache": True, "nogil": True, "error_model": "numpy", "boundscheck": False}


@njit(**ENTRY)
def centred_ranks(x, n, out):
    """Twice the rank, less its mean, of each of the first `n` values, ties at their mean; in n² / 2 steps."""
    for i in range(n):
        out[i] = 0.0
        for j in range(i):
            above = (x[j] < x[i]) - 1.0 * (x[j] > x[i])
            out[i] += above
            out[j] -= above


@njit(**ENTRY)
def rank_correlations(values, cells, outcome, least, out, by_pair):
    """Rank correlation across pairs of each factor with the outcome, at each date.

    `values` float32 (n_factors, n_rows), `cells` int64 (n_dates, n_pairs) the row of each date and pair or -1,
    `outcome` float64 (n_dates, n_pairs); `out` float64 (n_factors, n_dates) is NaN where fewer than `least` pairs are
    known or all are equal. `by_pair` float64 (n_factors, n_pairs) gets each pair's share of the sum.
    """
    n_dates, n_pairs = cells.shape
    x, y, who = np.empty(n_pairs), np.empty(n_pairs), np.empty(n_pairs, np.int64)
    rx, ry = np.empty(n_pairs), np.empty(n_pairs)
    usual, n_usual = np.empty((n_dates, n_pairs)), np.zeros(n_dates, np.int64)  # of outcomes, where factors are whole
    for t in range(n_dates):
        for i in range(n_pairs):
            if cells[t, i] >= 0 and np.isfinite(outcome[t, i]):
                y[n_usual[t]] = outcome[t, i]
                n_usual[t] += 1
        centred_ranks(y, n_usual[t], usual[t])
    for f in range(values.shape[0]):
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
            centred_ranks(x, n, rx)
            if n < n_usual[t]:
                centred_ranks(y, n, ry)
            xx, yy, xy = 0.0, 0.0, 0.0
            for i in range(n):
                b = usual[t, i] if n == n_usual[t] else ry[i]
                xx += rx[i] * rx[i]
                yy += b * b
                xy += rx[i] * b
            if xx > 0 and yy > 0:
                scale = 1.0 / np.sqrt(xx * yy)
                out[f, t] = xy * scale
                for i in range(n):
                    by_pair[f, who[i]] += rx[i] * (usual[t, i] if n == n_usual[t] else ry[i]) * scale


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
