"""The genetic search and its grammar."""

import numpy as np
import pandas as pd
import pytest

from agent_market.factors import check, rank_key
from agent_market.factors.checks import unit_of
from agent_market.factors.expression import parse
from agent_market.factors.tree import to_text
from agent_market.mining.genetic import Search
from agent_market.mining.grammar import Grammar, is_pure, is_tidy, places, put
from agent_market.mining.segments import cut
from agent_market.mining.statistics import value_correlations
from mining.conftest import arena_of, candles_of, market, small
from panels import scramble_after

GRAMMAR = Grammar((3, 12), (1, 6), True)


def test_what_is_drawn_has_units_that_fit():
    rng = np.random.default_rng(0)
    pure = 0
    for _ in range(300):
        tree = GRAMMAR.draw(rng, depth=4)
        assert is_pure(tree), to_text(tree)
        text = to_text(tree)
        if is_tidy(tree):
            check(text, strict=True)
            pure += 1
    assert pure > 200


def test_parts_are_found_and_replaced_in_their_place():
    tree = parse("ts_mean(close, 5) / open")
    found = {to_text(part): path for path, part in places(tree)}
    assert set(found) == {"ts_mean(close, 5) / open", "ts_mean(close, 5)", "close", "open"}
    assert to_text(put(tree, found["close"], parse("high"))) == "ts_mean(high, 5) / open"
    assert unit_of(parse("close - open")) == (1.0, 0.0)
    assert not is_tidy(parse("maximum(close, close) / open"))
    assert is_tidy(parse("maximum(close, high) / open"))


def test_the_search_makes_the_trials_asked_for_all_distinct_and_sound(planted):
    options = small()
    found = Search(arena_of(planted, options), options, 60, (7, 1)).run()
    assert len(found) == 60
    assert len({candidate.rank_key for candidate in found}) == 60
    for candidate in found:
        assert check(candidate.expression, strict=True).look_back <= 1000
        assert candidate.rank_key == rank_key(candidate.expression)
        assert candidate.arm == "genetic"


def test_the_same_seed_finds_the_same_and_another_does_not(planted):
    options = small()
    arena = arena_of(planted, options)
    first, again, other = (Search(arena, options, 40, (seed, 1)).run() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_selection_finds_what_chance_does_not(planted):
    """The best of the last trials is far better than the best of as many first ones, which are random."""
    options = small(arms={"genetic": 300, "zoo": 0})
    arena = arena_of(planted, options)
    search = Search(arena, options, 200, (3, 1))
    search.run()
    strength = [lived.fitness for lived in search.known.values()]
    assert np.mean(sorted(strength[-60:])[-10:]) > np.mean(sorted(strength[:60])[-10:]) + 1.0
    best = max(search.known.values(), key=lambda lived: lived.fitness).tree
    truth = parse("(open + close - high - low) / (high - low)")
    assert abs(value_correlations(arena, [best], [truth])[0, 0]) > 0.5


def test_the_search_sees_nothing_beyond_its_segment(planted):
    options = small()
    end = cut(planted, options, timeframe="1h").search.end
    changed = scramble_after(planted, end - pd.Timedelta("1h"))
    earlier = scramble_after(planted, end - pd.Timedelta("300h"))
    first, later, other = (
        Search(arena_of(table, options), options, 40, (7, 1)).run() for table in (planted, changed, earlier)
    )
    assert first == later
    assert first != other  # the check can fail


def test_few_pairs_get_no_comparisons_among_pairs():
    candles = candles_of(market(0.1, n_pairs=2, n_candles=3000))
    options = small(rank_window=100)
    found = Search(arena_of(candles, options), options, 60, (7, 1)).run()
    assert len(found) == 60
    assert not [candidate for candidate in found if "cs_" in candidate.expression]


@pytest.mark.parametrize("trials", [1, 7])
def test_few_trials_are_exactly_made(placebo, trials):
    options = small()
    assert len(Search(arena_of(placebo, options), options, trials, (1, 1)).run()) == trials
