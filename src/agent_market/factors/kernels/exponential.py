"""Exponential means over the last candles of an unbroken stretch.

The weight of a candle k candles back is (1 - 2 / (span + 1))^k. The mean runs over the candles of the stretch, at
most as many as `plan.EMA_REACH` spans: what is older weighs less than a rounding error. The mean of a long window is
that of a newer and an older part, so that it grows from single candles like the sums of `moments`.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, INLINED, QLIB, copy, load, part, piece, row, run_lengths


@njit(**INLINED)
def exponential_means(x, register, steps, span, scratch, rules):
    """Fill a register with the exponential mean of `x`; `steps` is that of `moments`, without registers."""
    n = x.size
    means, runs, out = row(scratch, 0), part(row(scratch, 1), 0, 0, n), piece(register, 0, n)
    has_missing = load(x, row(means, 0))
    run_lengths(x, runs)
    keep = 1.0 - 2.0 / (span + 1.0)
    last = steps.shape[0] - 1
    memory = steps[last, 0]
    powers = np.empty(memory + 1)
    powers[0] = 1.0
    for k in range(memory):
        powers[k + 1] = powers[k] * keep
    for step in range(1, last + 1):
        older, newer, k, slot = steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4]
        _merge(
            part(means, older, 0, n),
            part(means, newer, 0, n),
            part(means, slot, 0, n),
            runs,
            k,
            steps[step, 0] - k,
            powers,
        )
    least = 1.0 if rules == QLIB else float(span)
    result = row(means, steps[last, 4])
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
    copy(newer, piece(out, 0, cut))
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
