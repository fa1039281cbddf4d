"""Qlib's statistics of incomplete windows: of the values that are there, from the first one on.

The windows grow from single candles as in `moments`, and carry the number of their values. Only rows whose window
is incomplete are written: the others have their value already, which so never depends on what else is in a block.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import (
    ABSOLUTE,
    COMPILE,
    FIRST,
    INLINED,
    SLACK,
    copy,
    fill,
    is_named,
    is_wanted,
    part,
    row,
)


@njit(**INLINED)
def partial_moments(x, registers, steps, scratch):
    """Overwrite what `moments` wrote at rows with an incomplete window.

    `ages` are sums of how many candles ago the values were; lines are on time, newest last.
    """
    n = x.size
    counts, sums, squares, means = row(scratch, 0), row(scratch, 1), row(scratch, 2), row(scratch, 3)
    ages, age_squares, products, mean_ages = row(scratch, 4), row(scratch, 5), row(scratch, 6), row(scratch, 7)
    with_squares, with_times = is_wanted(steps, FIRST + 2, FIRST + 8), is_wanted(steps, FIRST + 4, FIRST + 8)
    for i in range(n):
        is_known = abs(x[i]) < np.inf
        counts[0, i] = 1.0 if is_known else 0.0
        sums[0, i] = x[i] if is_known else 0.0
        means[0, i] = sums[0, i]
    for table in (squares, ages, age_squares, products, mean_ages):
        fill(part(table, 0, 0, n), 0.0)
    for step in range(steps.shape[0]):
        size, a, b, k, o = steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4]
        if size > 1:
            cut = min(k, n)
            m = n - cut
            weight = part(row(scratch, 8), 0, cut, n)
            xa, xb = part(means, a, 0, m), part(means, b, cut, n)
            ta, tb = part(mean_ages, a, 0, m), part(mean_ages, b, cut, n)
            if with_squares:
                _weigh(part(counts, a, 0, m), part(counts, b, cut, n), weight)
                _merge(squares, a, b, o, cut, n)
                _spread(xa, xb, 0.0, xa, xb, 0.0, weight, part(squares, o, cut, n))
            if with_times:
                # Time runs against the age, and the older part lies k candles further back than its ages say.
                back = float(k)
                _merge(products, a, b, o, cut, n)
                _spread(xa, xb, 0.0, tb, ta, back, weight, part(products, o, cut, n))
                _merge(age_squares, a, b, o, cut, n)
                _spread(tb, ta, back, tb, ta, back, weight, part(age_squares, o, cut, n))
                _merge(ages, a, b, o, cut, n)
                _add_scaled(part(counts, a, 0, m), back, part(ages, o, cut, n))
            _merge(sums, a, b, o, cut, n)
            _merge(counts, a, b, o, cut, n)
            if with_squares:
                _average(part(sums, o, 0, n), part(counts, o, 0, n), part(means, o, 0, n))
            if with_times:
                _average(part(ages, o, 0, n), part(counts, o, 0, n), part(mean_ages, o, 0, n))
        wanted = part(steps, step, FIRST, FIRST + 8)
        if is_named(wanted, 0, 8):
            values = part(counts, o, 0, n), part(sums, o, 0, n), part(squares, o, 0, n), part(ages, o, 0, n)
            spread = part(row(scratch, 8), 0, 0, n)
            _emit(x, values, part(age_squares, o, 0, n), part(products, o, 0, n), spread, size, wanted, registers)


@njit(**COMPILE)
def _merge(table, a, b, o, cut, n):
    """What two parts have together; the first rows have no older part."""
    copy(part(table, b, 0, cut), part(table, o, 0, cut))
    older, newer, out = part(table, a, 0, n - cut), part(table, b, cut, n), part(table, o, cut, n)
    for i in range(out.size):
        out[i] = newer[i] + older[i]


@njit(**COMPILE)
def _weigh(na, nb, out):
    """The weight of the distance between two parts of `na` and `nb` values; 0 if one has none."""
    for i in range(out.size):
        product = na[i] * nb[i]
        out[i] = product / (na[i] + nb[i]) if product > 0.0 else 0.0


@njit(**COMPILE)
def _average(total, count, out):
    for i in range(out.size):
        out[i] = total[i] / count[i] if count[i] > 0.0 else 0.0


@njit(**COMPILE)
def _add_scaled(x, scale, out):
    for i in range(out.size):
        out[i] += x[i] * scale


@njit(**COMPILE)
def _spread(xa, xb, x0, ya, yb, y0, weight, out):
    """Add the product of the distances between the means of two parts."""
    for i in range(out.size):
        out[i] += (xb[i] - xa[i] + x0) * (yb[i] - ya[i] + y0) * weight[i]


@njit(**COMPILE)
def _emit(x, values, time_squares, products, spread, size, wanted, registers):
    counts, sums, squares, ages = values
    n, w = x.size, float(size)
    if wanted[0] >= 0:
        o = part(registers, wanted[0], 0, n)
        for i in range(n):
            value = sums[i] if counts[i] > 0.0 else np.nan
            o[i] = value if counts[i] < w else o[i]
    if wanted[1] >= 0:
        o = part(registers, wanted[1], 0, n)
        for i in range(n):
            o[i] = sums[i] / counts[i] if counts[i] < w else o[i]
    if max(wanted[2], wanted[3], wanted[4], wanted[5], wanted[6], wanted[7]) < 0:
        return
    for i in range(n):
        is_flat = squares[i] * counts[i] <= SLACK * sums[i] * sums[i]
        spread[i] = 0.0 if is_flat else squares[i]
    for k in (2, 3):
        if wanted[k] >= 0:
            o = part(registers, wanted[k], 0, n)
            for i in range(n):
                value = spread[i] / (counts[i] - 1.0) if counts[i] > 1.0 else np.nan
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
                is_flat = counts[i] > 1.0 and spread[i] <= ABSOLUTE**2 * (counts[i] - 1.0)
                share = products[i] * products[i] / (time_squares[i] * spread[i])
                registers[wanted[5], i] = np.nan if is_flat else share
            if wanted[6] >= 0:
                registers[wanted[6], i] = x[i] - (mean + slope * age)
            if wanted[7] >= 0:
                length = min(w, i + 1.0)  # Qlib weights the rows that there are, and divides by the number of values
                weighted = length * sums[i] + products[i] - age * sums[i]
                registers[wanted[7], i] = weighted / (length * (length + 1.0) / 2.0) / counts[i]


@njit(**INLINED)
def partial_comoments(x, y, registers, steps, scratch):
    """Overwrite what `comoments` wrote at rows with an incomplete window: a pair counts if both values are known."""
    n = x.size
    counts, sx, sy = row(scratch, 0), row(scratch, 1), row(scratch, 2)
    xx, yy, xy = row(scratch, 3), row(scratch, 4), row(scratch, 5)
    mean_x, mean_y = row(scratch, 6), row(scratch, 7)
    for i in range(n):
        is_known = (abs(x[i]) < np.inf) & (abs(y[i]) < np.inf)
        counts[0, i] = 1.0 if is_known else 0.0
        sx[0, i] = x[i] if is_known else 0.0
        sy[0, i] = y[i] if is_known else 0.0
    copy(part(sx, 0, 0, n), part(mean_x, 0, 0, n))
    copy(part(sy, 0, 0, n), part(mean_y, 0, 0, n))
    for table in (xx, yy, xy):
        fill(part(table, 0, 0, n), 0.0)
    for step in range(steps.shape[0]):
        size, a, b, k, o = steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4]
        if size > 1:
            cut = min(k, n)
            m = n - cut
            weight = part(row(scratch, 8), 0, cut, n)
            _weigh(part(counts, a, 0, m), part(counts, b, cut, n), weight)
            for table in (xx, yy, xy, sx, sy, counts):
                _merge(table, a, b, o, cut, n)
            xa, xb = part(mean_x, a, 0, m), part(mean_x, b, cut, n)
            ya, yb = part(mean_y, a, 0, m), part(mean_y, b, cut, n)
            _spread(xa, xb, 0.0, xa, xb, 0.0, weight, part(xx, o, cut, n))
            _spread(ya, yb, 0.0, ya, yb, 0.0, weight, part(yy, o, cut, n))
            _spread(xa, xb, 0.0, ya, yb, 0.0, weight, part(xy, o, cut, n))
            _average(part(sx, o, 0, n), part(counts, o, 0, n), part(mean_x, o, 0, n))
            _average(part(sy, o, 0, n), part(counts, o, 0, n), part(mean_y, o, 0, n))
        corr, cov = steps[step, FIRST], steps[step, FIRST + 1]
        for i in range(n):
            count = counts[o, i]
            if count < size:
                if corr >= 0:
                    value = xy[o, i] / np.sqrt(xx[o, i] * yy[o, i])
                    least = min(xx[o, i], yy[o, i])
                    is_clear = count > 1.0 and (least > ABSOLUTE**2 * (size - 1.0) or _moves(x, y, i, size))
                    registers[corr, i] = value if is_clear and abs(value) < np.inf else np.nan
                if cov >= 0:
                    registers[cov, i] = xy[o, i] / (count - 1.0) if count > 1.0 else np.nan


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
