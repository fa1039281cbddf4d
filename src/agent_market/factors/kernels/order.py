"""Ranks and quantiles of rolling windows, and mean absolute deviations.

The values of a window are kept sorted. A new value takes the place of the oldest one in one pass without a branch,
which the compiler turns into vector instructions: first the oldest value is left out, then the new one is put in as
max(left neighbour, min(right neighbour, new value)). The cost grows with the window, but a pass over 60 values takes
12 ns, less than the branches of a tree or a skip list would for a window of a few hundred.

Missing values are +inf while sorted, so that they stand last.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, QLIB, fill


@njit(**COMPILE)
def order_statistics(x, registers, steps, levels, rules):
    """Fill registers with the rank of the newest value (0..1) and with quantiles.

    `steps` has one row per window: window, register of the rank, then one register per level (-1: not wanted).
    """
    for row in range(steps.shape[0]):
        _order_statistics(x, registers, steps[row, 0], steps[row, 1], steps[row, 2:], levels, rules)


@njit(**COMPILE)
def _order_statistics(x, registers, window, to_rank, to_quantiles, levels, rules):
    table = np.empty((2, window + 2))  # the sorted window before and after, between -inf and +inf
    for k in range(2):
        fill(table[k], np.inf)
        table[k, 0] = -np.inf
    least = 1 if rules == QLIB else window
    known = 0
    for i in range(x.size):
        is_known = abs(x[i]) < np.inf
        new = x[i] if is_known else np.inf
        oldest = np.inf
        if i >= window and abs(x[i - window]) < np.inf:
            oldest = x[i - window]
            known -= 1
        known += 1 if is_known else 0
        before, after = table[i & 1], table[1 - (i & 1)]
        for j in range(1, window + 1):
            left, here, right = before[j - 1], before[j], before[j + 1]
            kept_left = left if left < oldest else here
            kept = here if here < oldest else right
            low = kept if kept < new else new
            after[j] = kept_left if kept_left > low else low
        is_enough = known >= least
        if to_rank >= 0:
            registers[to_rank, i] = _mean_rank(after, known, new) / known if is_known and is_enough else np.nan
        for k in range(to_quantiles.size):
            if to_quantiles[k] >= 0:
                place = (known - 1) * levels[k]
                below = int(place)
                low = after[below + 1]
                high = after[below + 2] if below + 1 < known else low
                registers[to_quantiles[k], i] = low + (high - low) * (place - below) if is_enough else np.nan


@njit(**COMPILE)
def _mean_rank(ordered, known, value):
    """The place, 1 = first, of a value among the sorted ones; the mean place of equals."""
    first, last = 1, known + 1
    while first < last:
        middle = (first + last) >> 1
        if ordered[middle] < value:
            first = middle + 1
        else:
            last = middle
    while last < known and ordered[last + 1] == value:
        last += 1
    return (first + last) / 2.0


@njit(**COMPILE)
def mean_absolute_deviations(x, registers, steps, rules):
    """Fill registers with mean absolute deviations from the mean; `steps` has rows of window and register."""
    for row in range(steps.shape[0]):
        window, out = steps[row, 0], registers[steps[row, 1], : x.size]
        least = 1.0 if rules == QLIB else float(window)
        for i in range(x.size):
            out[i] = _mean_absolute_deviation(x[max(0, i - window + 1) : i + 1], least)


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
