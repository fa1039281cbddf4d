"""Compiled loops against slow ones that say the same in plain words."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent_market.trading.position_kernels import hold_at_least, hold_best

SCORES = st.integers(-3, 3).map(float) | st.just(np.nan)  # few values: many ties
TABLES = st.tuples(st.integers(1, 12), st.integers(1, 9)).flatmap(
    lambda shape: arrays("float64", shape, elements=SCORES)
)


def _hold_slowly(position, starts, candles):
    opened, held = None, []  # (row of entry, side) of what is open
    for row, wanted in enumerate(position):
        if starts[row]:
            opened = None
        if opened is not None and np.sign(wanted) != opened[1]:
            if row - opened[0] < candles:
                held.append(held[-1])
                continue
            opened = None
        if opened is None and wanted != 0:
            opened = (row, np.sign(wanted))
        held.append(wanted)
    return held


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), st.booleans()), max_size=40), st.integers(1, 6))
def test_hold_at_least_agrees_with_a_slow_loop(rows, candles):
    position = np.array([row[0] for row in rows])
    starts = np.array([row[1] and i % 3 == 0 for i, row in enumerate(rows)], dtype=bool)
    assert hold_at_least(position, starts, candles).tolist() == _hold_slowly(position, starts, candles)


def _best_slowly(scores, k, keep, n_drop, min_score, allow_short):
    held = {1: set(), -1: set()}
    for row in scores:
        ranked = sorted((pair for pair in range(len(row)) if not np.isnan(row[pair])), key=lambda p: (-row[p], p))
        places = min(k, len(ranked) // 2 if allow_short else len(ranked))
        for side, order in ((1, ranked), (-1, ranked[::-1])) if allow_short else ((1, ranked),):
            others = order[len(order) - places :] if allow_short else []
            mine = [p for p in order if p in held[side] and p not in others and side * row[p] >= min_score]
            replaced = [p for p in mine if p not in order[:keep]][::-1][:n_drop]
            mine = [p for p in mine if p not in replaced][:places]
            new = [p for p in order[:places] if p not in mine and side * row[p] >= min_score]
            held[side] = {*mine, *new[: places - len(mine)]}
        yield [1.0 if p in held[1] else -1.0 if p in held[-1] else 0.0 for p in range(len(row))]


@settings(max_examples=300, deadline=None)
@given(
    TABLES,
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(1, 5),
    st.sampled_from([-np.inf, -1.0, 1.0]),
    st.booleans(),
)
def test_hold_best_agrees_with_a_slow_loop(scores, k, more, n_drop, min_score, allow_short):
    found = hold_best(scores, k, k + more, n_drop, min_score, allow_short)
    assert found.tolist() == list(_best_slowly(scores, k, k + more, n_drop, min_score, allow_short))
    assert ((found > 0).sum(axis=1) <= k).all()
    assert not found[np.isnan(scores)].any()


def _qlib_topk_dropout(scores, k, n_drop):
    """Qlib's strategy: what is held and the best new pairs are ranked together, and the last `n_drop` of them leave."""
    held = []
    for row in scores:
        by_score = sorted(range(len(row)), key=lambda p: -row[p])
        new = [p for p in by_score if p not in held][: n_drop + k - len(held)]
        together = [p for p in by_score if p in held or p in new]
        sold = [p for p in held if p in together[-n_drop:]]
        bought = new[: len(sold) + k - len(held)]
        held = [p for p in held if p not in sold] + bought
        yield [float(p in held) for p in range(len(row))]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
def test_n_drop_alone_is_the_top_k_dropout_of_qlib(seed, k, n_drop):
    scores = np.random.default_rng(seed).normal(size=(15, k + n_drop + 2))  # no ties, and pairs enough
    assert hold_best(scores, k, k, n_drop, -np.inf, False).tolist() == list(_qlib_topk_dropout(scores, k, n_drop))
