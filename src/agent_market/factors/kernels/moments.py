"""Sums, means, variances and lines on time of rolling windows.

A window of 2h candles is the union of two windows of h candles, one of 2h + 1 candles that of one candle and 2h
older ones. So all windows of a batch grow from single candles by merging pairs of smaller ones, each for all rows at
once. The merged quantities are the sum and the central moments, by the formulas of Chan, Golub & LeVeque (1979) and
Pébay (2008): nothing is ever subtracted that was added before, and a flat window has a variance of exactly 0.

`steps` has one row per size: size, slot of the older part, slot of the newer part, size of the newer part, slot of
the result, and the registers that results go to (-1: not wanted), in the order of `plan.FAMILIES`.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import ABSOLUTE, COMPILE, FIRST, QLIB, SLACK, fill, is_wanted, load
from agent_market.factors.kernels.elements import difference


@njit(**COMPILE)
def moments(x, registers, steps, scratch, rules):
    """Fill the registers that `steps` names with statistics of `x`. Whether values of `x` are missing."""
    n = x.size
    sums, squares, times = scratch[0], scratch[1], scratch[2]
    spread = scratch[3, 0, :n]
    has_missing = load(x, sums[0])
    with_squares, with_times = is_wanted(steps, FIRST + 2, FIRST + 8), is_wanted(steps, FIRST + 4, FIRST + 8)
    if with_squares:
        fill(squares[0, :n], 0.0)
        fill(times[0, :n], 0.0)
    for row in range(steps.shape[0]):
        size, older, newer, newer_size, slot = steps[row, 0], steps[row, 1], steps[row, 2], steps[row, 3], steps[row, 4]
        s, m, t = sums[slot, :n], squares[slot, :n], times[slot, :n]
        if size > 1:
            cut = min(newer_size, n)
            _add_sums(sums[older, : n - cut], sums[newer, cut:n], s, cut)
            if with_squares:
                sa, sb = sums[older, : n - cut], sums[newer, cut:n]
                older_size = size - newer_size
                _add_squares(squares[older, : n - cut], squares[newer, cut:n], sa, sb, m, cut, older_size, newer_size)
                if with_times:
                    _add_times(times[older, : n - cut], times[newer, cut:n], sa, sb, t, cut, older_size, newer_size)
        wanted = steps[row, FIRST:]
        if is_wanted(steps[row : row + 1], FIRST, FIRST + 8):
            _emit(x, s, m, t, spread, float(size), wanted, registers, rules)
    return has_missing


@njit(**COMPILE)
def _add_sums(a, b, out, cut):
    fill(out[:cut], np.nan)
    o = out[cut:]
    for i in range(a.size):
        o[i] = b[i] + a[i]


@njit(**COMPILE)
def _add_squares(ma, mb, sa, sb, out, cut, na, nb):
    fill(out[:cut], np.nan)
    o = out[cut:]
    weight, ca, cb = na * nb / (na + nb), 1.0 / na, 1.0 / nb
    for i in range(ma.size):
        step = sb[i] * cb - sa[i] * ca
        o[i] = ma[i] + mb[i] + step * step * weight


@njit(**COMPILE)
def _add_times(ta, tb, sa, sb, out, cut, na, nb):
    fill(out[:cut], np.nan)
    o = out[cut:]
    weight, ca, cb = na * nb / 2.0, 1.0 / na, 1.0 / nb  # the mean times lie (na + nb) / 2 apart
    for i in range(ta.size):
        o[i] = ta[i] + tb[i] + (sb[i] * cb - sa[i] * ca) * weight


@njit(**COMPILE)
def _emit(x, s, m, t, spread, w, wanted, registers, rules):
    n = x.size
    if wanted[0] >= 0:
        o = registers[wanted[0], :n]
        for i in range(n):
            o[i] = s[i] if abs(s[i]) < np.inf else np.nan
    if wanted[1] >= 0:
        o = registers[wanted[1], :n]
        for i in range(n):
            o[i] = s[i] / w if abs(s[i]) < np.inf else np.nan
    if max(wanted[2], wanted[3], wanted[4], wanted[5], wanted[6], wanted[7]) < 0:
        return
    for i in range(n):
        spread[i] = 0.0 if m[i] * w <= SLACK * s[i] * s[i] else m[i]
    if wanted[2] >= 0:
        o = registers[wanted[2], :n]
        for i in range(n):
            o[i] = spread[i] / (w - 1.0) if spread[i] < np.inf else np.nan
    if wanted[3] >= 0:
        o = registers[wanted[3], :n]
        for i in range(n):
            o[i] = np.sqrt(spread[i] / (w - 1.0)) if spread[i] < np.inf else np.nan
    if max(wanted[4], wanted[5], wanted[6], wanted[7]) >= 0:
        _emit_line(x, s, t, spread, w, wanted, registers, rules)


@njit(**COMPILE)
def _emit_line(x, s, t, spread, w, wanted, registers, rules):
    n = x.size
    time_spread = w * (w * w - 1.0) / 12.0
    if wanted[4] >= 0:
        o = registers[wanted[4], :n]
        for i in range(n):
            o[i] = 0.0 if spread[i] == 0.0 else t[i] / time_spread
    if wanted[5] >= 0:
        o = registers[wanted[5], :n]
        least = (w - 1.0) * ABSOLUTE**2 if rules == QLIB else 0.0
        for i in range(n):
            share = t[i] * t[i] / (time_spread * spread[i])
            share = 1.0 if share > 1.0 else share
            o[i] = np.nan if spread[i] <= least else share
    if wanted[6] >= 0:
        o = registers[wanted[6], :n]
        reach = (w - 1.0) / 2.0
        for i in range(n):
            fit = 0.0 if spread[i] == 0.0 else t[i] / time_spread * reach
            o[i] = difference(difference(x[i], s[i] / w), fit)
    if wanted[7] >= 0:
        o = registers[wanted[7], :n]
        weights = w * (w + 1.0) / 2.0
        scale = w if rules == QLIB else 1.0  # Qlib divides the weighted mean by the number of values once more
        for i in range(n):
            o[i] = (s[i] / w + (0.0 if spread[i] == 0.0 else t[i] / weights)) / scale
