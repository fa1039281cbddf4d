"""Ranks and quantiles of long windows, at a cost that grows with the logarithm of the window.

The distinct values of a block are sorted once; a window is then a table of how many of each it holds, kept as a binary
indexed tree (Fenwick 1994): a value enters, leaves, is ranked and the k-th smallest is found in log2(values) steps.
Counts are whole numbers, so that nothing is left behind by a value that has left, and the results are those of the
sorted windows of `order`, bit for bit.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, INLINED, QLIB, copy, fill


@njit(**INLINED)
def long_order_statistics(x, registers, steps, levels, rules):
    """Do what `order_statistics` does."""
    n = x.size
    values = np.empty(n)
    n_values = _distinct(x, values)
    places = np.zeros(n, np.int64)  # from 1; 0 for a missing value
    for i in range(n):
        if abs(x[i]) < np.inf:
            places[i] = _place(values, n_values, x[i])
    tree, counts = np.zeros(n_values + 1, np.int64), np.zeros(n_values + 1, np.int64)
    for step in range(steps.shape[0]):
        window, known = steps[step, 0], 0
        fill(tree, 0)
        fill(counts, 0)
        for i in range(n):
            if i >= window and places[i - window] > 0:
                _count(tree, counts, places[i - window], -1)
                known -= 1
            place = places[i]
            if place > 0:
                _count(tree, counts, place, 1)
                known += 1
            is_enough = known >= (1 if rules == QLIB else window)
            if steps[step, 1] >= 0:
                rank = np.nan
                if place > 0 and is_enough:
                    last = _up_to(tree, place)
                    rank = (2 * last - counts[place] + 1) / 2.0 / known  # equals share their mean rank
                registers[steps[step, 1], i] = rank
            for k in range(levels.size):
                if steps[step, 2 + k] >= 0:
                    value = np.nan
                    if is_enough:
                        at = (known - 1) * levels[k]
                        below = int(at)
                        low = values[_smallest(tree, below + 1) - 1]
                        high = values[_smallest(tree, below + 2) - 1] if below + 1 < known else low
                        value = low + (high - low) * (at - below)
                    registers[steps[step, 2 + k], i] = value


@njit(**COMPILE)
def _distinct(x, values):
    """Put the distinct known values into the first places of `values`, smallest first. How many there are."""
    n = 0
    for value in x:
        if abs(value) < np.inf:
            values[n] = value
            n += 1
    merged, width = np.empty(n), 1
    while width < n:  # sorted runs of `width` are merged in pairs
        for start in range(0, n, 2 * width):
            middle, stop = min(start + width, n), min(start + 2 * width, n)
            left, right = start, middle
            for to in range(start, stop):
                if right >= stop or (left < middle and values[left] <= values[right]):
                    merged[to] = values[left]
                    left += 1
                else:
                    merged[to] = values[right]
                    right += 1
        copy(merged, values[:n])
        width *= 2
    n_values = min(n, 1)
    for i in range(1, n):
        if values[i] != values[n_values - 1]:
            values[n_values] = values[i]
            n_values += 1
    return n_values


@njit(**COMPILE)
def _place(values, n_values, value):
    """The place, from 1, of a value among the sorted ones."""
    low, high = 0, n_values - 1
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low + 1


@njit(**COMPILE)
def _count(tree, counts, place, change):
    """One value more, or less."""
    counts[place] += change
    while place < tree.size:
        tree[place] += change
        place += place & -place


@njit(**COMPILE)
def _up_to(tree, place):
    """How many values the window holds up to that of a place."""
    total = 0
    while place > 0:
        total += tree[place]
        place -= place & -place
    return total


@njit(**COMPILE)
def _smallest(tree, k):
    """The place of the k-th smallest value of the window."""
    place, step = 0, 1
    while 2 * step < tree.size:
        step *= 2
    while step > 0:
        if place + step < tree.size and tree[place + step] < k:
            place += step
            k -= tree[place]
        step //= 2
    return place + 1
