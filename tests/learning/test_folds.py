import numpy as np
import pandas as pd
import pytest
from skfolio.model_selection import WalkForward

from agent_market.errors import DataError, ParameterError
from agent_market.learning.folds import FoldOptions, check_out_of_sample, make_folds, test_rows, training_rows
from agent_market.learning.labels import LabelOptions, build_labels
from panels import random_candles

DATES = pd.Series(pd.date_range("2024-01-01", periods=24 * 20, freq="h", tz="UTC"))


def _day(day: int, hour: int = 0) -> pd.Timestamp:
    return pd.Timestamp(2024, 1, day, hour, tz="UTC")


def test_folds_follow_one_another_by_one_test_window():
    folds = make_folds(DATES, FoldOptions(train="6d", valid="2d", test="4d"), timeframe="1h")
    assert folds.to_dict("records")[:2] == [
        {
            "fold": 0, "train_start": _day(1), "train_end": _day(7), "valid_start": _day(7), "valid_end": _day(9),
            "test_start": _day(9), "test_end": _day(13),
        },
        {
            "fold": 1, "train_start": _day(5), "train_end": _day(11), "valid_start": _day(11), "valid_end": _day(13),
            "test_start": _day(13), "test_end": _day(17),
        },
    ]  # fmt: skip
    assert folds["test_end"].tolist() == [_day(13), _day(17), _day(21)]


def test_an_expanding_calendar_keeps_its_first_training_date():
    folds = make_folds(DATES, FoldOptions(train="6d", valid="2d", test="4d", expanding=True), timeframe="1h")
    assert folds["train_start"].unique().tolist() == [_day(1)]
    assert folds["train_end"].tolist() == [_day(7), _day(11), _day(15)]


@pytest.mark.parametrize("expanding", [False, True])
def test_windows_are_those_of_skfolio_with_the_validation_window_as_its_purge(expanding):
    folds = make_folds(DATES, FoldOptions(train="6d", valid="2d", test="4d", expanding=expanding), timeframe="1h")
    theirs = WalkForward(train_size=144, test_size=96, purged_size=48, expand_train=expanding)
    splits = list(theirs.split(DATES.to_frame()))
    assert len(splits) == len(folds) == 3
    for fold, (train, test) in zip(folds.itertuples(), splits, strict=True):
        np.testing.assert_array_equal(test_rows(DATES, fold.train_start, fold.train_end), train)
        np.testing.assert_array_equal(test_rows(DATES, fold.test_start, fold.test_end), test)


def test_an_embargo_leaves_candles_out_after_each_boundary():
    fold = make_folds(DATES, FoldOptions(train="6d", valid="2d", test="4d", embargo=3), timeframe="1h").iloc[0]
    assert (fold["train_end"], fold["valid_start"]) == (_day(7), _day(7, 3))
    assert (fold["valid_end"], fold["test_start"]) == (_day(9, 3), _day(9, 6))


def test_more_candles_do_not_change_the_folds_that_were_there():
    options = FoldOptions(train="6d", valid="2d", test="4d")
    short, whole = (make_folds(dates, options, timeframe="1h") for dates in (DATES[: 24 * 14], DATES))
    pd.testing.assert_frame_equal(short, whole.iloc[: len(short)])


def test_windows_longer_than_the_data_are_an_error_that_names_them():
    with pytest.raises(ParameterError, match=r"30 days.*cover 20 days.*folds\.train"):
        make_folds(DATES, FoldOptions(train="20d", valid="5d", test="5d"), timeframe="1h")


def test_rows_whose_label_ends_after_the_boundary_are_purged():
    candles = random_candles(3, 24 * 20)
    labels = build_labels(candles, LabelOptions(horizons=(12,)), timeframe="1h")
    for fold in make_folds(
        candles["date"], FoldOptions(train="6d", valid="2d", test="4d"), timeframe="1h"
    ).itertuples():
        for start, end in ((fold.train_start, fold.train_end), (fold.valid_start, fold.valid_end)):
            rows = training_rows(labels["date"], labels["label_end_12"], start, end)
            assert labels["label_end_12"].iloc[rows].max() == end  # up to the boundary, and not beyond
            unpurged = test_rows(labels["date"], start, end)
            assert labels["label_end_12"].iloc[unpurged].max() > end  # what a splitter without purging would let in
            assert len(unpurged) - len(rows) == 3 * 12


def test_a_prediction_outside_its_folds_test_window_is_refused():
    folds = make_folds(DATES, FoldOptions(train="6d", valid="2d", test="4d"), timeframe="1h")
    good = pd.DataFrame({"pair": "AA/USDT", "date": [_day(9), _day(13)], "fold": [0, 1]})
    check_out_of_sample(good, folds, name="m")
    for date, fold in ((_day(8, 23), 0), (_day(13), 0), (_day(10), 7)):
        bad = pd.concat([good, pd.DataFrame({"pair": "AA/USDT", "date": [date], "fold": [fold]})], ignore_index=True)
        with pytest.raises(DataError, match="1 of 3 predictions lie outside"):
            check_out_of_sample(bad, folds, name="m")
