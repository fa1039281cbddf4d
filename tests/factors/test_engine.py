"""The engine: which rows and columns come out, what a gap does, and which factors are refused."""

import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, FactorError
from agent_market.factors import compute_factors, engine, key
from agent_market.factors.kernels import compiling, tasks
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
        "e": "ts_mean(close, 21) / slope(close, 13)",
    }
    alone = [compute_factors(candles, {name: text}, timeframe="1h")[name] for name, text in factors.items()]
    together = compute_factors(candles, factors, timeframe="1h")
    for expected, name in zip(alone, factors, strict=True):
        pd.testing.assert_series_equal(together[name], expected, check_exact=True)
    program = plan_of(factors).programs[0]
    run = [tasks.INSTRUCTIONS[row[0]] for row in program.instructions]
    assert run.count("moments") == 1  # one pass for all windows of one series
    assert run.count("load") == 1
    assert run.count("store") == 5


def plan_of(factors: dict[str, str], compat: str = "sane") -> engine.Plan:
    return engine.make_plan(tuple((name, engine.parse(text)) for name, text in factors.items()), compat)


def test_values_are_let_go_after_their_last_use():
    """A register is used again: the number of them does not grow with the number of factors."""
    chains = {f"f{i}": f"log(abs(close / delay(close, {i + 1})) + {i}) * volume" for i in range(60)}
    assert plan_of(chains).programs[0].n_registers - 60 < 10  # 60 hold the constants
    windows = {f"f{i}": f"ts_mean(log(close + volume), {2**i}) / close" for i in range(1, 10)}
    (program,) = plan_of(windows).programs
    assert program.n_registers <= 9 + 4
    assert program.n_slots <= 3  # a window of 512 candles grows through nine sizes in two alternating slots


def test_the_memory_needed_beside_the_result_does_not_grow_with_the_factors(candles):
    many = random_candles(1, 40_000)
    factors = {f"f{i}": f"ts_mean(close, {i + 2}) / ts_std(close, {i + 2})" for i in range(80)}
    compute_factors(many, factors, timeframe="1h")
    tracemalloc.start()
    features = compute_factors(many, factors, timeframe="1h")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < features[list(factors)].to_numpy().nbytes + 8e6 < 21e6  # all 160 windows whole would be 51 MB


# ---- how the work is cut up

MIXED = {
    "mean": "ts_mean(close, 37) / close",
    "std": "ts_std(returns, 61)",
    "skew": "ts_skew(returns, 25)",
    "kurt": "ts_kurt(returns, 90)",
    "corr": "ts_corr(close, volume, 48)",
    "line": "resi(close, 33) / close",
    "rank": "ts_rank(volume, 20)",
    "quantile": "ts_quantile(close, 50, 0.3) / close",
    "high": "ts_argmax(high, 77)",
    "low": "ts_min(low, 5) / close",
    "ema": "ema(close, 21) / close",
    "nested": "ema(ts_std(ema(close, 5), 30), 9) / close",
    "product": "ts_product(close / open, 7)",
    "mad": "ts_mad(close, 11) / close",
    "cross": "ts_mean(cs_rank(ts_mean(returns, 12)), 6)",
}


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_the_numbers_do_not_depend_on_blocks_or_threads(compat, monkeypatch):
    holed = random_candles(4, 900)
    holed.loc[[100, 950, 951, 2000], ["close", "volume"]] = np.nan
    holed = holed.drop(index=range(1500, 1520)).reset_index(drop=True)
    whole = compute_factors(holed, MIXED, timeframe="1h", compat=compat)
    threaded = compute_factors(holed, MIXED, timeframe="1h", compat=compat, threads=3)
    pd.testing.assert_frame_equal(threaded, whole, check_exact=True)
    monkeypatch.setattr(engine, "block_rows", lambda reach: 67)
    pieces = compute_factors(holed, MIXED, timeframe="1h", compat=compat, threads=2)
    pd.testing.assert_frame_equal(pieces, whole, check_exact=True)


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_the_numbers_do_not_depend_on_how_the_candles_lie_in_memory(compat):
    fields = ["open", "high", "low", "close", "volume"]
    candles = random_candles(2, 300).drop(index=range(40, 44)).reset_index(drop=True)
    candles[fields] = candles[fields].astype(np.float32).astype(np.float64)
    whole = compute_factors(candles, MIXED, timeframe="1h", compat=compat, check=False)
    strided = pd.DataFrame(np.ascontiguousarray(candles[fields].to_numpy()), columns=fields, copy=False)
    assert not strided["close"].to_numpy().flags.c_contiguous
    for values in (strided, candles[fields].astype(np.float32)):
        other = pd.concat([candles[["pair", "date"]], values], axis=1).set_index(np.arange(len(candles))[::-1])
        features = compute_factors(other, MIXED, timeframe="1h", compat=compat, check=False)
        pd.testing.assert_frame_equal(features, whole, check_exact=True)


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_a_recomputed_tail_equals_the_whole_bit_for_bit(compat):
    whole = random_candles(3, 1500, seed=5)
    single = {name: text for name, text in MIXED.items() if name != "cross"}
    features = compute_factors(whole, single, timeframe="1h", compat=compat)
    reach = max(program.reach for program in plan_of(single, compat).programs)
    tail = whole.groupby("pair", observed=True).tail(reach + 10).reset_index(drop=True)
    again = compute_factors(tail, single, timeframe="1h", compat=compat)
    for _, rows in again.groupby("pair", observed=True):
        last = rows.tail(10)
        expected = features[features["pair"] == last["pair"].iloc[0]].tail(10)
        pd.testing.assert_frame_equal(last.reset_index(drop=True), expected.reset_index(drop=True), check_exact=True)


def test_a_week_of_minutes_is_a_window_like_any_other():
    """10,080 candles: five times as many as a block has rows."""
    window, candles = 10_080, random_candles(2, 25_000, seed=6)
    texts = {
        "mean": "ts_mean({}, {})",
        "rank": "ts_rank({}, {})",
        "median": "ts_median({}, {})",
        "std": "ts_std({}, {})",
    }
    factors = {name: text.format("close", window) for name, text in texts.items()}
    factors |= {"corr": f"ts_corr(close, volume, {window})", "ema": f"ema(close, {window // 8})"}
    features = compute_factors(candles, factors, timeframe="1h", threads=2)
    for _, rows in candles.groupby("pair", observed=True):
        close, found = rows["close"], features.loc[rows.index]
        rolling = close.rolling(window)
        expected = {"mean": rolling.mean(), "rank": rolling.rank(pct=True), "median": rolling.median()}
        expected |= {"std": rolling.std(), "corr": rolling.corr(rows["volume"])}
        for name, values in expected.items():
            assert found[name].isna().sum() == window - 1
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)
        ema = close.ewm(span=window // 8, adjust=False).mean()
        np.testing.assert_allclose(found["ema"].iloc[window:], ema.iloc[window:], rtol=1e-5)


def test_a_changed_kernel_is_compiled_anew(tmp_path, monkeypatch):
    """Numba looks at the file of the function that is cached only: the digest of all of them is part of its key."""
    before = compiling.source_digest()
    copy = tmp_path / "kernels"
    shutil.copytree(Path(compiling.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiling, "__file__", str(copy / "compiling.py"))
    assert compiling.source_digest() == before
    (copy / "order.py").write_text((copy / "order.py").read_text() + "\n")
    assert compiling.source_digest() != before
    task = tasks.compiled("order", compiling.SANE)
    assert before in [cell.cell_contents for cell in task.__wrapped__.__closure__]


# ---- a guard in a divisor


def test_a_guard_in_a_divisor_is_no_part_of_the_formula(candles):
    still = candles.copy()
    still.loc[:9, "volume"] = 0.0
    features = compute_factors(still, {"f": "close / (volume + 1e-12)", "g": "close / volume"}, timeframe="1h")
    assert features["f"].iloc[:10].isna().all()
    pd.testing.assert_series_equal(features["f"], features["g"], check_names=False)
    real = compute_factors(still, {"f": "close / (volume + 1)"}, timeframe="1h")
    np.testing.assert_allclose(real["f"].iloc[:10], still["close"].iloc[:10], rtol=1e-6)


@pytest.mark.parametrize("constant", ["1e-12", "1e-6", "2e-6", "0.5"])
def test_factors_are_the_same_to_whom_compares_them_if_they_are_computed_the_same(candles, constant):
    guarded, plain = f"returns / (ts_std(returns, 5) + {constant})", "returns / ts_std(returns, 5)"
    features = compute_factors(candles, {"f": guarded, "g": plain}, timeframe="1h")
    assert features["f"].equals(features["g"]) == (key(guarded) == key(plain)) == (float(constant) <= 1e-6)


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
