"""`compat="qlib"`: Qlib's numbers, against columns that Qlib made and against Qlib's operators written in pandas."""

import re

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, FactorError
from agent_market.factors import canonical, compute_factors, load_factors
from panels import random_candles

# Equal to the last bit: prices that are moved, compared, picked out or divided.
EXACT = re.compile(r"(roc|max|min|imax|imin|imxd|qtlu|qtld|rank)\d+|k\w+|(open|high|low|vwap)0")


@pytest.fixture(scope="module")
def reference(shared_dir) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candles of 20 instruments, and the 158 columns that Qlib computes from them, in the same order of rows."""
    folder = shared_dir / "reference"
    bars = pd.read_parquet(folder / "ohlcv_20x600.parquet")
    candles = bars.rename(columns={"instrument": "pair", "datetime": "date"}).astype({"pair": "category"})
    candles["date"] = pd.DatetimeIndex(candles["date"]).tz_localize("UTC").as_unit("ms")
    candles = candles.sort_values(["pair", "date"], ignore_index=True)
    columns = pd.read_parquet(folder / "qlib_alpha158_20x600.parquet")
    rows = pd.MultiIndex.from_arrays([candles["pair"].astype(str), candles["date"].dt.tz_localize(None)])
    return candles, columns.reindex(rows).rename(columns=str.lower).reset_index(drop=True)


def assert_parity(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The gate of the reference: NaN alike, |d| <= 1e-5 (|x| + 0.01 median |x|), and some columns equal to the bit."""
    for name in expected.columns:
        x, y = found[name].to_numpy(), expected[name].to_numpy()
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y), err_msg=name)
        known = ~np.isnan(y)
        x, y = x[known].astype(float), y[known].astype(float)
        if EXACT.fullmatch(name):
            np.testing.assert_array_equal(x, y, err_msg=name)
        assert (np.abs(x - y) <= 1e-5 * (np.abs(y) + 0.01 * np.median(np.abs(y)))).all(), name


def test_all_158_columns_equal_qlibs(reference):
    candles, expected = reference
    found = compute_factors(candles, load_factors("alpha158"), timeframe="1d", compat="qlib")
    assert list(found.columns[2:]) == list(expected.columns)
    assert_parity(found, expected)


def test_they_are_the_same_if_suspended_bars_are_missing_and_not_rows_of_nan(reference):
    candles, expected = reference
    traded = candles["close"].notna()
    assert (~traded).sum() > 50
    found = compute_factors(
        candles[traded].reset_index(drop=True), load_factors("alpha158"), timeframe="1d", compat="qlib"
    )
    assert_parity(found, expected[traded].reset_index(drop=True))


def test_the_gate_notices_a_wrong_window_and_a_wrong_nan(reference):
    candles, expected = reference
    wrong = {**load_factors("alpha158"), "ma20": "ts_mean(close, 21) / close"}
    with pytest.raises(AssertionError, match="ma20"):
        assert_parity(compute_factors(candles, wrong, timeframe="1d", compat="qlib"), expected)
    with pytest.raises(AssertionError, match=r"kmid|roc5"):
        assert_parity(compute_factors(candles, load_factors("alpha158"), timeframe="1d", check=False), expected)


def test_the_packaged_sets_are_qlibs_definitions(shared_dir):
    for name, left_out in (("alpha158", set()), ("alpha360", {"close0", "volume0"})):
        text = (shared_dir / "reference" / f"{name}.txt").read_text(encoding="utf-8")
        definitions = {row.split("\t")[0].lower(): canonical(row.split("\t")[1]) for row in text.splitlines()}
        assert load_factors(name) == {key: text for key, text in definitions.items() if key not in left_out}


def test_alpha360_equals_shifted_float32_prices(reference):
    candles, _ = reference
    factors = load_factors("alpha360")
    found = compute_factors(candles, factors, timeframe="1d", compat="qlib")
    fields = candles[["open", "high", "low", "close", "vwap", "volume"]].astype(np.float32)
    by_pair = fields.groupby(candles["pair"], observed=True)
    for name in factors:
        field, lag = re.fullmatch(r"([a-z]+)(\d+)", name).groups()
        base = fields["volume"] + np.float32(1e-12) if field == "volume" else fields["close"]
        np.testing.assert_array_equal(found[name], by_pair[field].shift(int(lag)) / base, err_msg=name)


# ---- operator by operator, on candles with holes


@pytest.fixture(scope="module")
def holed() -> pd.DataFrame:
    """Two pairs with float32 prices, missing values alone and in a row, and missing candles."""
    table = random_candles(2, 150, seed=8)
    fields = ["open", "high", "low", "close", "volume"]
    table[fields] = table[fields].astype(np.float32).astype(float)
    table.loc[[3, 40, 70, 71, 72, 73, 74, 75, 76, 77], ["open", "high", "low", "close", "volume"]] = np.nan
    table.loc[[20, 47, 95], "volume"] = np.nan
    return table.drop(index=[110, 200, 201]).reset_index(drop=True)


def rolled(x: pd.Series, window: int):
    return x.rolling(window, min_periods=1)


def on_line(x: pd.Series, window: int, what: int) -> pd.Series:
    """Slope, R² and newest residual of the values there are in the window, at their places."""
    out = np.full(len(x), np.nan)
    for i in range(len(x)):
        y = x.to_numpy()[max(0, i - window + 1) : i + 1]
        place = np.arange(len(y), dtype=float)[~np.isnan(y)]
        y = y[~np.isnan(y)]
        if len(y) > 1:
            gradient, constant = np.polyfit(place - place[-1], y, 1)
            r2 = np.corrcoef(place, y)[0, 1] ** 2
            out[i] = (gradient, r2, y[-1] - constant if not np.isnan(x.iloc[i]) else np.nan)[what]
    return pd.Series(out, x.index)


def weighted(values: np.ndarray) -> float:
    weights = np.arange(1, len(values) + 1)
    return np.nanmean(weights / weights.sum() * values)


def deviation(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return np.abs(known - known.mean()).mean()


QLIB = {
    "Ref($close, 3)": lambda c, v: c.shift(3),
    "Delta($close, 3)": lambda c, v: (c.astype(np.float32) - c.shift(3).astype(np.float32)).astype(float),
    "Mean($close, 9)": lambda c, v: rolled(c, 9).mean(),
    "Sum($close, 9)": lambda c, v: rolled(c, 9).sum(),
    "Std($close, 9)": lambda c, v: rolled(c, 9).std(),
    "Var($close, 9)": lambda c, v: rolled(c, 9).var(),
    "Skew($close, 9)": lambda c, v: rolled(c, 9).skew(),
    "Kurt($close, 9)": lambda c, v: rolled(c, 9).kurt(),
    "Max($close, 9)": lambda c, v: rolled(c, 9).max(),
    "Min($close, 9)": lambda c, v: rolled(c, 9).min(),
    "IdxMax($close, 9)": lambda c, v: rolled(c, 9).apply(lambda x: np.argmax(x) + 1, raw=True),
    "IdxMin($close, 9)": lambda c, v: rolled(c, 9).apply(lambda x: np.argmin(x) + 1, raw=True),
    "Med($close, 9)": lambda c, v: rolled(c, 9).median(),
    "Mad($close, 9)": lambda c, v: rolled(c, 9).apply(deviation, raw=True),
    "Quantile($close, 9, 0.3)": lambda c, v: rolled(c, 9).quantile(0.3),
    "Rank($close, 9)": lambda c, v: rolled(c, 9).rank(pct=True),
    "EMA($close, 9)": lambda c, v: c.ewm(span=9, min_periods=1).mean(),
    "WMA($close, 9)": lambda c, v: rolled(c, 9).apply(weighted, raw=True),
    "Slope($close, 9)": lambda c, v: on_line(c, 9, 0),
    "Rsquare($close, 9)": lambda c, v: on_line(c, 9, 1),
    "Resi($close, 9)": lambda c, v: on_line(c, 9, 2),
    "Corr($close, $volume, 9)": lambda c, v: rolled(c, 9).corr(v),
    "Cov($close, $volume, 9)": lambda c, v: rolled(c, 9).cov(v),
    "Mean($close > Ref($close, 1), 9)": lambda c, v: rolled((c > c.shift(1)).astype(float), 9).mean(),
    "Mean($close, 1)": lambda c, v: c,
}


@pytest.mark.parametrize("expression", QLIB)
def test_an_operator_equals_qlibs_on_what_is_there(holed, expression):
    found = compute_factors(holed, {"f": expression}, timeframe="1h", compat="qlib")["f"]
    grid = pd.date_range(holed["date"].min(), holed["date"].max(), freq="h")
    for _, rows in holed.groupby("pair", observed=True):
        candles = rows.set_index("date").reindex(grid)
        expected = QLIB[expression](candles["close"], candles["volume"]).reindex(rows["date"])
        scale = 1e-9 * float(np.nanmax(np.abs(expected)))
        np.testing.assert_allclose(found[rows.index], expected, rtol=2e-6, atol=scale, err_msg=expression)


def test_the_calendar_can_be_given_for_a_part_of_the_market(holed):
    factors = {"mean": "Mean($close, 9)", "place": "IdxMax($high, 9)"}
    whole = compute_factors(holed, factors, timeframe="1h", compat="qlib")
    one = holed[holed["pair"] == "BB/USDT"].reset_index(drop=True)
    expected = whole[whole["pair"] == "BB/USDT"][[*factors]].reset_index(drop=True)
    alone = compute_factors(one, factors, timeframe="1h", compat="qlib", calendar=pd.DatetimeIndex(holed["date"]))
    pd.testing.assert_frame_equal(alone[[*factors]], expected, check_exact=True)
    without = compute_factors(one, factors, timeframe="1h", compat="qlib")
    assert not without[[*factors]].equals(expected)
    with pytest.raises(DataError, match="not on the calendar"):
        compute_factors(one, factors, timeframe="1h", compat="qlib", calendar=pd.DatetimeIndex(holed["date"][:5]))


def test_only_two_sets_of_rules_are_known(holed):
    with pytest.raises(FactorError, match=r"features.compat is 'sane' or 'qlib', found 'pandas'"):
        compute_factors(holed, {"f": "close"}, timeframe="1h", compat="pandas")
