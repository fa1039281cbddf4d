"""Skewness, kurtosis and products of rolling windows, grown from single candles like the sums of `moments`."""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import (
    COMPILE,
    FIRST,
    INLINED,
    QLIB,
    SLACK,
    copy,
    fill,
    load,
    part,
    row,
    run_lengths,
)


@njit(**INLINED)
def shapes(x, registers, steps, scratch, rules):
    """Fill the registers that `steps` names with bias-corrected skewness and excess kurtosis of `x`."""
    n = x.size
    s, m2, m3, m4 = row(scratch, 0), row(scratch, 1), row(scratch, 2), row(scratch, 3)
    runs = part(row(scratch, 4), 0, 0, n)
    has_missing = load(x, row(s, 0))
    if rules == QLIB:
        run_lengths(x, runs)
    for table in (m2, m3, m4):
        fill(part(table, 0, 0, n), 0.0)
    for step in range(steps.shape[0]):
        size, a, b, nb, o = steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4]
        if size > 1:
            _add_shapes(s, m2, m3, m4, a, b, o, float(size - nb), float(nb), nb, n)
        skew, kurt = steps[step, FIRST], steps[step, FIRST + 1]
        if skew < 0 and kurt < 0:
            continue
        for i in range(n):
            square = 0.0 if m2[o, i] * size <= SLACK * s[o, i] * s[o, i] else m2[o, i]
            _emit_shape(square, m3[o, i], m4[o, i], float(size), skew, kurt, registers, i, rules)
        if rules == QLIB:
            for i in range(n if has_missing else min(n, size - 1)):
                if runs[i] < size:
                    count, square, cube, fourth = _powers(x, i, size)
                    _emit_shape(square, cube, fourth, count, skew, kurt, registers, i, rules)


@njit(**COMPILE)
def _add_shapes(s, m2, m3, m4, a, b, o, na, nb, k, n):
    w = na + nb
    cut = min(k, n)
    for table in (s, m2, m3, m4):
        fill(part(table, o, 0, cut), np.nan)
    for i in range(cut, n):
        j = i - k
        delta = s[b, i] / nb - s[a, j] / na
        step = delta / w
        m2a, m2b, m3a, m3b = m2[a, j], m2[b, i], m3[a, j], m3[b, i]
        s[o, i] = s[a, j] + s[b, i]
        m2[o, i] = m2a + m2b + delta * step * na * nb
        m3[o, i] = m3a + m3b + delta * step * step * na * nb * (na - nb) + 3.0 * step * (na * m2b - nb * m2a)
        m4[o, i] = (
            m4[a, j]
            + m4[b, i]
            + delta * step * step * step * na * nb * (na * na - na * nb + nb * nb)
            + 6.0 * step * step * (na * na * m2b + nb * nb * m2a)
            + 4.0 * step * (na * m3b - nb * m3a)
        )


@njit(**COMPILE)
def _powers(x, i, window):
    """Count and sums of the 2nd, 3rd and 4th powers of the deviations of the known values of a window."""
    begin = max(0, i - window + 1)
    count, origin, total = 0.0, 0.0, 0.0
    for j in range(begin, i + 1):
        if abs(x[j]) < np.inf:
            origin = x[j] if count == 0.0 else origin
            count += 1.0
            total += x[j] - origin
    mean = origin + total / count
    square, cube, fourth = 0.0, 0.0, 0.0
    for j in range(begin, i + 1):
        if abs(x[j]) < np.inf:
            d = x[j] - mean
            square += d * d
            cube += d * d * d
            fourth += d * d * d * d
    return count, square, cube, fourth


@njit(**COMPILE)
def _emit_shape(square, cube, fourth, w, skew, kurt, registers, i, rules):
    is_flat = square == 0.0
    if rules == QLIB:  # pandas: an absolute bound, and fixed values for a flat window
        is_flat = square <= 1e-14 * w
    if skew >= 0:
        value = np.sqrt(w) * cube / square**1.5 * np.sqrt(w * (w - 1.0)) / (w - 2.0)
        value = np.nan if is_flat else value
        if rules == QLIB:
            value = 0.0 if square == 0.0 else value
            value = np.nan if w < 3.0 else value
        registers[skew, i] = value if abs(value) < np.inf else np.nan
    if kurt >= 0:
        value = ((w + 1.0) * (w * fourth / (square * square)) - 3.0 * (w - 1.0)) * (w - 1.0) / ((w - 2.0) * (w - 3.0))
        value = np.nan if is_flat else value
        if rules == QLIB:
            value = -3.0 if square == 0.0 else value
            value = np.nan if w < 4.0 else value
        registers[kurt, i] = value if abs(value) < np.inf else np.nan


@njit(**INLINED)
def products(x, registers, steps, scratch):
    """Fill the registers that `steps` names with the products of the windows of `x`."""
    n = x.size
    parts = row(scratch, 0)
    copy(x, part(parts, 0, 0, n))
    for step in range(steps.shape[0]):
        size, a, b, nb, o = steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4]
        if size > 1:
            cut = min(nb, n)
            fill(part(parts, o, 0, cut), np.nan)
            for i in range(cut, n):
                parts[o, i] = parts[b, i] * parts[a, i - nb]
        if steps[step, FIRST] >= 0:
            for i in range(n):
                registers[steps[step, FIRST], i] = parts[o, i] if abs(parts[o, i]) < np.inf else np.nan
