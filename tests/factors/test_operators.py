"""Every operator against a plain computation, on candles with NaN, gaps, flat stretches and extreme prices."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import talib

from agent_market.factors import compute_factors, look_back
from agent_market.factors.operators import CALENDAR, CROSS_SECTION, ELEMENT_WISE, OPERATORS, TIME_SERIES
from causality import assert_causal

W = 7


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    """Five pairs: prices around 1e-8, 1, 1e6; a gap, missing values, no volume, a flat stretch, a late listing."""
    rng = np.random.default_rng(3)
    dates = pd.date_range("2024-01-01", periods=90, freq="h", tz="UTC").as_unit("ms")
    tables = []
    for pair, level in {"A/B": 1e-8, "C/D": 1e6, "E/F": 1.0, "G/H": 30.0, "I/J": 2.0}.items():
        close = level * np.exp(np.cumsum(rng.normal(0, 0.02, 90)))
        opens = np.r_[level, close[:-1]]
        wick = rng.gamma(2.0, 0.004, (2, 90))
        high, low = np.maximum(opens, close) * (1 + wick[0]), np.minimum(opens, close) * (1 - wick[1])
        table = pd.DataFrame({"pair": pair, "date": dates, "open": opens, "high": high, "low": low})
        tables.append(table.assign(close=close, volume=rng.lognormal(3, 1, 90).round(3)))
    a, c, e, g, i = tables
    a.loc[[20, 50, 51], "close"] = np.nan
    a.loc[10:14, "volume"] = 0.0
    c.loc[30:45, ["open", "high", "low", "close"]] = 1e6 + 0.1
    e = e.drop(index=range(40, 44))
    e.loc[60, "volume"] = np.inf
    g.loc[30:40, ["open", "high", "low", "close"]] = 30.1
    i = i.iloc[60:]
    table = pd.concat([a, c, e, g, i], ignore_index=True)
    return table.assign(pair=table["pair"].astype("category"), filled=False)


def computed(candles: pd.DataFrame, expression: str) -> pd.Series:
    table = compute_factors(candles, {"f": expression}, timeframe="1h", check=False)
    assert table["f"].dtype == np.float32
    return table["f"].astype(float)


def assert_equal(candles: pd.DataFrame, found: pd.Series, expected, slack: float = 1e-9) -> None:
    """Equal to float32 accuracy of each pair's own scale, NaN by NaN."""
    expected = pd.Series(np.asarray(expected, dtype=float))
    expected = expected.replace([np.inf, -np.inf], np.nan)
    for pair, rows in candles.groupby("pair", observed=True).indices.items():
        scale = np.nan_to_num(expected.iloc[rows].abs().max())
        np.testing.assert_allclose(
            found.iloc[rows], expected.iloc[rows], rtol=2e-6, atol=slack * scale, err_msg=str(pair)
        )


# ---- time series


def segments(candles: pd.DataFrame) -> list[np.ndarray]:
    """Row numbers of each unbroken stretch of hourly candles of one pair."""
    breaks = (candles["pair"] != candles["pair"].shift()) | (candles["date"].diff() != pd.Timedelta("1h"))
    return [np.asarray(rows) for rows in candles.groupby(breaks.cumsum()).indices.values()]


def windows(candles: pd.DataFrame, function, *names: str, size: int = W) -> np.ndarray:
    """A statistic of each full window, one window at a time."""
    values = candles[list(names)].replace([np.inf], np.nan).to_numpy()
    out = np.full(len(candles), np.nan)
    for rows in segments(candles):
        for end in range(size, len(rows) + 1):
            window = values[rows[end - size : end]]
            if not np.isnan(window).any():
                out[rows[end - 1]] = function(*window.T)
    return out


def shifted(candles: pd.DataFrame, name: str, lag: int) -> np.ndarray:
    out = np.full(len(candles), np.nan)
    for rows in segments(candles):
        out[rows] = candles[name].iloc[rows].replace([np.inf], np.nan).shift(lag)
    return out


def flat(x: np.ndarray) -> bool:
    return bool((x == x[0]).all())


def std(x):
    return 0.0 if flat(x) else np.std(x, ddof=1)


def line(y, x):
    """Slope, R² and last residual of y on x by numpy's least squares."""
    if flat(x):
        return np.nan, np.nan, np.nan
    unit = (x - x.mean()) / np.ptp(x)
    gradient, constant = np.linalg.lstsq(np.c_[unit, np.ones(len(x))], y, rcond=None)[0]
    fit = gradient * unit + constant
    r2 = np.nan if flat(y) else 1 - ((y - fit) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return gradient / np.ptp(x), r2, (y - fit)[-1]


def on_time(y):
    return (0.0, np.nan, 0.0) if flat(y) else line(y, np.arange(len(y), dtype=float))


def corr(x, y):
    return np.nan if flat(x) or flat(y) else scipy.stats.pearsonr(x, y)[0]


def ewm(candles: pd.DataFrame, span: int) -> np.ndarray:
    out = np.full(len(candles), np.nan)
    for rows in segments(candles):
        close = candles["close"].iloc[rows]
        for _, stretch in close[close.notna()].groupby(close.isna().cumsum()):
            out[stretch.index] = stretch.ewm(span=span, min_periods=span).mean()
    return out


WINDOWED = {
    "ts_mean(close, 7)": np.mean,
    "ts_sum(close, 7)": np.sum,
    "ts_product(close, 3)": np.prod,
    "ts_std(close, 7)": std,
    "ts_var(close, 7)": lambda x: std(x) ** 2,
    "ts_skew(close, 7)": lambda x: np.nan if flat(x) else scipy.stats.skew(x, bias=False),
    "ts_kurt(close, 7)": lambda x: np.nan if flat(x) else scipy.stats.kurtosis(x, bias=False),
    "ts_min(close, 7)": np.min,
    "ts_max(close, 7)": np.max,
    "ts_argmin(close, 7)": lambda x: np.argmin(x) + 1,
    "ts_argmax(close, 7)": lambda x: np.argmax(x) + 1,
    "ts_median(close, 7)": np.median,
    "ts_mad(close, 7)": lambda x: 0.0 if flat(x) else np.abs(x - x.mean()).mean(),
    "ts_quantile(close, 7, 0.3)": lambda x: np.quantile(x, 0.3),
    "ts_rank(close, 7)": lambda x: scipy.stats.rankdata(x)[-1] / len(x),
    "ts_zscore(close, 7)": lambda x: np.nan if flat(x) else (x[-1] - x.mean()) / std(x),
    "ts_count(close > open, 7)": lambda x, y: (x > y).sum(),
    "ts_corr(close, volume, 7)": corr,
    "ts_cov(close, volume, 7)": lambda x, y: 0.0 if flat(x) or flat(y) else np.cov(x, y)[0, 1],
    "ts_beta(close, volume, 7)": lambda y, x: 0.0 if flat(y) and not flat(x) else line(y, x)[0],
    "ts_resid(close, volume, 7)": lambda y, x: 0.0 if flat(y) and not flat(x) else line(y, x)[2],
    "decay_linear(close, 7)": lambda x: np.average(x, weights=np.arange(1, len(x) + 1)),
    "slope(close, 7)": lambda x: on_time(x)[0],
    "rsquare(close, 7)": lambda x: on_time(x)[1],
    "resi(close, 7)": lambda x: on_time(x)[2],
}
OTHER_SERIES = {"ts_count(close > open, 7)": "open"}


@pytest.mark.parametrize("expression", WINDOWED)
def test_a_windowed_operator_equals_its_plain_computation(candles, expression):
    function = WINDOWED[expression]
    names = (
        ["close", OTHER_SERIES.get(expression, "volume")][: function.__code__.co_argcount]
        if hasattr(function, "__code__")
        else ["close"]
    )
    size = look_back(expression)
    assert_equal(candles, computed(candles, expression), windows(candles, function, *names, size=size))


LAGGED = {
    "delay(close, 3)": lambda c: shifted(c, "close", 3),
    "delay(close, 0)": lambda c: c["close"],
    "delta(close, 3)": lambda c: c["close"] - shifted(c, "close", 3),
    "pct_change(close, 3)": lambda c: c["close"] / shifted(c, "close", 3) - 1,
    "log_ret(close, 3)": lambda c: np.log(c["close"] / shifted(c, "close", 3)),
    "ema(close, 5)": lambda c: ewm(c, 5),
}


@pytest.mark.parametrize("expression", LAGGED)
def test_a_lagged_or_exponential_operator_equals_pandas(candles, expression):
    assert_equal(candles, computed(candles, expression), LAGGED[expression](candles))


def by_stretch(candles: pd.DataFrame, function, *names: str) -> np.ndarray:
    """A function of whole stretches without a gap and without a missing value."""
    out = np.full(len(candles), np.nan)
    table = candles[list(names)].replace([np.inf], np.nan)
    for rows in segments(candles):
        values = table.iloc[rows]
        known = values.notna().all(axis=1)
        for _, stretch in values[known].groupby((~known).cumsum()):
            out[stretch.index] = function(*(stretch[name].to_numpy() for name in names))
    return out


def known_in_window(candles: pd.DataFrame) -> np.ndarray:
    out = np.full(len(candles), np.nan)
    for rows in segments(candles):
        out[rows] = candles["volume"].iloc[rows].replace([np.inf], np.nan).notna().rolling(W).sum()
    return out


def money_flow(candles: pd.DataFrame) -> np.ndarray:
    out = np.full(len(candles), np.nan)
    for rows in segments(candles):
        table = candles.iloc[rows].replace([np.inf], np.nan)
        price = (table["high"] + table["low"] + table["close"]) / 3
        flow = (price * table["volume"]).where(price.diff().notna())
        up, down = (
            flow.where(flow.isna() | side, 0.0).rolling(W).sum() for side in (price.diff() > 0, price.diff() < 0)
        )
        out[rows] = 100 * up / (up + down).where(up + down > 0)
    return out


INDICATORS = {
    "ts_known(volume, 7)": known_in_window,
    "kama(close, 7)": lambda c: by_stretch(c, lambda x: talib.KAMA(x / x[0], 7) * x[0], "close"),
    "adx(high, low, close, 7)": lambda c: by_stretch(
        c, lambda h, low, x: talib.ADX(h / x[0], low / x[0], x / x[0], 7), "high", "low", "close"
    ),
    "psar(high, low)": lambda c: by_stretch(c, lambda h, low: talib.SAR(h / h[0], low / h[0]) * h[0], "high", "low"),
    "mfi(high, low, close, volume, 7)": money_flow,
}


@pytest.mark.parametrize("expression", INDICATORS)
def test_an_indicator_equals_talib_or_pandas_on_each_unbroken_stretch(candles, expression):
    expected = INDICATORS[expression](candles)
    assert 0 < np.isnan(expected).sum() < len(expected) / 2
    assert_equal(candles, computed(candles, expression), expected, slack=1e-6)


# ---- element-wise

ELEMENTS = {
    "add": ("close + volume", lambda o, c, v: c + v),
    "sub": ("close - open", lambda o, c, v: c - o),
    "mul": ("close * volume", lambda o, c, v: c * v),
    "div": ("close / volume", lambda o, c, v: c / v),
    "neg": ("-close", lambda o, c, v: -c),
    "abs": ("abs(close - open)", lambda o, c, v: abs(c - o)),
    "sign": ("sign(close - open)", lambda o, c, v: np.sign(c - o)),
    "log": ("log(volume)", lambda o, c, v: np.log(v)),
    "slog1p": ("slog1p(open - 5)", lambda o, c, v: np.sign(o - 5) * np.log(1 + abs(o - 5))),
    "exp": ("exp(volume)", lambda o, c, v: np.where(v < np.log(3.4e38), np.exp(v), np.nan)),
    "sqrt": ("sqrt(volume - 5)", lambda o, c, v: np.sqrt(v - 5)),
    "sin": ("sin(volume)", lambda o, c, v: np.sin(v)),
    "cos": ("cos(volume)", lambda o, c, v: np.cos(v)),
    "tanh": ("tanh(volume / 9)", lambda o, c, v: np.tanh(v / 9)),
    "sigmoid": ("sigmoid(volume - 9)", lambda o, c, v: 1 / (1 + np.exp(9 - v))),
    "pow": ("(close / open) ^ -3", lambda o, c, v: (o / c) ** 3),
    "signedpower": ("signedpower(5 - volume, 0.5)", lambda o, c, v: np.sign(5 - v) * np.sqrt(abs(5 - v))),
    "maximum": ("maximum(close, open)", lambda o, c, v: np.maximum(c, o)),
    "minimum": ("minimum(close, open)", lambda o, c, v: np.minimum(c, o)),
    "clip": ("clip(volume, 3, 20)", lambda o, c, v: np.clip(v, 3, 20)),
    "where": ("where(volume > 9, close, open)", lambda o, c, v: np.where(v > 9, c, o)),
    "gt": ("close > open", lambda o, c, v: c > o),
    "ge": ("close >= open", lambda o, c, v: c >= o),
    "lt": ("close < open", lambda o, c, v: c < o),
    "le": ("close <= open", lambda o, c, v: c <= o),
    "eq": ("close == open", lambda o, c, v: c == o),
    "ne": ("close != open", lambda o, c, v: c != o),
    "and": ("close > open & volume > 9", lambda o, c, v: (c > o) & (v > 9)),
    "or": ("close > open | volume > 9", lambda o, c, v: (c > o) | (v > 9)),
    "not": ("!(close > open)", lambda o, c, v: ~(c > o)),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_element_wise_operator_equals_numpy_and_is_nan_where_an_input_is(candles, name):
    expression, function = ELEMENTS[name]
    columns = {key: candles[key].replace([np.inf], np.nan).to_numpy() for key in ("open", "close", "volume")}
    with np.errstate(all="ignore"):
        expected = np.asarray(function(*columns.values()), dtype=float)
    for key, values in columns.items():
        if key in expression and not (name == "where" and key != "volume"):  # NaN of the branch not taken is none
            expected = np.where(np.isnan(values), np.nan, expected)
    assert_equal(candles, computed(candles, expression), expected)


# ---- cross-section


def cs_line(group: pd.DataFrame) -> pd.Series:
    known = group.dropna()
    out = pd.Series(np.nan, group.index)
    if len(known) >= 3 and not flat(known["x"].to_numpy()):
        fit = scipy.stats.linregress(known["x"], known["y"])
        out[known.index] = known["y"] - fit.intercept - fit.slope * known["x"]
    return out


CROSS = {
    "cs_rank": lambda g: g.rank(pct=True),
    "cs_zscore": lambda g: (g - g.mean()) / g.std(),
    "cs_demean": lambda g: g - g.mean(),
    "cs_scale": lambda g: g / g.abs().sum(),
    "cs_mean": lambda g: g * 0 + g.mean(),
    "cs_std": lambda g: g * 0 + g.std(),
    "cs_median": lambda g: g * 0 + g.median(),
    "cs_min": lambda g: g * 0 + g.min(),
    "cs_max": lambda g: g * 0 + g.max(),
}


@pytest.mark.parametrize("name", CROSS)
def test_a_cross_section_operator_equals_pandas_over_the_pairs_of_one_date(candles, name):
    values = (candles["close"] / candles["open"]).where(candles["date"].dt.hour > 2)
    expression = f"{name}(where(hour > 2, close / open, log(0 * close)))"

    def one_date(group: pd.Series) -> pd.Series:
        return CROSS[name](group) if group.notna().sum() >= 3 else group * np.nan

    expected = values.groupby(candles["date"]).transform(one_date)
    assert expected.isna().any()
    assert_equal(candles, computed(candles, expression), expected, slack=1e-6)


def test_the_cross_sectional_residual_equals_scipys_regression(candles):
    table = pd.DataFrame({"y": candles["close"] / candles["open"], "x": candles["volume"].replace(np.inf, np.nan)})
    expected = pd.concat([cs_line(group) for _, group in table.groupby(candles["date"])]).sort_index()
    found = computed(candles, "cs_resid(close / open, volume)")
    assert_equal(candles, found, expected, slack=1e-6)


def test_cross_sections_of_fewer_than_three_pairs_are_nan(candles):
    two = candles[candles["pair"].isin(["A/B", "C/D"])].reset_index(drop=True)
    for name in CROSS:
        assert computed(two, f"{name}(close)").isna().all()


def test_equal_pairs_have_zero_spread_and_no_score(candles):
    assert set(computed(candles, "cs_std(0 * volume + 0.1)").dropna()) == {0.0}
    assert computed(candles, "cs_zscore(0 * volume + 0.1)").isna().all()
    assert set(computed(candles, "cs_demean(0 * volume + 0.1)").dropna()) == {0.0}


# ---- calendar


def test_hour_and_weekday_are_those_of_the_open_time(candles):
    assert_equal(candles, computed(candles, "hour"), candles["date"].dt.hour)
    assert_equal(candles, computed(candles, "weekday"), candles["date"].dt.day_of_week)


# ---- all of them


def expressions() -> dict[str, str]:
    """One expression per operator."""
    found = {text.split("(")[0]: text for text in [*WINDOWED, *LAGGED, *INDICATORS]}
    found |= {name: text for name, (text, _) in ELEMENTS.items()}
    found |= {name: f"{name}(close / open)" for name in CROSS} | {"cs_resid": "cs_resid(close, open)"}
    return found | {"hour": "hour", "weekday": "weekday"}


def test_every_operator_of_the_table_is_tested_here():
    assert set(expressions()) == set(OPERATORS)
    assert set(OPERATORS) == {*ELEMENT_WISE, *TIME_SERIES, *CROSS_SECTION, *CALENDAR}


def test_no_operator_looks_into_the_future(candles):
    def compute(table):
        return compute_factors(table, expressions(), timeframe="1h", check=False)

    assert_causal(compute, candles)


@pytest.mark.parametrize("name", [name for name in expressions() if name not in CROSS and name != "cs_resid"])
def test_look_back_candles_are_enough_and_one_fewer_is_not(candles, name):
    rows = candles[candles["pair"] == "G/H"].reset_index(drop=True)
    expression, needed = expressions()[name], look_back(expressions()[name])
    whole = computed(rows, expression).iloc[-1]
    tail = computed(rows.tail(needed), expression).iloc[-1]
    assert tail == pytest.approx(whole, rel=1e-6)
    if needed > 1 and not OPERATORS[name].recursive:
        assert np.isnan(computed(rows.tail(needed - 1), expression).iloc[-1])


# ---- numbers that break naive running sums


def series(values: np.ndarray) -> pd.DataFrame:
    dates = pd.date_range("2020-01-01", periods=len(values), freq="h", tz="UTC").as_unit("ms")
    table = pd.DataFrame({"pair": "A/B", "date": dates, "volume": 1.0})
    return table.assign(**dict.fromkeys(("open", "high", "low", "close"), values))


ROLLING = [text for text in WINDOWED if "volume" not in text and "open" not in text]


@pytest.mark.parametrize("expression", ROLLING)
def test_a_huge_value_leaves_no_trace_once_it_has_left_the_window(expression):
    values = np.random.default_rng(0).lognormal(0, 0.1, 60)
    values[20] = 1e12
    whole, tail = computed(series(values), expression), computed(series(values[21:]), expression)
    np.testing.assert_allclose(whole[27:], tail[6:], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("level", [1e-8, 1.0, 1e6])
def test_a_flat_window_has_no_spread_no_score_and_no_correlation(level):
    values = np.r_[level * np.random.default_rng(0).lognormal(0, 0.1, 20), np.full(30, level * 1.1)]
    flat_rows = slice(26, None)
    for expression in ("ts_std(close, 7)", "ts_var(close, 7)", "ts_mad(close, 7)", "slope(close, 7)", "resi(close, 7)"):
        assert (computed(series(values), expression)[flat_rows] == 0).all(), expression
    for expression in ("ts_zscore(close, 7)", "ts_skew(close, 7)", "rsquare(close, 7)", "ts_corr(close, returns, 7)"):
        assert computed(series(values), expression)[flat_rows].isna().all(), expression
    assert (computed(series(values), "close - ts_mean(close, 7)")[flat_rows] == 0).all()
    assert computed(series(values), "1 / (close - ts_mean(close, 7))")[flat_rows].isna().all()


@pytest.mark.parametrize("level", [1e-8, 1.0, 1e6])
def test_a_difference_at_the_rounding_level_is_no_movement(level):
    almost = series(np.tile([0.3, 0.1 + 0.2], 10) * level)  # 0.3 and 0.30000000000000004
    assert almost["close"].nunique() == 2
    assert (computed(almost, "ts_std(close, 6)").dropna() == 0).all()
    assert (computed(almost, "ts_cov(close, hour, 6)").dropna() == 0).all()
    assert (computed(almost, "returns").dropna() == 0).all()
    for expression in ("1 / (close - delay(close, 1))", "ts_zscore(close, 6)", "ts_corr(close, hour, 6)"):
        assert computed(almost, expression).isna().all(), expression


@pytest.mark.parametrize("level", [1e-8, 1e6])
def test_small_moves_on_a_long_series_keep_their_accuracy(level):
    moves = np.random.default_rng(1).normal(0, 1, 50_000)
    values = level * (1 + 1e-6 * moves)
    spread = computed(series(values), "ts_std(close, 100)") / level
    for end in (100, 25_000, 50_000):
        assert spread[end - 1] == pytest.approx(1e-6 * moves[end - 100 : end].std(ddof=1), rel=1e-6)


def test_no_volume_gives_nan_and_not_a_huge_number():
    table = series(np.random.default_rng(0).lognormal(0, 0.1, 40)).assign(volume=0.0)
    for expression in ("close / volume", "volume / ts_mean(volume, 5)", "log(volume)", "ts_corr(close, volume, 5)"):
        assert computed(table, expression).isna().all(), expression
