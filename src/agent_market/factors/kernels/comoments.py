"""Correlation, covariance and regression of two series over rolling windows, grown from single candles like `moments`.

`steps` is that of `moments`; the registers are in the order of `plan.FAMILIES`.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import ABSOLUTE, COMPILE, FIRST, QLIB, SLACK, fill, is_wanted, load
from agent_market.factors.kernels.elements import difference


@njit(**COMPILE)
def comoments(x, y, registers, steps, scratch, rules):
    """Fill the registers that `steps` names with statistics of two series; lines are of `x` on `y`.

    Whether values of one of them are missing.
    """
    n = x.size
    sx, sy, xx, yy, xy = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    missing_x, missing_y = load(x, sx[0]), load(y, sy[0])
    has_missing = missing_x or missing_y
    for i in range(n):  # a pair counts where both values are known
        if sx[0, i] != sx[0, i] or sy[0, i] != sy[0, i]:
            sx[0, i], sy[0, i] = np.nan, np.nan
    for table in (xx, yy, xy):
        fill(table[0, :n], 0.0)
    for row in range(steps.shape[0]):
        size, older, newer, newer_size, slot = steps[row, 0], steps[row, 1], steps[row, 2], steps[row, 3], steps[row, 4]
        if size > 1:
            cut = min(newer_size, n)
            for table in (sx, sy, xx, yy, xy):
                fill(table[slot, :cut], np.nan)
            _merge(
                sx[older, : n - cut], sx[newer, cut:n], sx[slot, cut:n],
                sy[older, : n - cut], sy[newer, cut:n], sy[slot, cut:n],
                xx[older, : n - cut], xx[newer, cut:n], xx[slot, cut:n],
                yy[older, : n - cut], yy[newer, cut:n], yy[slot, cut:n],
                xy[older, : n - cut], xy[newer, cut:n], xy[slot, cut:n],
                float(size - newer_size), float(newer_size),
            )  # fmt: skip
        wanted = steps[row, FIRST:]
        if is_wanted(steps[row : row + 1], FIRST, FIRST + 4):
            tables = sx[slot, :n], sy[slot, :n], xx[slot, :n], yy[slot, :n], xy[slot, :n]
            _emit(x, y, tables, float(size), wanted, registers, rules)
    return has_missing


@njit(**COMPILE)
def _merge(sxa, sxb, sx, sya, syb, sy, xxa, xxb, xx, yya, yyb, yy, xya, xyb, xy, na, nb):
    """Merge older windows `a` and newer ones `b`; a loop per quantity, which the compiler can vectorise."""
    weight, ca, cb = na * nb / (na + nb), 1.0 / na, 1.0 / nb
    for i in range(sx.size):
        dx = sxb[i] * cb - sxa[i] * ca
        xx[i] = xxa[i] + xxb[i] + dx * dx * weight
    for i in range(sx.size):
        dy = syb[i] * cb - sya[i] * ca
        yy[i] = yya[i] + yyb[i] + dy * dy * weight
    for i in range(sx.size):
        xy[i] = xya[i] + xyb[i] + (sxb[i] * cb - sxa[i] * ca) * (syb[i] * cb - sya[i] * ca) * weight
    for i in range(sx.size):
        sx[i] = sxa[i] + sxb[i]
    for i in range(sx.size):
        sy[i] = sya[i] + syb[i]


@njit(**COMPILE)
def _emit(x, y, tables, w, wanted, registers, rules):
    n = x.size
    sx, sy, xx, yy, xy = tables
    if wanted[0] >= 0:
        o = registers[wanted[0], :n]
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
        o = registers[wanted[k], :n]
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
