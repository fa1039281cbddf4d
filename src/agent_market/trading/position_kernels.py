"""Compiled loops over states: what a position is now depends on what it was at the candle before."""

import numpy as np
from numba import njit

COMPILE = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**COMPILE)
def hold_at_least(position, starts, candles):
    """Positions that keep their side for at least `candles` rows once it is taken; float64 (n_rows,).

    Rows of a pair follow one another; nothing is held across a row where `starts` is true.
    """
    held = np.empty_like(position)
    kept, age = 0.0, 0
    for row in range(position.size):
        if starts[row]:
            kept = 0.0
        turns = np.sign(position[row]) != np.sign(kept)
        if not turns:
            kept = position[row]  # the same side, perhaps in another size
        elif kept == 0.0 or age >= candles:
            kept, age = position[row], 0
        age += 1
        held[row] = kept
    return held


@njit(**COMPILE)
def hold_best(score, k, keep, n_drop, min_score, allow_short):
    """Sides of the best pairs of each date: float64 (n_dates, n_pairs) of 1, -1 and 0.

    `score` (n_dates, n_pairs) has the pairs in alphabetical order and NaN where there is none. One ranking serves both
    sides: by falling score, equal ones by name.
    """
    sides = np.zeros_like(score)
    held = np.zeros(score.shape[1])
    for date in range(score.shape[0]):
        best_first = np.argsort(-score[date], kind="mergesort")  # stable, NaN last
        n = 0
        for pair in range(held.size):
            if np.isnan(score[date, pair]):
                held[pair] = 0.0
            else:
                n += 1
        ranked = best_first[:n]
        if allow_short:
            k_now = min(k, n // 2)
            _turn_over(held, score[date], ranked, 1.0, k_now, keep, n_drop, min_score, n - k_now)
            _turn_over(held, score[date], ranked[::-1], -1.0, k_now, keep, n_drop, min_score, n - k_now)
        else:
            _turn_over(held, score[date], ranked, 1.0, min(k, n), keep, n_drop, min_score, n)
        sides[date] = held
    return sides


@njit(**COMPILE)
def _turn_over(held, score, ranked, side, k, keep, n_drop, min_score, turning):
    """Update one side of `held` at one date: the worst leave, the best take their places.

    Ranks count from 0 in `ranked`, best first. From rank `turning` on a pair is among the best of the other side.
    """
    stay, dropped = 0, 0
    for rank in range(ranked.size - 1, -1, -1):
        pair = ranked[rank]
        if held[pair] != side:
            continue
        if rank >= turning or side * score[pair] < min_score:
            held[pair] = 0.0
        elif rank >= keep and dropped < n_drop:
            held[pair] = 0.0
            dropped += 1
        else:
            stay += 1
    for rank in range(ranked.size - 1, -1, -1):  # fewer pairs have scores than before: fewer places
        if stay > k and held[ranked[rank]] == side:
            held[ranked[rank]] = 0.0
            stay -= 1
    for rank in range(k):
        pair = ranked[rank]
        if stay < k and held[pair] != side and side * score[pair] >= min_score:
            held[pair] = side
            stay += 1


@njit(**COMPILE)
def trailing_quantiles(value, rank, begin, oldest, quantiles, min_history):
    """Quantiles of the values in a window before each date, linearly interpolated: float64 (n_dates, n_quantiles).

    Rows are in order of date: those of a date are `begin[date]` to before `begin[date + 1]`, and its window begins at
    row `oldest[date]`. `value` is NaN where unknown; `rank` is the place of each known value among all, from 0.
    A tree of counts over ranks holds what is in the window: where all others stand in it does not matter.
    """
    n_dates = begin.size - 1
    levels = np.full((n_dates, quantiles.size), np.nan)
    counts = np.zeros(value.size + 1, dtype=np.int32)
    top = 1
    while top * 2 <= value.size:
        top *= 2
    by_rank = np.empty(value.size)
    for row in range(value.size):
        if not np.isnan(value[row]):
            by_rank[rank[row]] = value[row]
    left, n = 0, 0
    for date in range(n_dates):
        for row in range(begin[date], begin[date + 1]):
            if not np.isnan(value[row]):
                _count(counts, rank[row], 1)
                n += 1
        while left < oldest[date]:
            if not np.isnan(value[left]):
                _count(counts, rank[left], -1)
                n -= 1
            left += 1
        if n < min_history:
            continue
        for j in range(quantiles.size):
            place = quantiles[j] * (n - 1)
            whole = int(place)
            level = by_rank[_find(counts, whole, top)]
            if place > whole:
                level += (by_rank[_find(counts, whole + 1, top)] - level) * (place - whole)
            levels[date, j] = level
    return levels


@njit(**COMPILE)
def _count(counts, rank, change):
    """Add `change` to the count of a rank, in a Fenwick tree."""
    node = rank + 1
    while node < counts.size:
        counts[node] += change
        node += node & -node


@njit(**COMPILE)
def _find(counts, place, top):
    """The rank at which the counted values have `place` others before them."""
    node, left = 0, place + 1
    while top > 0:
        if node + top < counts.size and counts[node + top] < left:
            node += top
            left -= counts[node]
        top //= 2
    return node
