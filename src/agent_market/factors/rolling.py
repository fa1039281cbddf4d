"""Compiled rolling kernels: every window is exact on its own, at a cost that does not grow with its length.

A running sum that adds the new value and takes away the old one keeps the rounding errors of all the past:
after a candle with a volume of 1e12 it is wrong for good. These kernels never subtract. The rows are cut
into blocks as long as the window, so that each window is the end of one block and the beginning of the
next. The aggregates of all ends and all beginnings are built up by adding one value at a time (for maxima:
van Herk 1992, Gil & Werman 1993), and two aggregates are merged by the formulas of Chan, Golub & LeVeque
(1979) and Pébay (2008). A flat window has a sum of squares of exactly 0.

Each kernel takes `starts` and `stops`: stretches of rows without a gap or a NaN. A window lies within one
stretch; rows without a full window are NaN.
"""

# ruff: noqa: B905 (numba knows no zip(strict=))

import numpy as np
from numba import njit

from agent_market.factors.element_wise import ROUNDING


@njit(cache=True)
def fold(x, starts, stops, window, is_product):
    """Sum, or product, of each window: float64 array of shape (n_rows,)."""
    out = np.full(x.size, np.nan)
    ends = np.empty(window)  # ends[k]: aggregate of the previous block from its place k on
    for start, stop in zip(starts, stops):
        for block in range(start, stop, window):
            stop_block = min(block + window, stop)
            beginning = 1.0 if is_product else 0.0
            for i in range(block, stop_block):
                beginning = beginning * x[i] if is_product else beginning + x[i]
                k = i - block + 1
                if k == window:
                    out[i] = beginning
                elif block > start:
                    out[i] = ends[k] * beginning if is_product else ends[k] + beginning
            end = 1.0 if is_product else 0.0
            for i in range(stop_block - 1, block - 1, -1):
                end = end * x[i] if is_product else end + x[i]
                ends[i - block] = end
    return out


@njit(cache=True)
def _add_value(state, value):
    """Add one value to (count, mean, M2, M3, M4), M being sums of powers of deviations from the mean."""
    count, mean, m2, m3, m4 = state
    before = count
    count += 1.0
    delta = value - mean
    step = delta / count
    term = delta * step * before
    m4 += term * step * step * (count * count - 3.0 * count + 3.0) + 6.0 * step * step * m2 - 4.0 * step * m3
    m3 += term * step * (count - 2.0) - 3.0 * step * m2
    return count, mean + step, m2 + term, m3, m4


@njit(cache=True)
def _merge(a, b):
    """The (count, mean, M2, M3, M4) of two sets of values together."""
    na, mean_a, m2a, m3a, m4a = a
    nb, mean_b, m2b, m3b, m4b = b
    n = na + nb
    delta = mean_b - mean_a
    step = delta / n
    m2 = m2a + m2b + delta * step * na * nb
    m3 = m3a + m3b + delta * step * step * na * nb * (na - nb) + 3.0 * step * (na * m2b - nb * m2a)
    m4 = m4a + m4b + delta * step * step * step * na * nb * (na * na - na * nb + nb * nb)
    m4 += 6.0 * step * step * (na * na * m2b + nb * nb * m2a) + 4.0 * step * (na * m3b - nb * m3a)
    return n, mean_a + nb * step, m2, m3, m4


@njit(cache=True)
def moments(x, starts, stops, window):
    """Mean, M2, M3 and M4 of each window: float64 array of shape (4, n_rows)."""
    out = np.full((4, x.size), np.nan)
    ends = np.empty((window, 5))
    for start, stop in zip(starts, stops):
        for block in range(start, stop, window):
            stop_block = min(block + window, stop)
            beginning = (0.0, 0.0, 0.0, 0.0, 0.0)
            for i in range(block, stop_block):
                beginning = _add_value(beginning, x[i])
                k = i - block + 1
                if k < window and block == start:
                    continue
                state = beginning
                if k < window:
                    end = ends[k]
                    state = _merge((end[0], end[1], end[2], end[3], end[4]), beginning)
                _, mean, m2, m3, m4 = state
                if m2 <= window * (ROUNDING * mean) ** 2:
                    m2, m3, m4 = 0.0, 0.0, 0.0
                out[0, i], out[1, i], out[2, i], out[3, i] = mean, m2, m3, m4
            end = (0.0, 0.0, 0.0, 0.0, 0.0)
            for i in range(stop_block - 1, block - 1, -1):
                end = _add_value(end, x[i])
                row = ends[i - block]
                row[0], row[1], row[2], row[3], row[4] = end
    return out


@njit(cache=True)
def _add_pair(state, x, y):
    """Add a pair of values to (count, mean x, mean y, Sxx, Syy, Sxy), S: sums of products of deviations."""
    count, mean_x, mean_y, sxx, syy, sxy = state
    count += 1.0
    dx, dy = x - mean_x, y - mean_y
    mean_x += dx / count
    mean_y += dy / count
    return count, mean_x, mean_y, sxx + dx * (x - mean_x), syy + dy * (y - mean_y), sxy + dx * (y - mean_y)


@njit(cache=True)
def comoments(x, y, starts, stops, window):
    """Mean x, mean y, Sxx, Syy and Sxy of each window: float64 array of shape (5, n_rows)."""
    out = np.full((5, x.size), np.nan)
    ends = np.empty((window, 6))
    for start, stop in zip(starts, stops):
        for block in range(start, stop, window):
            stop_block = min(block + window, stop)
            beginning = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            for i in range(block, stop_block):
                beginning = _add_pair(beginning, x[i], y[i])
                k = i - block + 1
                if k < window and block == start:
                    continue
                count, mean_x, mean_y, sxx, syy, sxy = beginning
                if k < window:
                    end = ends[k]
                    n = count + end[0]
                    dx, dy = mean_x - end[1], mean_y - end[2]
                    weight = count * end[0] / n
                    sxx += end[3] + dx * dx * weight
                    syy += end[4] + dy * dy * weight
                    sxy += end[5] + dx * dy * weight
                    mean_x = end[1] + dx * count / n
                    mean_y = end[2] + dy * count / n
                flat_x = sxx <= window * (ROUNDING * mean_x) ** 2
                flat_y = syy <= window * (ROUNDING * mean_y) ** 2
                out[0, i], out[1, i] = mean_x, mean_y
                out[2, i] = 0.0 if flat_x else sxx
                out[3, i] = 0.0 if flat_y else syy
                out[4, i] = 0.0 if flat_x or flat_y else sxy
            end = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            for i in range(stop_block - 1, block - 1, -1):
                end = _add_pair(end, x[i], y[i])
                row = ends[i - block]
                row[0], row[1], row[2], row[3], row[4], row[5] = end
    return out


@njit(cache=True)
def largest(x, starts, stops, window):
    """Largest value of each window and its place, 1 = oldest: float64 array of shape (2, n_rows).

    Of equal values the oldest counts.
    """
    out = np.full((2, x.size), np.nan)
    ends = np.empty(window, dtype=np.int64)  # row of the largest value of the previous block from its place k on
    for start, stop in zip(starts, stops):
        for block in range(start, stop, window):
            stop_block = min(block + window, stop)
            best = block
            for i in range(block, stop_block):
                if x[i] > x[best]:
                    best = i
                k = i - block + 1
                if k < window and block == start:
                    continue
                row = best
                if k < window and x[ends[k]] >= x[best]:
                    row = ends[k]
                out[0, i] = x[row]
                out[1, i] = row - (i - window)
            best = stop_block - 1
            for i in range(stop_block - 1, block - 1, -1):
                if x[i] >= x[best]:
                    best = i
                ends[i - block] = best
    return out


@njit(cache=True)
def order_statistics(x, starts, stops, window, level):
    """Rank of the newest value (0..1) and quantile at `level` of each window: float64, shape (2, n_rows).

    The window is kept sorted; a new value takes the place of the oldest one by shifting what lies between.
    """
    out = np.full((2, x.size), np.nan)
    ordered = np.empty(window)
    place = (window - 1) * level
    below = int(np.floor(place))
    above = min(below + 1, window - 1)
    share = place - below
    for start, stop in zip(starts, stops):
        size = 0
        for i in range(start, stop):
            hole = size
            if size == window:
                hole = np.searchsorted(ordered, x[i - window])
            else:
                size += 1
            while hole > 0 and ordered[hole - 1] > x[i]:
                ordered[hole] = ordered[hole - 1]
                hole -= 1
            while hole < size - 1 and ordered[hole + 1] < x[i]:
                ordered[hole] = ordered[hole + 1]
                hole += 1
            ordered[hole] = x[i]
            if size == window:
                smaller = np.searchsorted(ordered, x[i])
                equal = np.searchsorted(ordered, x[i], side="right") - smaller
                out[0, i] = (smaller + (equal + 1.0) / 2.0) / window
                low, high = ordered[below], ordered[above]
                out[1, i] = low + (high - low) * share
    return out


@njit(cache=True)
def mean_absolute_deviation(x, starts, stops, window):
    """Mean absolute deviation from the mean of each window: float64 array of shape (n_rows,)."""
    out = np.full(x.size, np.nan)
    for start, stop in zip(starts, stops):
        for i in range(start + window - 1, stop):
            mean = x[i]
            for j in range(i - window + 1, i + 1):
                mean += (x[j] - x[i]) / window
            total = 0.0
            for j in range(i - window + 1, i + 1):
                total += abs(x[j] - mean)
            out[i] = total / window
    return out


@njit(cache=True)
def exponential_mean(x, starts, stops, span):
    """Exponentially weighted mean since the start of the stretch, NaN before `span` rows: shape (n_rows,)."""
    out = np.full(x.size, np.nan)
    keep = 1.0 - 2.0 / (span + 1.0)
    for start, stop in zip(starts, stops):
        weight, mean = 0.0, 0.0
        for i in range(start, stop):
            weight = weight * keep + 1.0
            mean += (x[i] - mean) / weight
            if i - start + 1 >= span:
                out[i] = mean
    return out
