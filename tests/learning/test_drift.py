import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from agent_market.errors import DataError
from agent_market.learning.drift import feature_drift, largest_gap, stability_index
from agent_market.learning.folds import FoldOptions, make_folds
from panels import random_candles, random_features

RNG = np.random.default_rng(0)


def test_the_stability_index_is_that_worked_out_by_hand():
    before, after = np.repeat([1.0, 2.0], 50), np.repeat([1.0, 2.0], [80, 20])
    by_hand = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert stability_index(before, after, bins=2) == pytest.approx(by_hand)
    assert stability_index(before, before) == 0.0


def test_missing_values_are_a_place_that_values_can_move_to():
    before = RNG.normal(size=1000)
    gone = np.where(RNG.random(1000) < 0.3, np.nan, before)
    assert stability_index(before, gone) > 1.0
    assert stability_index(gone, gone) == 0.0
    assert stability_index(np.full(10, np.nan), np.full(10, np.nan)) == 0.0


def test_no_values_cannot_be_compared():
    with pytest.raises(DataError, match="no values to compare"):
        stability_index(np.array([]), np.ones(3))


def test_the_largest_gap_is_scipys():
    before, after = RNG.normal(size=500).round(1), RNG.normal(0.3, 1.2, 300).round(1)
    assert largest_gap(before, after) == pytest.approx(ks_2samp(before, after).statistic)
    assert np.isnan(largest_gap(np.array([np.nan]), after))


def test_a_feature_that_moved_is_found_and_one_that_turns_with_the_clock_is_not():
    candles = random_candles(4, 24 * 60)
    folds = make_folds(candles["date"], FoldOptions(train="30d", valid="5d", test="10d"), timeframe="1h")
    features = random_features(candles, 2)
    hour = pd.DatetimeIndex(features["date"]).hour
    features["hour"] = np.sin(2.0 * np.pi * hour / 24.0).astype(np.float32)
    late = features["date"] >= folds["test_start"].iloc[-1]
    features.loc[late, "f1"] += 2.0
    # Few rows of the many: every k-th would be of the same hours.
    drift = feature_drift(features, folds, rows=24 * 30).set_index(["fold", "feature"])
    last = folds["fold"].iloc[-1]
    assert drift.loc[(last, "f1"), "psi"] > 1.0
    assert drift.loc[(last, "f1"), "ks"] > 0.5
    assert drift.drop(index=(last, "f1"))["psi"].max() < 0.1
    pd.testing.assert_frame_equal(drift.reset_index(), feature_drift(features, folds, rows=24 * 30))
