"""The engine: which rows and columns come out, what a gap does, and which factors are refused."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, FactorError
from agent_market.factors import compute_factors, engine, time_series
from panels import random_candles


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return random_candles(4, 120)


def test_the_columns_come_in_the_order_of_the_factors_as_float32_beside_pair_and_date(candles):
    features = compute_factors(candles, {"z": "returns", "a": "close / open"}, timeframe="1h")
    assert list(features.columns) == ["pair", "date", "z", "a"]
    assert features[["z", "a"]].dtypes.eq(np.float32).all()
    pd.testing.assert_frame_equal(features[["pair", "date"]], candles[["pair", "date"]])


def test_the_candles_are_left_as_they_were_whatever_their_index(candles):
    copy = candles.copy()
    other_index = candles.set_index(np.arange(len(candles))[::-1] * 7)
    features = compute_factors(other_index, {"a": "ts_mean(returns, 5)"}, timeframe="1h")
    pd.testing.assert_frame_equal(features, compute_factors(candles, {"a": "ts_mean(returns, 5)"}, timeframe="1h"))
    pd.testing.assert_frame_equal(candles, copy)


def test_no_window_spans_two_pairs(candles):
    features = compute_factors(candles, {"lag": "delay(close, 1)", "mean": "ts_mean(close, 5)"}, timeframe="1h")
    by_pair = features.groupby("pair", observed=True)
    assert by_pair["lag"].apply(lambda x: x.isna().sum()).eq(1).all()
    assert by_pair["mean"].apply(lambda x: x.isna().sum()).eq(4).all()


@pytest.mark.parametrize(("max_gap", "first_full"), [(0, 54), (1, 54), (2, 50)])
def test_a_window_spans_a_gap_only_if_it_is_within_max_gap(max_gap, first_full):
    one = random_candles(1, 100).drop(index=[48, 49]).reset_index(drop=True)  # hours 48 and 49 are missing
    features = compute_factors(one, {"mean": "ts_mean(close, 5)"}, timeframe="1h", max_gap=max_gap)
    hours = (features["date"] - features["date"].iloc[0]) / pd.Timedelta("1h")
    assert hours[features["mean"].notna() & (hours >= 48)].iloc[0] == first_full


def test_the_order_of_the_pairs_changes_nothing_but_the_order_of_the_rows(candles):
    factors = {
        "rank": "cs_rank(ts_mean(returns, 5))",
        "score": "cs_zscore(returns)",
        "corr": "ts_corr(close, volume, 9)",
    }
    turned = pd.concat([rows for _, rows in reversed(list(candles.groupby("pair", observed=True)))])
    a = compute_factors(candles, factors, timeframe="1h")
    b = compute_factors(turned, factors, timeframe="1h").sort_values(["pair", "date"], ignore_index=True)
    np.testing.assert_allclose(a[list(factors)], b[list(factors)], rtol=1e-6, atol=1e-6)


def test_the_same_candles_give_the_same_bits(candles):
    factors = {"a": "ts_skew(returns, 9)", "b": "cs_zscore(ema(close, 9) / close)"}
    first, second = (compute_factors(candles, factors, timeframe="1h") for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_a_part_that_factors_share_is_computed_once_and_each_factor_is_as_if_alone(candles, monkeypatch):
    factors = {
        "a": "close / ts_mean(close, 10) - 1",
        "b": "ts_std(close, 10) / Mean($close, 10)",
        "c": "ts_mean(close, 10) - ts_mean(close, 10) * 2",
        "d": "ts_mean(close, 10)",
    }
    alone = [compute_factors(candles, {name: text}, timeframe="1h")[name] for name, text in factors.items()]
    calls = []
    original = time_series.ts_mean
    monkeypatch.setattr(time_series, "ts_mean", lambda *args: calls.append(1) or original(*args))
    together = compute_factors(candles, factors, timeframe="1h")
    assert len(calls) == 1
    for expected, name in zip(alone, factors, strict=True):
        pd.testing.assert_series_equal(together[name], expected)


def test_values_are_let_go_after_their_last_use(candles):
    factors = {f"f{i}": f"ts_mean(close, {i + 2}) / close" for i in range(5)}
    trees = {name: engine.parse(text) for name, text in factors.items()}
    panel = engine.build_panel(candles, "1h", 0)
    steps = engine._evaluate(panel, trees)
    next(steps)
    known = steps.gi_frame.f_locals["known"]
    assert [node for node in known if isinstance(node, engine.Call)] == []
    assert known.keys() == {engine.Field("close")}
    list(steps)
    assert not known


# ---- factors without information


@pytest.mark.parametrize(
    ("text", "state"),
    [("close / close", r"constant \(1\)"), ("log(-close)", "NaN"), ("ts_mean(close, 200)", "NaN")],
)
def test_a_factor_that_says_nothing_is_refused_by_name_with_look_back_and_length(candles, text, state):
    with pytest.raises(FactorError, match=f"factor 'dull' is {state} on all 480 rows") as caught:
        compute_factors(candles, {"fine": "returns", "dull": text}, timeframe="1h")
    assert "looks back" in str(caught.value)
    assert "holds 120" in str(caught.value)


def test_the_remedy_fits_the_reason(candles):
    with pytest.raises(FactorError, match=r"looks back 200 candles.*use more candles, shorter windows"):
        compute_factors(candles, {"f": "ts_mean(close, 200)"}, timeframe="1h")
    two = candles[candles["pair"].isin(candles["pair"].cat.categories[:2])]
    with pytest.raises(FactorError, match=r"the 2 pair.*cs_ operators need 3 pairs.*features.factor_set=single_pair"):
        compute_factors(two, {"f": "cs_rank(close)"}, timeframe="1h")


def test_a_constant_is_no_error_if_it_is_of_the_calendar_or_the_check_is_off(candles):
    daily = random_candles(1, 20)
    daily["date"] = pd.date_range("2024-01-01", periods=20, freq="D", tz="UTC").as_unit("ms")
    assert (compute_factors(daily, {"f": "sin(hour)"}, timeframe="1d")["f"] == 0).all()
    assert (compute_factors(candles, {"f": "close / close"}, timeframe="1h", check=False)["f"] == 1).all()


def test_an_error_in_an_expression_names_the_factor(candles):
    with pytest.raises(FactorError, match="factor 'bad': unknown field 'clse', did you mean 'close'"):
        compute_factors(candles, {"bad": "clse"}, timeframe="1h")


# ---- candles that do not fit


def test_candles_that_are_unsorted_doubled_empty_or_incomplete_are_refused(candles):
    factors = {"f": "returns"}
    with pytest.raises(DataError, match="sorted"):
        compute_factors(candles.iloc[::-1], factors, timeframe="1h")
    with pytest.raises(DataError, match="a date twice"):
        compute_factors(candles.iloc[[0, 0, 1]], factors, timeframe="1h")
    with pytest.raises(DataError, match="sorted"):
        compute_factors(candles.sort_values("date", kind="stable"), factors, timeframe="1h")
    with pytest.raises(DataError, match="no candles"):
        compute_factors(candles.iloc[:0], factors, timeframe="1h")
    with pytest.raises(DataError, match="miss the columns \\['volume'\\]"):
        compute_factors(candles.drop(columns="volume"), factors, timeframe="1h")


def test_importing_the_package_imports_no_compiler():
    code = "import sys, agent_market.factors as f; f.load_factors('basic'); print('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == "False"
