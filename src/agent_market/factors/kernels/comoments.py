"""Correlation, covariance and regression of two series over rolling windows, grown from single candles like `moments`.

`steps` is that of `moments`; the registers are in the order of `plan.FAMILIES`.
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
    load,
    part,
    row,
)
from agent_market.factors.kernels.elements import difference


@njit(**INLINED)
def comoments(x, y, registers, steps, scratch, rules):
    """Fill the registers that `steps` names with statistics of two series; lines are of `x` on `y`.

    Whether values of one of them are missing.
    """
    n = x.size
    sx, sy, xx, yy, xy = row(scratch, 0), row(scratch, 1), row(scratch, 2), row(scratch, 3), row(scratch, 4)
    missing_x, missing_y = load(x, row(sx, 0)), load(y, row(sy, 0))
    has_missing = missing_x or missing_y
    for i in range(n):  # a pair counts where both values are known
        if sx[0, i] != sx[0, i] or sy[0, i] != sy[0, i]:
            sx[0, i], sy[0, i] = np.nan, np.nan
    for table in (xx, yy, xy):
        fill(part(table, 0, 0, n), 0.0)
    for step in range(steps.shape[0]):
        size, older, newer = steps[step, 0], steps[step, 1], steps[step, 2]
        newer_size, slot = steps[step, 3], steps[step, 4]
        if size > 1:
            cut = min(newer_size, n)
            for table in (sx, sy, xx, yy, xy):
                fill(part(table, slot, 0, cut), np.nan)
            na, nb = float(size - newer_size), float(newer_size)
            xa, xb = part(sx, older, 0, n - cut), part(sx, newer, cut, n)
            ya, yb = part(sy, older, 0, n - cut), part(sy, newer, cut, n)
            _merge(xx, older, newer, slot, cut, xa, xb, xa, xb, na, nb)
            _merge(yy, older, newer, slot, cut, ya, yb, ya, yb, na, nb)
            _merge(xy, older, newer, slot, cut, xa, xb, ya, yb, na, nb)
            for total, a, b in ((sx, xa, xb), (sy, ya, yb)):
                out = part(total, slot, cut, n)
                for i in range(out.size):
                    out[i] = a[i] + b[i]
        wanted = part(steps, step, FIRST, FIRST + 4)
        if is_named(wanted, 0, 4):
            sums = part(sx, slot, 0, n), part(sy, slot, 0, n)
            squares = part(xx, slot, 0, n), part(yy, slot, 0, n), part(xy, slot, 0, n)
            _emit(x, y, sums, squares, float(size), wanted, registers, rules)
    return has_missing


@njit(**COMPILE)
def _merge(table, older, newer, slot, cut, xa, xb, ya, yb, na, nb):
    """The products of an older and a newer window, and that of the distances between their means."""
    out = part(table, slot, cut, cut + xa.size)
    a, b = part(table, older, 0, xa.size), part(table, newer, cut, cut + xa.size)
    weight, ca, cb = na * nb / (na + nb), 1.0 / na, 1.0 / nb
    for i in range(out.size):
        out[i] = a[i] + b[i] + (xb[i] * cb - xa[i] * ca) * (yb[i] * cb - ya[i] * ca) * weight


@njit(**COMPILE)
def _emit(x, y, sums, squares, w, wanted, registers, rules):
    n = x.size
    sx, sy = sums
    xx, yy, xy = squares
    if wanted[0] >= 0:
        o = part(registers, wanted[0], 0, n)
        if rules == QLIB:
            least = ABSOLUTE**2 * (w - 1.0)
            for i in range(n):
                smallest = xx[i] if xx[i] < yy[i] else yy[i]
                o[i] = np.nan if smallest <= least else xy[i] / np.sqrt(xx[i] * yy[i])
        else:
            for i in range(n):
                is_flat = (xx[i] * w <= SLACK * sx[i] * sx[i]) | (yy[i] * w <= SLACK * sy[i] * sy[i])
                r = xy[i] / np.sqrt(xx[i] * yy[i])
                r = 1.0 if r > 1.0 else r
                r = -1.0 if r < -1.0 else r
                o[i] = np.nan if is_flat else r
    for k in range(1, 4):
        if wanted[k] < 0:
            continue
        o = part(registers, wanted[k], 0, n)
        for i in range(n):
            flat_x, flat_y = xx[i] * w <= SLACK * sx[i] * sx[i], yy[i] * w <= SLACK * sy[i] * sy[i]
            product = 0.0 if flat_x or flat_y else xy[i]
            slope = np.nan if flat_y else product / yy[i]
            if k == 1:
                value = product / (w - 1.0)
            elif k == 2:
                value = slope
            else:
                value = difference(difference(x[i], sx[i] / w), slope * difference(y[i], sy[i] / w))
            o[i] = value if abs(value) < np.inf else np.nan
