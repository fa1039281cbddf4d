import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.samples import FeatureTensor, build_samples
from panels import random_candles, random_features


@pytest.fixture(scope="module")
def tables():
    candles = random_candles(3, 40)
    candles = candles.drop(index=range(50, 53)).reset_index(drop=True)  # a hole in the second pair
    return random_features(candles), build_labels(candles, LabelOptions(horizons=(1, 2)), timeframe="1h")


def test_the_same_rows_come_out_as_pandas_numpy_and_torch(tables):
    features, labels = tables
    rows = np.array([3, 4, 45, 70])
    samples = build_samples(features, labels, rows, target=("return_1", "return_2"))
    frame = samples.to_pandas()
    pd.testing.assert_frame_equal(
        frame[features.columns], features.iloc[rows].reset_index(drop=True), check_categorical=False
    )
    np.testing.assert_array_equal(frame["y_1"], labels["return_2"].iloc[rows])
    X, y = samples.to_numpy()
    x_torch, y_torch = samples.to_torch()
    np.testing.assert_array_equal(X, x_torch.numpy())
    np.testing.assert_array_equal(y, y_torch.numpy())
    assert X.dtype == np.float32
    assert X.shape == (4, 5)
    assert y.shape == (4, 2)


def test_adjacent_rows_are_a_view_not_a_copy(tables):
    tensor = FeatureTensor.from_frame(tables[0], timeframe="1h")
    assert np.shares_memory(build_samples(tensor, None, np.arange(10, 20)).X, tensor.values)


def test_windows_end_at_their_row_and_stay_within_pair_and_stretch(tables):
    features = tables[0]
    tensor = FeatureTensor.from_frame(features, timeframe="1h")
    windows = build_samples(tensor, None, np.arange(len(features))).windows(8)
    hole = 50
    first_rows = [0, 40, hole, 77]
    incomplete = sorted(row for first in first_rows for row in range(first, first + 7))
    assert np.flatnonzero(~windows.complete).tolist() == incomplete
    got = windows[np.array([7, hole + 7])]
    np.testing.assert_array_equal(got[0], tensor.values[0:8])
    np.testing.assert_array_equal(got[1], tensor.values[hole : hole + 8])


def test_a_window_without_enough_history_is_an_error(tables):
    windows = build_samples(tables[0], None, np.arange(10)).windows(8)
    with pytest.raises(DataError, match="fewer than 8 candles"):
        windows[np.array([3])]


def test_labels_of_another_run_are_refused(tables):
    features, labels = tables
    with pytest.raises(DataError, match="come from different runs"):
        build_samples(features, labels.iloc[:-1], np.arange(3), target=("return_1",))
    with pytest.raises(DataError, match=r"no label \['return_9'\]"):
        build_samples(features, labels, np.arange(3), target=("return_9",))
