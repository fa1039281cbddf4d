"""Ranks and quantiles of rolling windows, and mean absolute deviations.

The values of a window are kept sorted. A new value takes the place of the oldest one in one pass without a branch,
which the compiler turns into vector instructions: first the oldest value is left out, then the new one is put in as
max(left neighbour, min(right neighbour, new value)). The cost grows with the window, but a pass over 60 values takes
12 ns, less than the branches of a tree would; windows of more than `LONG` candles go to `long_order`.

Missing values are +inf while sorted, so that they stand last.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, INLINED, QLIB, fill, part, piece, row

LONG = 500
"""Longer windows are counted in a tree: there both ways cost about the same."""


@njit(**INLINED)
def order_statistics(x, registers, steps, levels, rules):
    """Fill registers with the rank of the newest value (0..1) and with quantiles.

    `steps` has one row per window, shortest first: window, register of the rank, then one register per level (-1: not
    wanted). The windows take turns at each row: one does not have to wait for what another has just stored.
    """
    n_windows = steps.shape[0]
    tables = np.empty((2, n_windows, steps[n_windows - 1, 0] + 2))  # sorted windows, before and after a row
    for k in range(2):
        for step in range(n_windows):
            fill(row(row(tables, k), step), np.inf)
            tables[k, step, 0] = -np.inf
    known, smaller = np.zeros(n_windows, np.int64), np.zeros(n_windows, np.int64)
    for i in range(x.size):
        is_known = abs(x[i]) < np.inf
        new = x[i] if is_known else np.inf
        for step in range(n_windows):
            window, oldest, count = steps[step, 0], np.inf, known[step]
            if i >= window and abs(x[i - window]) < np.inf:
                oldest = x[i - window]
                count -= 1
            known[step] = count + 1 if is_known else count
            before, after = row(row(tables, i & 1), step), row(row(tables, 1 - (i & 1)), step)
            less = 0
            for j in range(1, window + 1):
                left, here, right = before[j - 1], before[j], before[j + 1]
                kept_left = left if left < oldest else here
                kept = here if here < oldest else right
                low = kept if kept < new else new
                value = kept_left if kept_left > low else low
                after[j] = value
                less += value < new
            smaller[step] = less
        for step in range(n_windows):
            ordered, count = row(row(tables, 1 - (i & 1)), step), known[step]
            is_enough = count >= (1 if rules == QLIB else steps[step, 0])
            if steps[step, 1] >= 0:
                first = smaller[step] + 1
                last = first
                while last < count and ordered[last + 1] == new:
                    last += 1
                rank = (first + last) / 2.0 / count  # equals share their mean rank
                registers[steps[step, 1], i] = rank if is_known and is_enough else np.nan
            for k in range(levels.size):
                if steps[step, 2 + k] >= 0:
                    place = (count - 1) * levels[k]
                    below = int(place)
                    low = ordered[below + 1]
                    high = ordered[below + 2] if below + 1 < count else low
                    value = low + (high - low) * (place - below)
                    registers[steps[step, 2 + k], i] = value if is_enough else np.nan


@njit(**INLINED)
def mean_absolute_deviations(x, registers, steps, rules):
    """Fill registers with mean absolute deviations from the mean; `steps` has rows of window and register."""
    for step in range(steps.shape[0]):
        window, out = steps[step, 0], part(registers, steps[step, 1], 0, x.size)
        least = 1.0 if rules == QLIB else float(window)
        for i in range(x.size):
            out[i] = _mean_absolute_deviation(piece(x, max(0, i - window + 1), i + 1), least)


@njit(**COMPILE)
def _mean_absolute_deviation(values, least):
    count, origin, total = 0.0, 0.0, 0.0
    for value in values:
        if abs(value) < np.inf:
            origin = value if count == 0.0 else origin
            count += 1.0
            total += value - origin
    if count < least:
        return np.nan
    mean, deviations = origin + total / count, 0.0
    for value in values:
        if abs(value) < np.inf:
            deviations += abs(value - mean)
    return deviations / count
