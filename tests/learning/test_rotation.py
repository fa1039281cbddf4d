import numpy as np
import pandas as pd
import pytest

from agent_market.errors import ParameterError
from agent_market.learning.rotation import draw_offsets, least_offset, rotate_features


@pytest.fixture
def features():
    """Ten dates of A, of which B has the last six; the values say where they are from."""
    dates = pd.date_range("2024-01-01", periods=10, freq="h", tz="UTC")
    rows = [("A", at) for at in range(10)] + [("B", at) for at in range(4, 10)]
    return pd.DataFrame(
        {
            "pair": pd.Categorical([pair for pair, _ in rows]),
            "date": dates[[at for _, at in rows]],
            "x": np.array([at + (0 if pair == "A" else 100) for pair, at in rows], "float32"),
            "y": np.array([-at for _, at in rows], "float32"),
        }
    )


def test_each_row_has_the_features_of_so_many_dates_before_around_the_circle(features):
    moved = rotate_features(features, 3)
    assert moved[["pair", "date"]].equals(features[["pair", "date"]])
    assert moved.loc[moved["pair"] == "A", "x"].tolist() == [7, 8, 9, 0, 1, 2, 3, 4, 5, 6]
    assert moved.loc[moved["pair"] == "A", "y"].tolist() == [-7, -8, -9, 0, -1, -2, -3, -4, -5, -6]
    assert (moved.dtypes == features.dtypes).all()


def test_pairs_move_together_and_have_nothing_where_they_had_no_candle(features):
    moved = rotate_features(features, 3).set_index("date")
    b = moved.loc[moved["pair"] == "B", "x"].to_numpy()
    np.testing.assert_array_equal(b, [np.nan, np.nan, np.nan, 104, 105, 106])
    a = moved.loc[moved["pair"] == "A", "x"].to_numpy()[4:]
    assert (b[3:] - a[3:] == 100).all()


def test_all_the_way_round_is_where_it_was(features):
    pd.testing.assert_frame_equal(rotate_features(features, 10), features)


def test_offsets_keep_their_distance_differ_and_do_not_change_when_more_are_asked_for():
    offsets = draw_offsets(1000, 100, 50, seed=3)
    assert len(set(offsets)) == 50
    assert 100 <= min(offsets) <= max(offsets) <= 900
    assert draw_offsets(1000, 100, 20, seed=3) == offsets[:20]
    assert draw_offsets(1000, 100, 20, seed=4) != offsets[:20]
    assert sorted(draw_offsets(11, 5, 2, seed=0)) == [5, 6]
    with pytest.raises(ParameterError, match=r"of 11 dates only 2 offsets are 5 candles or more"):
        draw_offsets(11, 5, 3, seed=0)


def test_features_that_look_back_far_are_moved_further():
    assert least_offset(24, [10, 5], horizon=4) == 24
    assert least_offset(24, [10, 500], horizon=4) == 505
