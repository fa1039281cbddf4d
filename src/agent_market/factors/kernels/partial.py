"""Qlib's statistics of incomplete windows: of the values that are there, from the first one on.

The windows grow from single candles as in `moments`, and carry the number of their values. Only rows whose window
is incomplete are written: the others have their value already, which so never depends on what else is in a block.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import ABSOLUTE, COMPILE, FIRST, SLACK, copy, fill, is_wanted


@njit(**COMPILE)
def partial_moments(x, registers, steps, scratch, with_squares, with_times):
    """Overwrite what `moments` wrote at rows with an incomplete window.

    `ages` are sums of how many candles ago the values were; lines are on time, newest last.
    """
    n = x.size
    counts, sums, squares = scratch[0], scratch[1], scratch[2]
    ages, age_squares, products = scratch[3], scratch[4], scratch[5]
    for i in range(n):
        is_known = abs(x[i]) < np.inf
        counts[0, i] = 1.0 if is_known else 0.0
        sums[0, i] = x[i] if is_known else 0.0
    for table in (squares, ages, age_squares, products):
        fill(table[0, :n], 0.0)
    for row in range(steps.shape[0]):
        size, older, newer, k, slot = steps[row, 0], steps[row, 1], steps[row, 2], steps[row, 3], steps[row, 4]
        if size > 1:
            cut = min(k, n)
            na, nb = counts[older, : n - cut], counts[newer, cut:n]
            sa, sb = sums[older, : n - cut], sums[newer, cut:n]
            if with_squares:
                ma, mb = squares[older, : n - cut], squares[newer, cut:n]
                copy(squares[newer, :cut], squares[slot, :cut])
                _merge_squares(ma, mb, sa, sb, na, nb, squares[slot, cut:n])
            if with_times:
                aa, ab = ages[older, : n - cut], ages[newer, cut:n]
                copy(age_squares[newer, :cut], age_squares[slot, :cut])
                copy(products[newer, :cut], products[slot, :cut])
                pa, pb = products[older, : n - cut], products[newer, cut:n]
                _merge_times(pa, pb, sa, sb, aa, ab, na, nb, float(k), products[slot, cut:n])
                ta, tb = age_squares[older, : n - cut], age_squares[newer, cut:n]
                _merge_lapses(ta, tb, aa, ab, na, nb, float(k), age_squares[slot, cut:n])
                _merge_counts(ages[newer, :n], aa, ages[slot, :n], cut, float(k), na)
            _merge_counts(sums[newer, :n], sa, sums[slot, :n], cut, 0.0, na)
            _merge_counts(counts[newer, :n], na, counts[slot, :n], cut, 0.0, na)
        wanted = steps[row, FIRST:]
        if is_wanted(steps[row : row + 1], FIRST, FIRST + 8):
            values = counts[slot, :n], sums[slot, :n], squares[slot, :n], ages[slot, :n]
            _emit(x, values, age_squares[slot, :n], products[slot, :n], size, wanted, registers)


@njit(**COMPILE)
def _merge_counts(newer, older, out, cut, k, counts):
    """The sum of a newer and an older part; `k` is added per value of the older one, which is that much older."""
    copy(newer, out[:cut])
    o, b = out[cut:], newer[cut:]
    for i in range(o.size):
        o[i] = b[i] + (older[i] + k * counts[i])


@njit(**COMPILE)
def _merge_squares(ma, mb, sa, sb, na, nb, out):
    for i in range(out.size):
        step = sb[i] / nb[i] - sa[i] / na[i]
        extra = step * step * (na[i] * nb[i] / (na[i] + nb[i]))
        out[i] = ma[i] + mb[i] + (extra if (na[i] > 0.0) & (nb[i] > 0.0) else 0.0)


@njit(**COMPILE)
def _merge_times(pa, pb, sa, sb, aa, ab, na, nb, k, out):
    """The co-moment with time of two parts, the older of which lies `k` candles further back than its ages say."""
    for i in range(out.size):
        step, lapse = sb[i] / nb[i] - sa[i] / na[i], aa[i] / na[i] + k - ab[i] / nb[i]
        extra = step * lapse * (na[i] * nb[i] / (na[i] + nb[i]))
        out[i] = pa[i] + pb[i] + (extra if (na[i] > 0.0) & (nb[i] > 0.0) else 0.0)


@njit(**COMPILE)
def _merge_lapses(ta, tb, aa, ab, na, nb, k, out):
    for i in range(out.size):
        lapse = aa[i] / na[i] + k - ab[i] / nb[i]
        extra = lapse * lapse * (na[i] * nb[i] / (na[i] + nb[i]))
        out[i] = ta[i] + tb[i] + (extra if (na[i] > 0.0) & (nb[i] > 0.0) else 0.0)


@njit(**COMPILE)
def _emit(x, values, time_squares, products, size, wanted, registers):
    counts, sums, squares, ages = values
    n, w = x.size, float(size)
    if wanted[0] >= 0:
        o = registers[wanted[0], :n]
        for i in range(n):
            value = sums[i] if counts[i] > 0.0 else np.nan
            o[i] = value if counts[i] < w else o[i]
    if wanted[1] >= 0:
        o = registers[wanted[1], :n]
        for i in range(n):
            o[i] = sums[i] / counts[i] if counts[i] < w else o[i]
    if max(wanted[2], wanted[3], wanted[4], wanted[5], wanted[6], wanted[7]) < 0:
        return
    for i in range(n):
        squares[i] = _settled(squares[i], sums[i], counts[i])
    for k in (2, 3):
        if wanted[k] >= 0:
            o = registers[wanted[k], :n]
            for i in range(n):
                value = squares[i] / (counts[i] - 1.0) if counts[i] > 1.0 else np.nan
                value = value if k == 2 else np.sqrt(value)
                o[i] = value if counts[i] < w else o[i]
    if max(wanted[4], wanted[5], wanted[6], wanted[7]) < 0:
        return
    for i in range(n):
        if counts[i] < w:
            slope = products[i] / time_squares[i]
            mean, age = sums[i] / counts[i], ages[i] / counts[i]
            if wanted[4] >= 0:
                registers[wanted[4], i] = slope
            if wanted[5] >= 0:
                is_flat = counts[i] > 1.0 and squares[i] <= ABSOLUTE**2 * (counts[i] - 1.0)
                share = products[i] * products[i] / (time_squares[i] * squares[i])
                registers[wanted[5], i] = np.nan if is_flat else share
            if wanted[6] >= 0:
                registers[wanted[6], i] = x[i] - (mean + slope * age)
            if wanted[7] >= 0:
                length = min(w, i + 1.0)  # Qlib weights the rows that there are, and divides by the number of values
                weighted = length * sums[i] + products[i] - age * sums[i]
                registers[wanted[7], i] = weighted / (length * (length + 1.0) / 2.0) / counts[i]


@njit(**COMPILE)
def _settled(square, total, count):
    """A sum of squares, exactly 0 if it is at the rounding level of the values."""
    return 0.0 if square * count <= SLACK * total * total else square


@njit(**COMPILE)
def partial_comoments(x, y, registers, steps, scratch):
    """Overwrite what `comoments` wrote at rows with an incomplete window: a pair counts if both values are known."""
    n = x.size
    counts, sx, sy, xx, yy, xy = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]
    for i in range(n):
        is_known = (abs(x[i]) < np.inf) & (abs(y[i]) < np.inf)
        counts[0, i] = 1.0 if is_known else 0.0
        sx[0, i] = x[i] if is_known else 0.0
        sy[0, i] = y[i] if is_known else 0.0
    for table in (xx, yy, xy):
        fill(table[0, :n], 0.0)
    for row in range(steps.shape[0]):
        size, older, newer, k, slot = steps[row, 0], steps[row, 1], steps[row, 2], steps[row, 3], steps[row, 4]
        if size > 1:
            cut = min(k, n)
            na, nb = counts[older, : n - cut], counts[newer, cut:n]
            xa, xb, ya, yb = sx[older, : n - cut], sx[newer, cut:n], sy[older, : n - cut], sy[newer, cut:n]
            for table in (xx, yy, xy):
                copy(table[newer, :cut], table[slot, :cut])
            _merge_squares(xx[older, : n - cut], xx[newer, cut:n], xa, xb, na, nb, xx[slot, cut:n])
            _merge_squares(yy[older, : n - cut], yy[newer, cut:n], ya, yb, na, nb, yy[slot, cut:n])
            _merge_products(xy[older, : n - cut], xy[newer, cut:n], xa, xb, ya, yb, na, nb, xy[slot, cut:n])
            _merge_counts(sx[newer, :n], xa, sx[slot, :n], cut, 0.0, na)
            _merge_counts(sy[newer, :n], ya, sy[slot, :n], cut, 0.0, na)
            _merge_counts(counts[newer, :n], na, counts[slot, :n], cut, 0.0, na)
        corr, cov = steps[row, FIRST], steps[row, FIRST + 1]
        for i in range(n):
            count = counts[slot, i]
            if count < size:
                if corr >= 0:
                    value = xy[slot, i] / np.sqrt(xx[slot, i] * yy[slot, i])
                    least = min(xx[slot, i], yy[slot, i])
                    is_clear = count > 1.0 and (least > ABSOLUTE**2 * (size - 1.0) or _moves(x, y, i, size))
                    registers[corr, i] = value if is_clear and abs(value) < np.inf else np.nan
                if cov >= 0:
                    registers[cov, i] = xy[slot, i] / (count - 1.0) if count > 1.0 else np.nan


@njit(**COMPILE)
def _merge_products(pa, pb, xa, xb, ya, yb, na, nb, out):
    for i in range(out.size):
        step_x, step_y = xb[i] / nb[i] - xa[i] / na[i], yb[i] / nb[i] - ya[i] / na[i]
        extra = step_x * step_y * (na[i] * nb[i] / (na[i] + nb[i]))
        out[i] = pa[i] + pb[i] + (extra if (na[i] > 0.0) & (nb[i] > 0.0) else 0.0)


@njit(**COMPILE)
def _moves(x, y, i, window):
    """Whether both series move at all, each asked of all its known values: also where the other one has none."""
    return not (_deviation(x, i, window) <= ABSOLUTE or _deviation(y, i, window) <= ABSOLUTE)


@njit(**COMPILE)
def _deviation(x, i, window):
    """The standard deviation of the known values of a window, NaN of fewer than two."""
    begin = max(0, i - window + 1)
    count, origin, total = 0.0, 0.0, 0.0
    for j in range(begin, i + 1):
        if abs(x[j]) < np.inf:
            origin = x[j] if count == 0.0 else origin
            count += 1.0
            total += x[j] - origin
    mean, square = origin + total / count, 0.0
    for j in range(begin, i + 1):
        if abs(x[j]) < np.inf:
            square += (x[j] - mean) * (x[j] - mean)
    return np.sqrt(square / (count - 1.0)) if count > 1.0 else np.nan
