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

from agent_market.factors.kernels.compiling import (
    ABSOLUTE,
    COMPILE,
    FIRST,
    INLINED,
    QLIB,
    SLACK,
    fill,
    is_named,
    is_wanted,
    load,
    part,
    piece,
    row,
)
from agent_market.factors.kernels.elements import difference


@njit(**INLINED)
def moments(x, registers, steps, scratch, rules):
    """Fill the registers that `steps` names with statistics of `x`. Whether values of `x` are missing."""
    n = x.size
    sums, squares, times = row(scratch, 0), row(scratch, 1), row(scratch, 2)
    spread = part(row(scratch, 3), 0, 0, n)
    has_missing = load(x, row(sums, 0))
    with_squares, with_times = is_wanted(steps, FIRST + 2, FIRST + 8), is_wanted(steps, FIRST + 4, FIRST + 8)
    if with_squares:
        fill(part(squares, 0, 0, n), 0.0)
        fill(part(times, 0, 0, n), 0.0)
    for step in range(steps.shape[0]):
        size, older, newer = steps[step, 0], steps[step, 1], steps[step, 2]
        newer_size, slot = steps[step, 3], steps[step, 4]
        s, m, t = part(sums, slot, 0, n), part(squares, slot, 0, n), part(times, slot, 0, n)
        if size > 1:
            cut = min(newer_size, n)
            sa, sb = part(sums, older, 0, n - cut), part(sums, newer, cut, n)
            na, nb = size - newer_size, newer_size
            _add_sums(sa, sb, s, cut)
            if with_squares:
                _add_squares(part(squares, older, 0, n - cut), part(squares, newer, cut, n), sa, sb, m, cut, na, nb)
                if with_times:
                    _add_times(part(times, older, 0, n - cut), part(times, newer, cut, n), sa, sb, t, cut, na, nb)
        wanted = part(steps, step, FIRST, FIRST + 8)
        if is_named(wanted, 0, 8):
            _emit(x, s, m, t, spread, float(size), wanted, registers, rules)
    return has_missing


@njit(**COMPILE)
def _add_sums(a, b, out, cut):
    fill(piece(out, 0, cut), np.nan)
    o = piece(out, cut, out.size)
    for i in range(a.size):
        o[i] = b[i] + a[i]


@njit(**COMPILE)
def _add_squares(ma, mb, sa, sb, out, cut, na, nb):
    fill(piece(out, 0, cut), np.nan)
    o = piece(out, cut, out.size)
    weight, ca, cb = na * nb / (na + nb), 1.0 / na, 1.0 / nb
    for i in range(ma.size):
        step = sb[i] * cb - sa[i] * ca
        o[i] = ma[i] + mb[i] + step * step * weight


@njit(**COMPILE)
def _add_times(ta, tb, sa, sb, out, cut, na, nb):
    fill(piece(out, 0, cut), np.nan)
    o = piece(out, cut, out.size)
    weight, ca, cb = na * nb / 2.0, 1.0 / na, 1.0 / nb  # the mean times lie (na + nb) / 2 apart
    for i in range(ta.size):
        o[i] = ta[i] + tb[i] + (sb[i] * cb - sa[i] * ca) * weight


@njit(**COMPILE)
def _emit(x, s, m, t, spread, w, wanted, registers, rules):
    n = x.size
    if wanted[0] >= 0:
        o = part(registers, wanted[0], 0, n)
        for i in range(n):
            o[i] = s[i] if abs(s[i]) < np.inf else np.nan
    if wanted[1] >= 0:
        o = part(registers, wanted[1], 0, n)
        for i in range(n):
            o[i] = s[i] / w if abs(s[i]) < np.inf else np.nan
    if max(wanted[2], wanted[3], wanted[4], wanted[5], wanted[6], wanted[7]) < 0:
        return
    for i in range(n):
        spread[i] = 0.0 if m[i] * w <= SLACK * s[i] * s[i] else m[i]
    if wanted[2] >= 0:
        o = part(registers, wanted[2], 0, n)
        for i in range(n):
            o[i] = spread[i] / (w - 1.0) if spread[i] < np.inf else np.nan
    if wanted[3] >= 0:
        o = part(registers, wanted[3], 0, n)
        for i in range(n):
            o[i] = np.sqrt(spread[i] / (w - 1.0)) if spread[i] < np.inf else np.nan
    if max(wanted[4], wanted[5], wanted[6], wanted[7]) >= 0:
        _emit_line(x, s, t, spread, w, wanted, registers, rules)


@njit(**COMPILE)
def _emit_line(x, s, t, spread, w, wanted, registers, rules):
    n = x.size
    time_spread = w * (w * w - 1.0) / 12.0
    if wanted[4] >= 0:
        o = part(registers, wanted[4], 0, n)
        for i in range(n):
            o[i] = 0.0 if spread[i] == 0.0 else t[i] / time_spread
    if wanted[5] >= 0:
        o = part(registers, wanted[5], 0, n)
        least = (w - 1.0) * ABSOLUTE**2 if rules == QLIB else 0.0
        for i in range(n):
            share = t[i] * t[i] / (time_spread * spread[i])
            share = 1.0 if share > 1.0 else share
            o[i] = np.nan if spread[i] <= least else share
    if wanted[6] >= 0:
        o = part(registers, wanted[6], 0, n)
        reach = (w - 1.0) / 2.0
        for i in range(n):
            fit = 0.0 if spread[i] == 0.0 else t[i] / time_spread * reach
            o[i] = difference(difference(x[i], s[i] / w), fit)
    if wanted[7] >= 0:
        o = part(registers, wanted[7], 0, n)
        weights = w * (w + 1.0) / 2.0
        scale = w if rules == QLIB else 1.0  # Qlib divides the weighted mean by the number of values once more
        for i in range(n):
            o[i] = (s[i] / w + (0.0 if spread[i] == 0.0 else t[i] / weights)) / scale
