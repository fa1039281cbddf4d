"""Statistics of gains, beside hand-worked figures and other libraries."""

import math

import numpy as np
import pytest
from scipy import stats

from agent_market.factors.expression import parse
from agent_market.mining.arena import build_arena
from agent_market.mining.gate import deflated
from agent_market.mining.segments import cut
from agent_market.mining.statistics import (
    block_interval,
    block_means,
    false_discovery,
    gain_correlations,
    measure,
    one_sided,
    required_t,
    spent,
    trading_figures,
    value_correlations,
)
from mining.conftest import small


def test_blocks_are_means_and_incomplete_ones_are_unknown():
    gains = np.array([[1.0, 3.0, np.nan, 5.0, np.nan, np.nan, np.nan, 7.0, 9.0]])
    np.testing.assert_array_equal(block_means(gains, 4), [[3.0, np.nan]])  # 1, 3, 5; then one of four; then a rest


def test_overlapping_labels_do_not_pass_for_evidence():
    """A 5 % test of noise that overlaps for 12 candles: the naive t rejects most often, blocks about as they should."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 12 * 300))
    overlapping = np.apply_along_axis(lambda x: np.convolve(x, np.ones(12), "valid"), 1, noise)
    naive = overlapping.mean(axis=1) / (overlapping.std(axis=1) / math.sqrt(overlapping.shape[1]))
    means = block_means(overlapping, 24)
    rejected = np.mean([block_interval(row).p < 0.05 for row in means])
    assert np.mean(np.abs(naive) > 1.96) > 0.4
    assert 0.02 < rejected < 0.09


def test_one_sided_chances():
    assert one_sided(2.0, 0.04, 1.0) == pytest.approx(0.02)
    assert one_sided(-2.0, 0.04, 1.0) == pytest.approx(0.98)
    assert one_sided(-2.0, 0.04, -1.0) == pytest.approx(0.02)


@pytest.mark.parametrize("q", [0.05, 0.1, 0.5])
def test_false_discovery_control_is_benjamini_and_hochbergs(q):
    rng = np.random.default_rng(3)
    for n in (1, 2, 7, 30):
        p = rng.random(n) ** 3
        np.testing.assert_array_equal(false_discovery(p, q), stats.false_discovery_control(p) <= q)
    assert false_discovery(np.array([]), q).size == 0


def test_what_rounds_may_spend_adds_up_to_q():
    assert spent(0.1, 1) == pytest.approx(0.0608, abs=1e-4)
    assert spent(0.1, 2) == pytest.approx(spent(0.1, 1) / 4)
    assert sum(spent(0.1, r) for r in range(1, 100_000)) == pytest.approx(0.1, abs=1e-5)


def test_more_trials_require_more():
    assert required_t(3.0, 10) == 3.0
    rng = np.random.default_rng(1)
    for trials in (300, 1000):
        best = np.abs(rng.normal(size=(3000, trials))).max(axis=1).mean()
        assert required_t(0.0, trials) == pytest.approx(best, abs=0.04)


def test_a_ratio_that_many_trials_explain_is_deflated():
    rng = np.random.default_rng(2)
    blocks = rng.normal(0.25, 1.0, 400)
    one, many = deflated(blocks, 2), deflated(blocks, 100_000)
    assert one > 0.99
    assert many < one
    assert deflated(np.zeros(400), 10) == 0.0


def _arena(planted):
    options = small()
    return build_arena(planted, cut(planted, options, timeframe="1h").search, options, timeframe="1h")


def test_figures_of_a_factor_that_foretells_and_of_one_that_says_nothing(planted):
    arena = _arena(planted)
    trees = [parse("(open + close - high - low) / (high - low)"), parse("ts_mean(close, 999) / ts_mean(close, 998)")]
    figures = measure(arena, arena.gains(trees))
    assert figures["t"][0] > 5
    assert figures["p"][0] < 1e-6
    assert figures["thirds"][0] == 3
    assert figures["pairs"][0] == 1.0
    assert figures["coverage"][0] == pytest.approx(1.0, abs=0.01)
    assert figures["coverage"][1] < 0.65
    assert figures["blocks"][0] == 100 - 1  # the last block's labels reach beyond the segment


def test_factors_that_gain_together_are_seen_to(planted):
    arena = _arena(planted)
    trees = [parse("close / open"), parse("log(close / open)"), parse("-close / open"), parse("ts_std(returns, 24)")]
    correlations = gain_correlations(arena.gains(trees).by_date, 24)
    np.testing.assert_allclose(correlations[0, :3], [1, 1, -1], atol=1e-6)
    assert abs(correlations[0, 3]) < 0.5


def test_values_are_compared_by_rank(planted):
    arena = _arena(planted)
    table = value_correlations(arena, [parse("close / open")], [parse("exp(close / open)"), parse("open / close")])
    np.testing.assert_allclose(table, [[1.0, -1.0]], atol=1e-6)
    assert value_correlations(arena, [], [parse("close / open")]).shape == (0, 1)


def test_trading_figures_by_hand(planted):
    """One that always holds the same has no turnover; the planted factor earns, its negative loses as much."""
    arena = _arena(planted)
    values = arena.values([parse("(open + close - high - low) / (high - low)")])[0]
    good, bad = trading_figures(arena, values, 1.0), trading_figures(arena, values, -1.0)
    assert good["gross"] == pytest.approx(-bad["gross"])
    assert good["gross"] > 0
    assert good["break_even"] == pytest.approx(good["gross"] / (2 * good["turnover"]))
    weights = arena.weights(values)
    mean = np.array([weights[max(0, t - 11) : t + 1].sum(axis=0) / 12 for t in range(len(weights))])
    assert good["turnover"] == pytest.approx(0.5 * np.abs(np.diff(mean, axis=0)).sum(axis=1).mean())
    assert good["gross"] == pytest.approx((mean * arena.next_return).sum(axis=1).mean())
