import numpy as np
import pandas as pd
import pytest
from pandera.errors import SchemaError

from agent_market.learning.labels import LabelOptions, build_labels, label_end_column, trailing_volatility
from panels import random_candles, scramble_after


def _two_pairs() -> pd.DataFrame:
    candles = random_candles(2, 6)
    candles["open"] = [10.0, 20.0, 40.0, 30.0, 60.0, 90.0, 1.0, 2.0, 1.0, 4.0, 2.0, 8.0]
    return candles


def test_a_return_is_from_the_next_open_to_the_open_h_candles_later():
    labels = build_labels(_two_pairs(), LabelOptions(horizons=(1, 2)), timeframe="1h")
    nan = np.nan
    np.testing.assert_allclose(labels["return_1"], [1.0, -0.25, 1.0, 0.5, nan, nan, -0.5, 3.0, -0.5, 3.0, nan, nan])
    np.testing.assert_allclose(labels["return_2"], [0.5, 0.5, 2.0, nan, nan, nan, 1.0, 1.0, 1.0, nan, nan, nan])
    np.testing.assert_allclose(labels["up_1"][:6], [1, 0, 1, 1, nan, nan])


def test_the_last_h_plus_1_rows_of_each_pair_have_no_label():
    labels = build_labels(random_candles(3, 50), LabelOptions(horizons=(1, 12)), timeframe="1h")
    for horizon in (1, 12):
        missing = labels.groupby("pair", observed=True)[f"return_{horizon}"].apply(lambda y: y.isna().to_numpy())
        for values in missing:
            assert values.tolist() == [False] * (50 - horizon - 1) + [True] * (horizon + 1)


def test_label_end_is_the_candle_at_whose_open_the_label_is_known():
    labels = build_labels(_two_pairs(), LabelOptions(horizons=(2,)), timeframe="1h")
    known = labels.dropna()
    assert (known["label_end_2"] - known["date"] == pd.Timedelta("3h")).all()
    assert labels["label_end_2"].isna().tolist() == labels["return_2"].isna().tolist()


def test_excess_is_the_return_less_its_mean_over_the_pairs_of_the_date():
    labels = build_labels(random_candles(4, 60), LabelOptions(horizons=(3,)), timeframe="1h")
    wide = labels.pivot(index="date", columns="pair", values="return_3")
    expected = wide.sub(wide.mean(axis=1), axis=0).unstack().to_numpy()
    np.testing.assert_allclose(labels["excess_3"], expected, atol=1e-15)


def test_two_pairs_have_no_excess():
    assert "excess_1" not in build_labels(_two_pairs(), LabelOptions(horizons=(1,)), timeframe="1h")


def test_a_label_never_reaches_over_a_hole_or_uses_a_filled_candle():
    candles = random_candles(1, 12)
    candles.loc[4, "filled"] = True
    candles = candles.drop(index=8).reset_index(drop=True)
    labels = build_labels(candles, LabelOptions(horizons=(1,)), timeframe="1h")
    # candle 4 is filled: it cannot decide (4), be entered (3) or left (2); the hole after 7 ends the first stretch
    assert np.flatnonzero(labels["return_1"].notna()).tolist() == [0, 1, 5, 8]


@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_a_label_that_is_known_does_not_change_when_later_candles_do(fraction):
    candles = random_candles(3, 200)
    options = LabelOptions(horizons=(1, 5))
    cut = candles["date"].iloc[int(200 * fraction)]
    before = build_labels(candles, options, timeframe="1h")
    cut_off = candles[candles["date"] <= cut].reset_index(drop=True)
    for changed in (scramble_after(candles, cut), cut_off):
        after = build_labels(changed, options, timeframe="1h")
        for horizon in (1, 5):
            known = before[before[f"label_end_{horizon}"] <= cut]
            columns = ["pair", "date", f"return_{horizon}", f"excess_{horizon}", f"up_{horizon}"]
            same = known[columns].merge(after[columns], on=["pair", "date"], suffixes=("", "_after"))
            assert len(same) == len(known)
            for column in columns[2:]:
                np.testing.assert_array_equal(same[column], same[f"{column}_after"])


def test_the_check_above_would_catch_a_label_end_that_is_too_early():
    candles = random_candles(3, 200)
    cut = candles["date"].iloc[100]
    options = LabelOptions(horizons=(5,))
    before = build_labels(candles, options, timeframe="1h")
    after = build_labels(scramble_after(candles, cut), options, timeframe="1h")
    too_early = before["label_end_5"] - pd.Timedelta("1h") <= cut
    assert not np.array_equal(before.loc[too_early, "return_5"], after.loc[too_early, "return_5"])


def test_horizons_must_be_distinct_and_positive():
    for horizons in ((0,), (1, 1), ()):
        with pytest.raises(ValueError, match="horizons"):
            LabelOptions(horizons=horizons)


ALL_KINDS = ("scaled", "class", "barrier", "rank")


def _of_closes(closes, opens=None):
    """One pair's hourly candles with the given closes and opens."""
    candles = random_candles(1, len(closes))
    return candles.assign(close=closes, open=closes if opens is None else opens)


def test_the_trailing_volatility_is_the_root_of_the_mean_squared_log_return():
    e = np.exp
    closes = [1.0, e(0.3), e(0.3 - 0.4), e(0.3 - 0.4 + 0.1)]  # log returns 0.3, -0.4, 0.1
    found = trailing_volatility(_of_closes(closes), 2, timeframe="1h")
    expected = [np.nan, np.nan, np.sqrt((0.09 + 0.16) / 2), np.sqrt((0.16 + 0.01) / 2)]
    np.testing.assert_allclose(found, expected)


def test_the_trailing_volatility_starts_anew_after_a_hole_and_is_0_without_movement():
    closes = np.exp(np.cumsum([0.0, 0.1, -0.1, 0.1, 0.5, 0.2, -0.2, 0.2, 0.0, 0.0, 0.0]))
    candles = _of_closes(closes)
    candles["date"] = candles["date"] + pd.to_timedelta(np.where(candles.index >= 4, 3, 0), unit="h")  # a hole
    found = trailing_volatility(candles, 2, timeframe="1h")
    nan = np.nan
    expected = [nan, nan, 0.1, 0.1, nan, nan, 0.2, 0.2, np.sqrt(0.02), 0.0, 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[-1] == 0.0
    over_the_hole = trailing_volatility(candles, 2, timeframe="1h", max_gap=3)
    assert np.isfinite(over_the_hole[2:]).all()


def test_a_scaled_return_is_in_volatilities_of_the_horizon():
    closes = np.exp(0.1 * np.array([0, 1, 0, 1, 0, 1, 0, 1]))  # volatility 0.1 per candle
    opens = [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 3.0, 1.0]
    labels = build_labels(
        _of_closes(closes, opens), LabelOptions(horizons=(4,), kinds=("scaled",), volatility_window=2), timeframe="1h"
    )
    # decided at candle 2, entered at 2.0, left at 1.0 four candles later: -0.5 / (0.1 * 2)
    np.testing.assert_allclose(labels["volatility"], [np.nan, np.nan] + [0.1] * 6)
    np.testing.assert_allclose(labels["scaled_4"], [np.nan, np.nan, -0.5 / 0.2] + [np.nan] * 5)
    assert np.isfinite(labels["return_4"].iloc[:2]).all()


def test_without_movement_there_is_no_scaled_return():
    labels = build_labels(
        _of_closes([1.0] * 9, [1, 1, 1, 1, 1, 2, 1, 1, 1]),
        LabelOptions(horizons=(1,), kinds=("scaled", "class", "barrier"), volatility_window=2),
        timeframe="1h",
    )
    assert (labels["volatility"].iloc[2:] == 0).all()
    assert labels[["scaled_1", "class_1", "barrier_1"]].isna().all(axis=None)


def test_classes_by_return_and_by_volatility():
    options = {"horizons": (1,), "kinds": ("class",), "class_threshold": 0.4}
    labels = build_labels(_two_pairs(), LabelOptions(class_unit="return", **options), timeframe="1h")
    nan = np.nan  # returns are 1, -0.25, 1, 0.5 and -0.5, 3, -0.5, 3
    np.testing.assert_array_equal(labels["class_1"], [1, 0, 1, 1, nan, nan, -1, 1, -1, 1, nan, nan])
    assert not np.signbit(labels["class_1"].iloc[1])
    options["class_threshold"] = 0.5  # what lies on it is not beyond it
    labels = build_labels(_two_pairs(), LabelOptions(class_unit="return", **options), timeframe="1h")
    np.testing.assert_array_equal(labels["class_1"], [1, 0, 1, 0, nan, nan, 0, 1, 0, 1, nan, nan])
    candles = random_candles(3, 80)
    both = ("scaled", "class")
    labels = build_labels(
        candles, LabelOptions(horizons=(3,), kinds=both, class_threshold=0.7, volatility_window=10), timeframe="1h"
    ).dropna()
    expected = np.select([labels["scaled_3"] > 0.7, labels["scaled_3"] < -0.7], [1.0, -1.0], 0.0)
    np.testing.assert_array_equal(labels["class_3"], expected)
    assert set(expected) == {-1.0, 0.0, 1.0}


def test_ranks_go_from_minus_a_half_to_a_half_with_ties_at_their_mean():
    candles = random_candles(5, 3)
    candles["open"] = [9, 10, 11, 9, 10, 14, 9, 10, 12, 9, 10, 12, 9, 10, 10]  # returns .1, .4, .2, .2, 0
    rank = build_labels(candles, LabelOptions(horizons=(1,), kinds=("rank",)), timeframe="1h")["rank_1"]
    np.testing.assert_allclose(rank.iloc[::3], [-0.25, 0.5, 0.125, 0.125, -0.5])
    assert rank.drop(index=range(0, 15, 3)).isna().all()


def test_fewer_than_three_pairs_at_a_date_have_no_rank():
    candles = random_candles(4, 20)
    candles.loc[[5, 25], "filled"] = True  # two of the four
    labels = build_labels(candles, LabelOptions(horizons=(1,), kinds=("rank",)), timeframe="1h")
    known = labels.groupby("date")["return_1"].count()
    assert known.iloc[5] == 2
    missing = labels.groupby("date")["rank_1"].count() == 0
    np.testing.assert_array_equal(missing, known < 3)
    two = build_labels(_two_pairs(), LabelOptions(horizons=(1,), kinds=("rank",)), timeframe="1h")
    assert "rank_1" not in two


def test_a_pair_that_is_alone_has_no_excess():
    candles = random_candles(3, 20)
    candles.loc[[27, 47], "filled"] = True
    labels = build_labels(candles, LabelOptions(horizons=(1,)), timeframe="1h")
    assert labels.loc[7, ["return_1", "excess_1"]].notna().tolist() == [True, False]


def test_pairs_are_compared_over_the_same_candles_only():
    candles = random_candles(5, 60)
    candles = candles.drop(index=[10, 11, 130]).reset_index(drop=True)  # short gaps of the first and the third pair
    options = LabelOptions(horizons=(4,), kinds=("rank",))
    labels = build_labels(candles, options, timeframe="1h", max_gap=3)
    later = labels["label_end_4"] - labels["date"] > pd.Timedelta("5h")
    assert later.any()
    known = labels.dropna(subset="return_4")
    groups = known.groupby(["date", "label_end_4"])["return_4"]
    expected = (known["return_4"] - groups.transform("mean")).where(groups.transform("count") > 1)
    pd.testing.assert_series_equal(known["excess_4"], expected, check_names=False)
    # with the long way of the first pair in the mean of the others, they would know of candles after their end
    for cut in labels["date"].unique()[5:20]:
        after = build_labels(scramble_after(candles, cut), options, timeframe="1h", max_gap=3)
        at_cut = labels["label_end_4"] <= cut
        pd.testing.assert_frame_equal(after.loc[at_cut], labels.loc[at_cut], check_exact=True)
    plain = labels["return_4"] - labels.groupby("date")["return_4"].transform("mean")
    assert not np.allclose(plain, labels["excess_4"], equal_nan=True)


@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_no_kind_of_label_that_is_known_changes_when_later_candles_do(fraction):
    candles = random_candles(4, 200)
    options = LabelOptions(horizons=(1, 5), kinds=ALL_KINDS, volatility_window=20)
    cut = candles["date"].iloc[int(200 * fraction)]
    before = build_labels(candles, options, timeframe="1h")
    for changed in (scramble_after(candles, cut), candles[candles["date"] <= cut].reset_index(drop=True)):
        after = before[["pair", "date"]].merge(
            build_labels(changed, options, timeframe="1h"), on=["pair", "date"], how="left"
        )
        volatile = before["date"] <= cut
        np.testing.assert_array_equal(before.loc[volatile, "volatility"], after.loc[volatile, "volatility"])
        for kind in ("scaled", "scaled_excess", "class", "rank", "barrier", "barrier_return"):
            for horizon in (1, 5):
                column = f"{kind}_{horizon}"
                known = before[label_end_column(column)] <= cut
                assert before.loc[known, column].notna().sum() > 100
                np.testing.assert_array_equal(before.loc[known, column], after.loc[known, column], err_msg=column)


def test_labels_of_all_kinds_hold_to_the_contract():
    from agent_market.schemas import Labels

    labels = build_labels(random_candles(3, 150), LabelOptions(kinds=ALL_KINDS), timeframe="1h")
    Labels.validate(labels)
    assert labels["label_end_barrier_4"].dtype == "datetime64[ms, UTC]"
    early = labels.assign(label_end_barrier_4=labels["label_end_barrier_4"] - pd.Timedelta("9h"))
    with pytest.raises(SchemaError, match="known after"):
        Labels.validate(early)


def test_the_kind_that_is_trained_on_is_added_once():
    options = LabelOptions(kinds=("rank",))
    assert options.including("return") == options
    assert options.including("rank") == options
    assert options.including("barrier").kinds == ("rank", "barrier")
