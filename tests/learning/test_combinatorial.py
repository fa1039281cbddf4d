import math

import numpy as np
import pandas as pd
import pytest
from skfolio.model_selection import CombinatorialPurgedCV

from agent_market.adapters import parse_model_options
from agent_market.errors import ParameterError
from agent_market.learning import sampling as sampling_module
from agent_market.learning.combinatorial import CombinatorialOptions, cross_validate, make_splits
from agent_market.learning.folds import test_rows, training_rows
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions
from panels import random_candles, random_features, scramble_after

HORIZON = 5
CANDLES = random_candles(3, 24 * 25)
LABELS = build_labels(CANDLES, LabelOptions(horizons=(HORIZON,)), timeframe="1h")
FEATURES = random_features(CANDLES)
TRAINING = TrainingOptions(horizon=HORIZON)
DATES = CANDLES["date"]


def _splits(groups=6, test_groups=2, **how):
    options = CombinatorialOptions(groups=groups, test_groups=test_groups)
    return make_splits(DATES, options, timeframe="1h", horizon=HORIZON, **how)


def _cross_validate(splits, *, labels=LABELS, features=FEATURES, **model):
    options = parse_model_options({"adapter": "sklearn"} | model)
    return cross_validate(features, labels, splits, options, TRAINING, timeframe="1h")


@pytest.mark.parametrize("embargo", [0, 7])
@pytest.mark.parametrize(("groups", "test_groups"), [(6, 2), (5, 3), (4, 2)])
def test_splits_and_paths_are_those_of_skfolio(groups, test_groups, embargo):
    one = LABELS[LABELS["pair"] == LABELS["pair"].iloc[0]].reset_index(drop=True)
    known = np.flatnonzero(one["label_end_5"].notna())
    splits = _splits(groups, test_groups, embargo=embargo)
    theirs = CombinatorialPurgedCV(groups, test_groups, purged_size=HORIZON, embargo_size=embargo)
    assert splits["fold"].nunique() == theirs.n_splits
    assert CombinatorialOptions(groups=groups, test_groups=test_groups).paths == theirs.n_test_paths
    paths = theirs.get_path_ids()
    for fold, (train, tests) in enumerate(theirs.split(one)):
        ours = splits[splits["fold"] == fold]
        windows = ours[ours["role"] == "train"].itertuples()
        rows = [training_rows(one["date"], one["label_end_5"], window.start, window.end) for window in windows]
        np.testing.assert_array_equal(np.concatenate(rows), np.intersect1d(train, known))
        tested = ours[ours["role"] == "test"].sort_values("group")
        for window, expected in zip(tested.itertuples(), tests, strict=True):
            np.testing.assert_array_equal(test_rows(one["date"], window.start, window.end), expected)
        assert tested["path"].tolist() == paths[fold].tolist()


def test_every_path_has_every_row_once_and_a_split_its_share_of_paths():
    predictions = _cross_validate(_splits(valid="1d"))
    assert sorted(predictions["path"].unique()) == [0, 1, 2, 3, 4]
    for _, table in predictions.groupby("path"):
        pd.testing.assert_frame_equal(
            table[["pair", "date"]].reset_index(drop=True), CANDLES[["pair", "date"]], check_categorical=False
        )
    assert predictions["fold"].nunique() == math.comb(6, 2)
    assert (predictions.groupby(["path", "group"])["fold"].nunique() == 1).all()


def test_no_label_that_trains_shares_a_candle_with_one_that_is_tested():
    splits = _splits(valid="1d", embargo=3)
    step = pd.Timedelta("1h")
    for _, windows in splits.groupby("fold"):
        tests = windows[windows["role"] == "test"]
        for window in windows[windows["role"] != "test"].itertuples():
            rows = training_rows(LABELS["date"], LABELS["label_end_5"], window.start, window.end)
            entry, end = LABELS["date"].iloc[rows] + step, LABELS["label_end_5"].iloc[rows]
            for test in tests.itertuples():
                last_test_label = test.end + HORIZON * step
                assert ((end <= test.start) | (entry >= last_test_label)).all()


def _of_first_split(splits, **changed):
    predictions = _cross_validate(splits, **changed)
    return predictions.loc[predictions["fold"] == 0, "prediction"].reset_index(drop=True)


def test_what_a_test_group_holds_changes_no_prediction_of_it():
    splits = _splits(valid="1d")
    tests = splits[(splits["fold"] == 0) & (splits["role"] == "test")]
    before, after = _of_first_split(splits), _of_first_split(splits, labels=_with_other_tests(tests))
    pd.testing.assert_series_equal(before, after, check_exact=True)


def test_the_check_above_would_catch_a_split_that_is_not_purged(monkeypatch):
    splits = _splits(valid="1d")
    tests = splits[(splits["fold"] == 0) & (splits["role"] == "test")]
    too_early = splits.assign(
        start=splits["start"].where(splits["role"] != "train", splits["start"] - pd.Timedelta("6h"))
    )
    monkeypatch.setattr(sampling_module, "training_rows", lambda dates, label_end, *window: test_rows(dates, *window))
    before, after = _of_first_split(too_early), _of_first_split(too_early, labels=_with_other_tests(tests))
    assert not np.allclose(before, after)


def _with_other_tests(tests):
    """Labels that differ wherever a candle of a test window, or one that its labels reach to, has a part in them."""
    step = pd.Timedelta("1h")
    labels = LABELS.copy()
    other = build_labels(scramble_after(CANDLES, DATES.min()), LabelOptions(horizons=(HORIZON,)), timeframe="1h")
    for test in tests.itertuples():
        touched = (LABELS["label_end_5"] > test.start) & (LABELS["date"] + step < test.end + HORIZON * step)
        labels.loc[touched, ["return_5", "excess_5"]] = 9 * other.loc[touched, ["return_5", "excess_5"]]
    return labels


def test_a_warm_start_does_not_count():
    small = {"adapter": "lightgbm", "n_estimators": 5}
    warm, cold = (_cross_validate(_splits(4, 2), warm_start=start, **small) for start in (True, False))
    pd.testing.assert_frame_equal(warm, cold)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": 4, "test_groups": 4}, "must be fewer than groups"),
        ({"groups": 20, "test_groups": 10}, "500 are the most"),
    ],
)
def test_impossible_splits_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        CombinatorialOptions(**options)


def test_groups_that_are_too_short_are_an_error_that_names_the_parameter():
    with pytest.raises(ParameterError, match=r"cross_validation\.groups: 20 groups"):
        _splits(20, 2, embargo=10)
