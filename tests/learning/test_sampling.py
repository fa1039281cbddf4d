import numpy as np
import pandas as pd

from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.sampling import bootstrap, every_kth, labelled_rows
from panels import random_candles, random_features

CANDLES = random_candles(3, 100).drop(index=[7, 150]).reset_index(drop=True)
FEATURES = random_features(CANDLES)
TENSOR = FeatureTensor.from_frame(FEATURES, timeframe="1h")


def test_every_kth_candle_is_of_the_same_dates_for_all_pairs():
    rows = every_kth(TENSOR, np.arange(len(CANDLES)), 6, timeframe="1h")
    dates = TENSOR.date[rows]
    assert set(dates.hour) == {0, 6, 12, 18}
    assert len(rows) == 3 * 17  # hours 0, 6, …, 96; the candles that are missing were none of them
    assert set(np.diff(np.unique(dates))) == {np.timedelta64(6, "h")}
    np.testing.assert_array_equal(every_kth(TENSOR, rows, 1, timeframe="1h"), rows)


def test_the_chosen_candles_stay_when_the_window_moves():
    whole = every_kth(TENSOR, np.arange(len(CANDLES)), 5, timeframe="1h")
    later = every_kth(TENSOR, np.arange(33, len(CANDLES)), 5, timeframe="1h")
    np.testing.assert_array_equal(later, whole[whole >= 33])


def test_rows_are_drawn_in_proportion_to_their_uniqueness():
    uniqueness = np.where(np.arange(4000) % 2, 0.6, 0.2)
    rows, count = bootstrap(np.arange(10_000, 14_000), uniqueness, seed=(1, 0))
    assert count.sum() == round(uniqueness.sum())  # as many as there are independent labels
    assert (np.diff(rows) > 0).all()
    assert count.max() > 1
    odd = count[rows % 2 == 1].sum() / count.sum()
    assert abs(odd - 0.75) < 4 * np.sqrt(0.75 * 0.25 / count.sum())


def test_the_same_seed_draws_the_same_rows():
    draws = [bootstrap(np.arange(500), np.full(500, 0.3), seed=seed) for seed in ((0, 1), (0, 1), (0, 2))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0][0], draws[2][0])


def test_rows_need_a_label_that_is_known_and_a_feature():
    labels = build_labels(CANDLES, LabelOptions(horizons=(3,)), timeframe="1h")
    features = FEATURES.copy()
    features.loc[[30, 31], features.columns[2:]] = np.nan
    features.loc[32, features.columns[3:]] = np.nan
    tensor = FeatureTensor.from_frame(features, timeframe="1h")
    start, end = (pd.Timestamp(f"2024-01-{day}", tz="UTC") for day in ("02", "03"))
    rows = labelled_rows(tensor, labels, "return_3", "label_end_3", start, end)
    dates = CANDLES["date"]
    expected = (dates >= start) & (labels["label_end_3"] <= end) & labels["return_3"].notna()
    expected &= ~CANDLES.index.isin([30, 31])
    np.testing.assert_array_equal(rows, np.flatnonzero(expected))
    assert 32 in rows
