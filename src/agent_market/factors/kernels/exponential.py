"""Exponential means over the last candles of an unbroken stretch.

The weight of a candle k candles back is (1 - 2 / (span + 1))^k. The mean runs over the candles of the stretch, at
most as many as `plan.EMA_REACH` spans: what is older weighs less than a rounding error. The mean of a long window is
that of a newer and an older part, so that it grows from single candles like the sums of `moments`.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, QLIB, copy, load, run_lengths


@njit(**COMPILE)
def exponential_means(x, register, steps, span, scratch, rules):
    """Fill a register with the exponential mean of `x`; `steps` is that of `moments`, without registers."""
    n = x.size
    means, runs, out = scratch[0], scratch[1, 0, :n], register[:n]
    has_missing = load(x, means[0])
    run_lengths(x, runs)
    keep = 1.0 - 2.0 / (span + 1.0)
    last = steps.shape[0] - 1
    memory = steps[last, 0]
    powers = np.empty(memory + 1)
    powers[0] = 1.0
    for k in range(memory):
        powers[k + 1] = powers[k] * keep
    for row in range(1, last + 1):
        older, newer, k, slot = steps[row, 1], steps[row, 2], steps[row, 3], steps[row, 4]
        _merge(means[older, :n], means[newer, :n], means[slot, :n], runs, k, steps[row, 0] - k, powers)
    least = 1.0 if rules == QLIB else float(span)
    result = means[steps[last, 4]]
    for i in range(n):
        out[i] = result[i] if runs[i] >= least else np.nan
    if rules == QLIB and has_missing:
        for i in range(n):
            if runs[i] < memory and runs[i] < i + 1:  # not only the first candle is near, a missing value is
                out[i] = _of_what_is_there(x, i, powers)


@njit(**COMPILE)
def _merge(older, newer, out, runs, newer_size, older_size, powers):
    """The mean of each window from that of its newest candles and of those before, as far as the stretch reaches."""
    n = out.size
    cut = min(newer_size, n)
    copy(newer, out[:cut])
    full = older_size + newer_size
    weight = powers[newer_size]
    share = weight * (1.0 - powers[older_size]) / (1.0 - powers[full])
    for i in range(cut, n):
        run = int(runs[i])
        if run >= full:
            out[i] = newer[i] + (older[i - newer_size] - newer[i]) * share
        elif run > newer_size:
            part = weight * (1.0 - powers[run - newer_size]) / (1.0 - powers[run])
            out[i] = newer[i] + (older[i - newer_size] - newer[i]) * part
        else:
            out[i] = newer[i]


@njit(**COMPILE)
def _of_what_is_there(x, i, powers):
    """Qlib (pandas, ignore_na=False): a missing value has no weight, but those before it are as old as they are."""
    weight, total = 0.0, 0.0
    for k in range(min(powers.size - 1, i + 1)):
        if abs(x[i - k]) < np.inf:
            weight += powers[k]
            total += powers[k] * x[i - k]
    return total / weight
