"""The market that a set of rows shows."""

from dataclasses import replace

import numpy as np
import pytest

from agent_market.errors import DataError
from agent_market.learning.samples import FeatureTensor, Samples
from agent_market.trading.env import build_market
from episodes import draw_episodes


def test_stretches_are_rows_without_a_hole_in_rows_or_candles():
    episodes = draw_episodes(2, 50, rows=np.r_[5:20, 22:49, 50:98])
    dates = episodes.candles["date"].copy()
    dates[30:50] += np.timedelta64(1, "h")  # a candle is missing between rows 29 and 30
    moved = replace(
        episodes, candles=episodes.candles.assign(date=dates), features=episodes.features.assign(date=dates)
    )
    assert moved.market().stretches.tolist() == [[5, 20, 0], [22, 30, 0], [30, 49, 30], [50, 98, 50]]


def test_hole_that_windows_may_span_is_not_traded_across():
    episodes = draw_episodes(1, 40)
    dates = episodes.candles["date"].copy()
    dates[20:] += np.timedelta64(2, "h")
    samples = replace(episodes, candles=episodes.candles.assign(date=dates)).samples()
    tensor = FeatureTensor.from_frame(episodes.features.assign(date=dates), timeframe="1h", max_gap=5)
    market = build_market(Samples(replace(tensor, execution=samples.market), np.arange(40)))
    assert tensor.segment_start.max() == 0
    assert market.stretches.tolist() == [[0, 20, 0], [20, 40, 20]]


def test_arrays_are_shared_and_cannot_be_written():
    samples = draw_episodes().samples()
    market = build_market(samples)
    assert np.shares_memory(market.features, samples.tensor.values)
    assert np.shares_memory(market.prices, samples.market.prices)
    for array in (market.features, market.prices, market.funding, market.stretches):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_missing_feature_is_refused_with_its_place():
    episodes = draw_episodes()
    episodes.features.loc[7, "move"] = np.nan
    with pytest.raises(DataError, match=r"feature move of A/USDT at 2024-01-29 07:00.* is nan.*add impute"):
        episodes.market()
    assert replace(episodes, rows=np.arange(8, 200)).market().stretches.tolist() == [[8, 200, 0]]


def test_rows_that_are_too_few_or_repeated_are_refused():
    with pytest.raises(DataError, match="longest stretch of rows without a hole has 1 candles"):
        draw_episodes(rows=np.arange(0, 200, 2)).market().decisions(1)
    with pytest.raises(DataError, match="bootstrap to false"):
        draw_episodes(rows=np.array([1, 2, 2, 3])).market()
    with pytest.raises(DataError, match="or lower the window"):
        draw_episodes(rows=np.arange(10)).market().decisions(9)


def test_samples_without_prices_say_how_to_get_them():
    samples = Samples(FeatureTensor.from_frame(draw_episodes().features, timeframe="1h"), np.arange(5))
    with pytest.raises(DataError, match="no execution prices: pass candles"):
        _ = samples.market
