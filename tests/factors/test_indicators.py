"""Indicators: equal to TA-Lib on real candles, causal, free of the unit, and begun anew after a gap."""

import numpy as np
import pandas as pd
import pytest
import talib

from agent_market.factors import compute_factors, load_factors, look_back, shape_key
from agent_market.factors.macros import FEATURES
from agent_market.factors.operators import OPERATORS
from causality import assert_causal
from panels import random_candles

RECURSIVE = ["kama(close, 10)", "adx(high, low, close, 7)", "psar(high, low)"]


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return random_candles(1, 3000, seed=4)


def computed(candles: pd.DataFrame, *texts: str, **options) -> np.ndarray:
    factors = {f"f{i}": text for i, text in enumerate(texts)}
    return compute_factors(candles, factors, timeframe="1h", check=False, **options)[list(factors)].to_numpy(float)


def columns(candles: pd.DataFrame) -> list[np.ndarray]:
    return [candles[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]


def stochastic(h, low, c, n):
    return talib.STOCH(h, low, c, n, 3, 0, 3, 0)


def bands(c, n):
    upper, middle, lower = talib.BBANDS(c, n, 2, 2)
    return (upper - lower) / middle


def of_population(x: np.ndarray, n: int) -> np.ndarray:
    series = pd.Series(x)
    return ((series - series.rolling(n).mean()) / series.rolling(n).std(ddof=0)).to_numpy()


def returns(c: np.ndarray) -> np.ndarray:
    return pd.Series(c).pct_change().to_numpy()


def vwap(h, low, c, v, n):
    price = pd.Series((h + low + c) / 3)
    return (price * v).rolling(n).sum().to_numpy() / pd.Series(v).rolling(n).sum().to_numpy()


# What the older tool computed for `feat_<type>_14`, by TA-Lib or pandas; the chosen ones by their own definition.
OLDER_TOOL = {
    "momentum": lambda o, h, low, c, v: talib.MOM(c, 14),
    "roc": lambda o, h, low, c, v: talib.ROC(c, 14),
    "realized_vol": lambda o, h, low, c, v: (
        pd.Series(returns(c)).rolling(14).std(ddof=0).to_numpy() * np.sqrt(24 * 365)
    ),
    "sma_pct": lambda o, h, low, c, v: talib.SMA(c, 14) / c - 1,
    "ema_pct": lambda o, h, low, c, v: talib.EMA(c, 14) / c - 1,
    "wma_pct": lambda o, h, low, c, v: talib.WMA(c, 14) / c - 1,
    "tema_pct": lambda o, h, low, c, v: talib.TEMA(c, 14) / c - 1,
    "kama_pct": lambda o, h, low, c, v: talib.KAMA(c, 14) / c - 1,
    "vwap_pct": lambda o, h, low, c, v: vwap(h, low, c, v, 14) / c - 1,
    "vwap_slope": lambda o, h, low, c, v: pd.Series(vwap(h, low, c, v, 14)).diff().rolling(14).mean().to_numpy(),
    "linearreg_slope": lambda o, h, low, c, v: talib.LINEARREG_SLOPE(c, 14),
    "mfi": lambda o, h, low, c, v: talib.MFI(h, low, c, v, 14),
    "rsi": lambda o, h, low, c, v: talib.RSI(c, 14),
    "adx": lambda o, h, low, c, v: talib.ADX(h, low, c, 14),
    "cci": lambda o, h, low, c, v: talib.CCI(h, low, c, 14),
    "cmo": lambda o, h, low, c, v: talib.CMO(c, 14),
    "cmf": lambda o, h, low, c, v: (
        pd.Series(((c - low) - (h - c)) / (h - low) * v).rolling(14).sum().to_numpy()
        / pd.Series(v).rolling(14).sum().to_numpy()
    ),
    "atr_norm": lambda o, h, low, c, v: talib.ATR(h, low, c, 14) / c,
    "bb_width": lambda o, h, low, c, v: bands(c, 14),
    "donchian_width": lambda o, h, low, c, v: (talib.MAX(h, 14) - talib.MIN(low, 14)) / c,
    "range_pct": lambda o, h, low, c, v: talib.SMA((h - low) / c, 14),
    "volume_ratio": lambda o, h, low, c, v: v / talib.SMA(v, 14),
    "volume_zscore": lambda o, h, low, c, v: of_population(v, 14),
    "price_zscore": lambda o, h, low, c, v: of_population(c, 14),
    "return_zscore": lambda o, h, low, c, v: of_population(returns(c), 14),
    "return_skew": lambda o, h, low, c, v: pd.Series(returns(c)).rolling(14).skew().to_numpy(),
    "obv_delta": lambda o, h, low, c, v: (
        pd.Series(talib.OBV(c, v)).diff(14).to_numpy() / pd.Series(v).rolling(14).sum().to_numpy()
    ),
    "stoch_k": lambda o, h, low, c, v: stochastic(h, low, c, 14)[0],
    "stoch_d": lambda o, h, low, c, v: stochastic(h, low, c, 14)[1],
    "psar_ratio": lambda o, h, low, c, v: talib.SAR(h, low, 0.02, 0.2) / c - 1,
    "macd_diff": lambda o, h, low, c, v: talib.MACD(c, 12, 26, 9)[2],
}


@pytest.mark.parametrize("kind", FEATURES)
def test_each_type_of_the_older_tool_equals_talib_or_pandas_once_its_look_back_is_full(candles, kind):
    text = f"feat_{kind}_14" if FEATURES[kind].arity else f"feat_{kind}"
    first = look_back(text) + 4  # TA-Lib gives %K only where %D is known, too
    expected = OLDER_TOOL[kind](*columns(candles))[first:]
    found = computed(candles, text)[first:, 0]
    assert not np.isnan(found).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * np.std(expected))


OTHERS = {
    "willr(14)": lambda o, h, low, c, v: talib.WILLR(h, low, c, 14),
    "trix(close, 10)": lambda o, h, low, c, v: talib.TRIX(c, 10),
    "dema(close, 10)": lambda o, h, low, c, v: talib.DEMA(c, 10),
    "natr(14)": lambda o, h, low, c, v: talib.NATR(h, low, c, 14),
    "true_range": lambda o, h, low, c, v: talib.TRANGE(h, low, c),
    "fast_k(14)": lambda o, h, low, c, v: talib.STOCHF(h, low, c, 14, 3, 0)[0],
    "bb_upper(close, 20)": lambda o, h, low, c, v: talib.BBANDS(c, 20, 2, 2)[0],
    "aroon_up(20)": lambda o, h, low, c, v: talib.AROON(h, low, 20)[1],
    "macd(close, 12, 26)": lambda o, h, low, c, v: talib.EMA(c, 12) - talib.EMA(c, 26),
    "typical_price": lambda o, h, low, c, v: talib.TYPPRICE(h, low, c),
    "vwap": lambda o, h, low, c, v: talib.TYPPRICE(h, low, c),
}


@pytest.mark.parametrize("text", OTHERS)
def test_a_macro_equals_talib_once_its_look_back_is_full(candles, text):
    first = look_back(text) + 4
    expected = OTHERS[text](*columns(candles))[first:]
    found = computed(candles, text)[first:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * np.std(expected))


def test_vwap_is_the_column_where_the_candles_have_it(candles):
    with_column = candles.assign(vwap=candles["open"])
    np.testing.assert_array_equal(computed(with_column, "vwap"), computed(candles, "open"))


# ---- indicators with a state


@pytest.mark.parametrize("text", RECURSIVE)
def test_an_indicator_begins_anew_after_a_gap_and_after_a_missing_value(text):
    one = random_candles(1, 400, seed=6)
    gap = one.drop(index=range(150, 155)).reset_index(drop=True)
    tail = one.iloc[155:].reset_index(drop=True)
    np.testing.assert_array_equal(computed(gap, text)[150:], computed(tail, text))
    assert not np.isnan(computed(gap, text, max_gap=5)[150:]).any()
    missing = one.copy()
    missing.loc[154, ["high", "close"]] = np.nan
    np.testing.assert_array_equal(computed(missing, text)[155:], computed(tail, text))
    assert np.isnan(computed(missing, text)[154]).all()


@pytest.mark.parametrize("text", [*RECURSIVE, "mfi(high, low, close, volume, 7)"])
@pytest.mark.parametrize("unit", [1e-9, 1e7])
def test_the_unit_of_the_price_does_not_matter(text, unit):
    one = random_candles(1, 300, seed=6)
    other = one.copy()
    other[["open", "high", "low", "close"]] *= unit
    scale = unit if "kama" in text or "psar" in text else 1.0
    np.testing.assert_allclose(computed(other, text) / scale, computed(one, text), rtol=1e-5)


@pytest.mark.parametrize("text", RECURSIVE)
def test_what_is_older_than_the_look_back_makes_no_difference(text):
    one = random_candles(1, 2500, seed=9)
    whole = computed(one, text)
    for end in range(look_back(text), 2500, 150):
        part = computed(one.iloc[end - look_back(text) : end].reset_index(drop=True), text)
        np.testing.assert_allclose(part[-1], whole[end - 1], rtol=1e-6)


@pytest.mark.parametrize("text", RECURSIVE)
def test_short_and_flat_stretches_are_no_trouble(text):
    for n_candles in (1, 2, 5):
        assert computed(random_candles(1, n_candles), text).shape == (n_candles, 1)
    flat = random_candles(1, 60)
    flat[["open", "high", "low", "close"]] = 5.0
    assert np.isfinite(computed(flat, text)[40:]).all()


def test_operators_with_a_state_say_so():
    assert {name for name, operator in OPERATORS.items() if operator.recursive} == {"ema", "kama", "adx", "psar"}


def test_money_flow_without_volume_is_nan():
    still = random_candles(1, 40).assign(volume=0.0)
    assert np.isnan(computed(still, "mfi(14)")).all()


# ---- the packaged set


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    return random_candles(2, 700, seed=2)


def indicators(candles: pd.DataFrame) -> pd.DataFrame:
    return compute_factors(candles, load_factors("indicators"), timeframe="1h")


def test_no_indicator_looks_into_the_future(panel):
    assert_causal(indicators, panel, cuts=(0.6, 0.8))


def test_no_indicator_of_the_set_depends_on_the_unit_of_price_or_volume(panel):
    other = panel.copy()
    other[["open", "high", "low", "close"]] *= 1e-7
    other["volume"] *= 1e5
    expected, found = indicators(panel), indicators(other)
    for name in load_factors("indicators"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_set_holds_every_type_of_the_older_tool():
    shapes = {shape_key(text) for text in load_factors("indicators").values()}
    divided = {"momentum", "macd_diff", "linearreg_slope", "vwap_slope"}
    for kind, macro in FEATURES.items():
        text = f"feat_{kind}_24" if macro.arity else f"feat_{kind}"
        assert shape_key(f"({text}) / close" if kind in divided else text) in shapes, kind


def test_every_indicator_lives_on_real_candles(shared_dir):
    table = pd.read_feather(shared_dir / "market" / "binance" / "BTC_USDT-1h.feather").head(3000)
    found = indicators(table.assign(pair=pd.Categorical(["BTC/USDT"] * len(table))))
    assert found.drop(columns=["pair", "date"]).notna().mean().min() > 0.75
