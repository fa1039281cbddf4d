"""Largest and smallest values of rolling windows and their places.

The largest value of 2h candles is the larger of those of two windows of h candles: log2(window) passes over all rows
give every power of two, and a window of any length is the union of two of them that overlap. All windows of a batch
share the passes. Of equal values the oldest counts.

`steps` has one row per window, shortest first: window, register of the value, register of the place (-1: not wanted).
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, INLINED, QLIB, copy, fill, is_wanted, part, piece, row


@njit(**INLINED)
def extremes(x, registers, steps, scratch, sign, rules):
    """Fill registers with the largest (`sign` 1.0) or smallest (-1.0) values and their places, 1 = oldest candle.

    By Qlib's rules missing values do not count, a place is counted from the first candle there is, and it is that
    of the first missing value if there is one (numpy's argmax).
    """
    n = x.size
    value, place = part(row(scratch, 0), 0, 0, n), part(row(scratch, 1), 0, 0, n)
    next_value, next_place = part(row(scratch, 2), 0, 0, n), part(row(scratch, 3), 0, 0, n)
    next_missing = part(row(scratch, 4), 0, 0, n)
    missing = -np.inf if rules == QLIB else np.nan
    for i in range(n):
        value[i] = x[i] * sign if abs(x[i]) < np.inf else missing
    with_place = is_wanted(steps, 2, 3)
    if with_place:
        for i in range(n):
            place[i] = float(i)
    if with_place and rules == QLIB:
        row_of_next = float(n)
        for i in range(n - 1, -1, -1):
            row_of_next = row_of_next if abs(x[i]) < np.inf else float(i)
            next_missing[i] = row_of_next
    size = np.int64(1)
    for step in range(steps.shape[0]):
        window, to_value, to_place = steps[step, 0], steps[step, 1], steps[step, 2]
        while 2 * size <= window:
            _widen(value, place, size, next_value, next_place, with_place, rules)
            value, next_value = next_value, value
            place, next_place = next_place, place
            size *= 2
        _widen(value, place, window - size, next_value, next_place, to_place >= 0, rules)
        if to_value >= 0:
            o = part(registers, to_value, 0, n)
            for i in range(n):
                o[i] = next_value[i] * sign if abs(next_value[i]) < np.inf else np.nan
        if to_place >= 0 and rules == QLIB:
            _emit_first_missing(next_value, next_place, next_missing, window, part(registers, to_place, 0, n))
        elif to_place >= 0:
            o = part(registers, to_place, 0, n)
            for i in range(n):
                o[i] = next_place[i] - (i - window) if next_value[i] == next_value[i] else np.nan


@njit(**COMPILE)
def _widen(value, place, shift, out, out_place, with_place, rules):
    """The larger of each value and the one `shift` rows before, and its row; NaN if one is.

    Before the first row there is nothing: the result is NaN, by Qlib's rules the value itself.
    """
    cut = min(shift, value.size)
    older, newer, o = piece(value, 0, value.size - cut), piece(value, cut, value.size), piece(out, cut, out.size)
    if rules == QLIB:
        copy(value, piece(out, 0, cut))
        copy(place, piece(out_place, 0, cut))
    else:
        fill(piece(out, 0, cut), np.nan)
    if with_place:
        older_place, newer_place = piece(place, 0, value.size - cut), piece(place, cut, place.size)
        op = piece(out_place, cut, out_place.size)
        for i in range(o.size):
            is_older = (older[i] >= newer[i]) | (older[i] != older[i])
            o[i] = older[i] if is_older else newer[i]
            op[i] = older_place[i] if is_older else newer_place[i]
    else:
        for i in range(o.size):
            o[i] = older[i] if (older[i] >= newer[i]) | (older[i] != older[i]) else newer[i]


@njit(**COMPILE)
def _emit_first_missing(best, place, next_missing, window, out):
    for i in range(out.size):
        begin = max(0, i - window + 1)
        first = next_missing[begin] if next_missing[begin] <= i else place[i]
        out[i] = first - begin + 1.0 if best[i] > -np.inf else np.nan
