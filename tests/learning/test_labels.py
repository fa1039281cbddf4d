import numpy as np
import pandas as pd
import pytest

from agent_market.learning.labels import LabelOptions, build_labels
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
