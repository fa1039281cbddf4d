import numpy as np
import pandas as pd
import pytest

from agent_market.learning.folds import test_rows as rows_between
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.sampling import labelled_rows
from agent_market.learning.weights import average_uniqueness, label_uniqueness, recency, sample_weights
from panels import random_candles, random_features, scramble_after

CANDLES = random_candles(3, 300)
TENSOR = FeatureTensor.from_frame(random_features(CANDLES), timeframe="1h")
OPTIONS = LabelOptions(horizons=(6,), kinds=("barrier",), volatility_window=24)
LABELS = build_labels(CANDLES, OPTIONS, timeframe="1h")
START, CUT = (pd.Timestamp(f"2024-01-{day:02}", tz="UTC") for day in (2, 10))


def _training_rows(labels):
    return labelled_rows(TENSOR, labels, "barrier_6", "label_end_barrier_6", START, CUT)


def test_three_labels_of_which_two_overlap_by_hand():
    # candles 1 2 | 2 3 | 5: candle 2 is shared, the third label is alone
    found = average_uniqueness(np.array([1, 2, 5]), np.array([3, 4, 6]), 8)
    np.testing.assert_allclose(found, [(1 + 1 / 2) / 2, (1 / 2 + 1) / 2, 1.0])


def test_uniqueness_equals_a_count_candle_by_candle():
    rng = np.random.default_rng(0)
    first = np.sort(rng.integers(0, 190, 150))
    stop = first + rng.integers(1, 11, 150)
    spans = np.array([(np.arange(200) >= a) & (np.arange(200) < b) for a, b in zip(first, stop, strict=True)])
    shares = 1.0 / np.maximum(spans.sum(axis=0), 1)
    expected = [shares[span].mean() for span in spans]
    np.testing.assert_allclose(average_uniqueness(first, stop, 200), expected)


def test_labels_of_other_pairs_do_not_overlap():
    rows = _training_rows(LABELS)
    found = label_uniqueness(TENSOR, rows, LABELS["label_end_barrier_6"])
    expected = []
    hour = pd.Timedelta("1h")
    for _, labels in LABELS.iloc[rows].groupby("pair", observed=True):
        spans = [
            set(pd.date_range(date + hour, end - hour, freq="h"))
            for date, end in zip(labels["date"], labels["label_end_barrier_6"], strict=True)
        ]
        count = pd.Series([date for span in spans for date in span]).value_counts()
        expected += [np.mean([1 / count[date] for date in span]) for span in spans]
    np.testing.assert_allclose(found, expected)
    assert found.min() > 1 / 6 - 1e-12
    assert found.max() <= 1.0


def test_labels_every_h_candles_are_unique_and_all_of_them_share():
    labels = build_labels(CANDLES, LabelOptions(horizons=(6,)), timeframe="1h")
    apart = np.arange(0, 60, 6)
    np.testing.assert_allclose(label_uniqueness(TENSOR, apart, labels["label_end_6"]), 1.0)
    inner = label_uniqueness(TENSOR, np.arange(60), labels["label_end_6"])[10:-10]
    np.testing.assert_allclose(inner, 1 / 6)


def test_short_gaps_are_spanned_by_the_candles_that_are_there():
    candles = CANDLES.drop(index=[20, 21]).reset_index(drop=True)
    labels = build_labels(candles, LabelOptions(horizons=(4,)), timeframe="1h", max_gap=2)
    tensor = FeatureTensor.from_frame(random_features(candles), timeframe="1h", max_gap=2)
    found = label_uniqueness(tensor, np.arange(0, 40, 4), labels["label_end_4"])
    np.testing.assert_allclose(found, 1.0)


def test_recency_halves_with_every_half_life():
    dates = pd.DatetimeIndex(["2024-01-01", "2024-01-21", "2024-01-31"], tz="UTC")
    np.testing.assert_allclose(recency(dates, "10d"), [1 / 8, 1 / 2, 1.0])


@pytest.mark.parametrize("weighting", ["uniqueness", "recency"])
def test_weights_have_a_mean_of_1_and_none_is_none(weighting):
    rows = _training_rows(LABELS)
    weight = sample_weights(weighting, TENSOR, rows, LABELS["label_end_barrier_6"], half_life="3d")
    assert weight.mean() == pytest.approx(1.0)
    assert weight.min() > 0
    assert weight.std() > 0.1
    assert sample_weights("none", TENSOR, rows, LABELS["label_end_barrier_6"], half_life="3d") is None


@pytest.mark.parametrize("weighting", ["uniqueness", "recency"])
def test_weights_do_not_depend_on_what_comes_after_the_training_window(weighting):
    changed = build_labels(scramble_after(CANDLES, CUT), OPTIONS, timeframe="1h")
    assert not changed["label_end_barrier_6"].equals(LABELS["label_end_barrier_6"])

    def weights(labels, rows):
        return sample_weights(weighting, TENSOR, rows, labels["label_end_barrier_6"], half_life="3d")

    rows = _training_rows(LABELS)
    np.testing.assert_array_equal(rows, _training_rows(changed))
    np.testing.assert_array_equal(weights(LABELS, rows), weights(changed, rows))


def test_the_check_above_would_catch_weights_of_rows_that_are_not_purged():
    changed = build_labels(scramble_after(CANDLES, CUT), OPTIONS, timeframe="1h")
    found = []
    for labels in (LABELS, changed):
        rows = rows_between(TENSOR.date, START, CUT)
        rows = rows[labels["label_end_barrier_6"].iloc[rows].notna().to_numpy()]
        weight = sample_weights("uniqueness", TENSOR, rows, labels["label_end_barrier_6"], half_life="3d")
        found.append(pd.Series(weight, index=rows))
    purged = _training_rows(LABELS)
    assert not np.allclose(*(weight.reindex(purged) for weight in found))
