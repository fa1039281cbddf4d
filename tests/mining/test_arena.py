"""Gains of factors on a segment, beside slow reference computations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from agent_market.factors import compute_factors
from agent_market.factors.expression import parse
from agent_market.learning.labels import LabelOptions, build_labels, trailing_volatility
from agent_market.mining.arena import build_arena
from agent_market.mining.segments import cut
from mining.conftest import candles_of, market, small
from panels import scramble_after

FACTOR = "(close - low) / (high - low)"


def _arena(candles, options=None, part="search"):
    options = options or small()
    return build_arena(candles, getattr(cut(candles, options, timeframe="1h"), part), options, timeframe="1h")


@pytest.mark.parametrize("part", ["search", "gate", "vault"])
def test_gains_are_the_rank_correlations_across_pairs(planted, part):
    arena = _arena(planted, part=part)
    gains = arena.gains([parse(FACTOR), parse("-" + FACTOR)])
    values = compute_factors(planted, {"f": FACTOR}, timeframe="1h")
    labels = build_labels(arena.segment.visible(planted), LabelOptions(horizons=(12,)), timeframe="1h")
    both = values.merge(labels[["pair", "date", "return_12"]], on=["pair", "date"]).dropna()
    both = both[(both["date"] >= arena.segment.start) & (both["date"] < arena.segment.end)]
    expected = both.groupby("date").apply(lambda rows: stats.spearmanr(rows["f"], rows["return_12"])[0])
    found = pd.Series(gains.by_date[0], arena.dates).dropna()
    np.testing.assert_allclose(found.to_numpy(), expected.dropna().to_numpy(), atol=1e-12)
    assert gains.ic[0] == pytest.approx(expected.mean())
    np.testing.assert_allclose(gains.by_date[1], -gains.by_date[0])
    assert gains.by_pair[0].sum() == pytest.approx(np.nansum(gains.by_date[0]))


def test_few_pairs_are_judged_one_by_one_over_time():
    candles = candles_of(market(0.1, n_pairs=2, n_candles=3000))
    options = small(rank_window=100)
    arena = _arena(candles, options)
    gains = arena.gains([parse(FACTOR)])
    values = compute_factors(candles, {"f": FACTOR}, timeframe="1h")["f"].astype(float)
    rank = values.groupby(candles["pair"], observed=True).rolling(100).rank().to_numpy() / 100
    visible = (candles["date"] < arena.segment.end).to_numpy()
    labels = build_labels(candles[visible].reset_index(drop=True), LabelOptions(horizons=(12,)), timeframe="1h")
    width = trailing_volatility(candles, 100, timeframe="1h")[visible] * np.sqrt(12)
    outcome = np.clip(labels["return_12"].to_numpy() / width, -4, 4)
    product = pd.Series((2 * rank[visible] - 1) * outcome).groupby(candles["date"][visible].to_numpy()).mean()
    apart = np.abs(gains.by_date[0] - product.to_numpy())
    assert np.nanquantile(apart, 0.99) < 1e-5  # what float32 takes for a tie may not be one
    assert 0.05 < gains.ic[0] < 0.5


def test_always_being_long_in_a_rising_market_is_no_skill():
    candles = candles_of(market(0.0, n_pairs=2, n_candles=3000))
    rise = np.exp(np.arange(3000) * 0.001)
    for column in ("open", "high", "low", "close"):
        candles[column] *= np.tile(rise, 2)
    arena = _arena(candles, small(rank_window=100))
    gains = arena.gains([parse("abs(close / open - 1) * 0 + where(close > 0, 1, 0)")])
    assert np.nanmax(np.abs(gains.by_date)) < 0.1


def test_what_comes_after_a_segment_changes_nothing_in_it(planted):
    options = small()
    search = cut(planted, options, timeframe="1h").search
    changed = scramble_after(planted, search.end - pd.Timedelta("1h"))
    before, after = (_arena(table, options).gains([parse(FACTOR)]) for table in (planted, changed))
    np.testing.assert_array_equal(before.by_date, after.by_date)
    earlier = scramble_after(planted, search.end - pd.Timedelta("30h"))  # the check can fail
    assert not np.array_equal(before.by_date, _arena(earlier, options).gains([parse(FACTOR)]).by_date, equal_nan=True)


def test_weights_are_centred_ranks_of_size_one(planted):
    arena = _arena(planted)
    values = arena.values([parse(FACTOR)])[0]
    weights = arena.weights(values)
    np.testing.assert_allclose(np.abs(weights).sum(axis=1), 1.0)
    np.testing.assert_allclose(weights.sum(axis=1), 0.0, atol=1e-12)
    t = 500
    expected = stats.rankdata(values[arena.cells[t]]) - 3.5
    np.testing.assert_allclose(weights[t], expected / np.abs(expected).sum())
