"""What surprises in Qlib's numbers: `compat="qlib"` has each of them, the default none."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import FactorError
from agent_market.factors import canonical, compute_factors, load_factors, look_back

ALPHA158 = load_factors("alpha158")


def series(close, volume=1.0) -> pd.DataFrame:
    """Hourly candles of one pair; high and low lie at a fixed share around the close."""
    close = np.asarray(close, dtype=float)
    dates = pd.date_range("2024-01-01", periods=close.size, freq="h", tz="UTC").as_unit("ms")
    table = pd.DataFrame({"pair": pd.Categorical(["A/B"] * close.size), "date": dates, "open": close})
    return table.assign(high=close * 1.01, low=close * 0.99, close=close, volume=volume)


def walk(n: int = 200, level: float = 100.0, seed: int = 0) -> np.ndarray:
    return level * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, n)))


def both(candles: pd.DataFrame, expression: str) -> tuple[np.ndarray, np.ndarray]:
    """The values by Qlib's rules and by the default ones."""
    return tuple(
        compute_factors(candles, {"f": expression}, timeframe="1h", compat=compat, check=False)["f"].to_numpy()
        for compat in ("qlib", "sane")
    )


def test_1_an_exponential_mean_depends_on_where_the_candles_begin():
    close = 100 * 1.01 ** np.arange(200.0)
    qlib, sane = both(series(close), "EMA($close, 20)")
    short_qlib, short_sane = both(series(close[-20:]), "EMA($close, 20)")  # Qlib loads 19 candles before the first
    assert short_qlib[-1] == pytest.approx(qlib[-1], rel=0.1)
    assert abs(short_qlib[-1] / qlib[-1] - 1) > 0.005
    assert np.isnan(short_sane[:-1]).all()
    enough = both(series(close[-look_back("ema(close, 20)") :]), "ema(close, 20)")[1]
    assert enough[-1] == pytest.approx(sane[-1], rel=3e-7)


def test_2_the_weighted_mean_is_divided_by_the_window_once_more():
    qlib, sane = both(series(np.full(30, 7.0)), "WMA($close, 5)")
    assert qlib[-1] == pytest.approx(7 / 5)
    assert sane[-1] == pytest.approx(7)


def test_3_a_missing_close_counts_as_one_that_did_not_rise():
    close = walk()
    close[50:115] = np.nan
    qlib, sane = both(series(close), ALPHA158["cntp20"])
    assert (qlib[70:115] == 0).all()
    assert np.isnan(sane[50:115]).all()


def test_4_the_place_of_the_largest_value_is_that_of_the_first_missing_one():
    close = walk()
    close[100] = np.nan
    qlib, sane = both(series(close), "IdxMax($close, 10)")
    assert qlib[100:110].tolist() == list(range(10, 0, -1))
    assert np.isnan(sane[100:110]).all()


def test_5_the_first_rows_have_numbers_that_mean_nothing():
    candles = series(walk())
    for name, first in (("imax60", 1 / 60), ("rank60", 1.0), ("ma60", 1.0)):
        qlib, sane = both(candles, ALPHA158[name])
        assert qlib[0] == pytest.approx(first)
        assert np.isnan(sane[:59]).all()
        assert not np.isnan(sane[59])
    qlib, sane = both(candles, ALPHA158["rsqr60"])
    assert qlib[1] == pytest.approx(1.0)  # a line through two points
    assert np.isnan(sane[:59]).all()


def test_6_a_low_price_has_no_correlation_and_no_r2():
    rng = np.random.default_rng(1)
    cheap = series(walk(level=1e-6), volume=rng.lognormal(3, 1, 200))
    dear = series(walk(level=1.0), volume=cheap["volume"])
    for name in ("corr20", "rsqr20"):
        qlib, sane = both(cheap, ALPHA158[name])
        assert np.isnan(qlib).all()
        np.testing.assert_allclose(sane, both(dear, ALPHA158[name])[1], rtol=1e-5, atol=1e-6)
    qlib, sane = both(cheap, ALPHA158["beta20"])
    np.testing.assert_allclose(qlib[19:], sane[19:], rtol=1e-4, atol=1e-7)


def test_7_a_flat_window_has_a_deviation_of_exactly_zero():
    close = np.r_[walk(60), np.full(100, 90.01), walk(40)]
    volume = np.random.default_rng(2).lognormal(15, 1, 200)
    qlib, sane = both(series(close, volume), "Std($close, 20)")
    assert (qlib[80:160] == 0).all()
    assert (sane[80:160] == 0).all()
    qlib, sane = both(series(close, volume), ALPHA158["wvma5"])
    assert qlib[~np.isnan(qlib)].max() < 5**0.5 + 1e-6  # pandas 3 gives up to 7.6e8 here
    assert (qlib[70:160] == 0).all()
    assert np.isnan(sane[70:160]).all()  # no movement: 0 / 0


def test_8_no_volume_is_a_huge_number():
    volume = np.r_[np.full(50, 10.0), 0.0, np.full(49, 10.0)]
    qlib, sane = both(series(walk(100), volume), ALPHA158["vma5"])
    assert qlib[50] > 1e12
    assert np.isnan(sane[50])
    close = walk(100)
    qlib, sane = both(series(close, volume), "$volume / Ref($volume, 1)")
    assert np.isinf(qlib[51])
    assert np.isnan(sane[51])
    volume = volume * np.random.default_rng(0).lognormal(0, 1, 100)
    qlib, sane = both(series(close, volume), ALPHA158["cord10"])
    assert not np.isnan(qlib[51:61]).any()  # pandas leaves the infinite ratio out
    assert np.isnan(sane[51:61]).all()


def test_9_a_guard_makes_a_factor_depend_on_the_unit_of_the_price():
    close = walk(100)
    cheap, dear = series(close * 1e-13), series(close)
    for table in (cheap, dear):
        table["open"] = table["close"].shift(1).fillna(table["close"])
    qlib, sane = zip(both(cheap, ALPHA158["kmid2"]), both(dear, ALPHA158["kmid2"]), strict=True)
    assert np.abs(qlib[0]).max() < 0.5 * np.abs(qlib[1]).max()
    np.testing.assert_allclose(sane[0], sane[1], rtol=1e-4, atol=1e-6)


def test_10_steps_on_candles_are_float32():
    close = (50_000 + np.cumsum(np.random.default_rng(0).normal(0, 0.02, 200))).round(2)
    qlib, sane = both(series(close), "$close / Ref($close, 1) - 1")
    single = close.astype(np.float32)
    np.testing.assert_array_equal(qlib[1:], single[1:] / single[:-1] - np.float32(1))
    np.testing.assert_allclose(sane[1:], close[1:] / close[:-1] - 1, rtol=1e-6)
    assert np.abs(qlib[1:] - sane[1:]).max() > 0.03 * np.abs(sane[1:]).max()


def test_11_a_lag_of_zero_is_the_series_itself():
    """Qlib gives the first value it has loaded, which depends on the query: neither set of rules follows it."""
    assert canonical("Ref($close, 0)") == "close"


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_12_a_negative_lag_is_refused(compat):
    with pytest.raises(FactorError, match="into the future"):
        compute_factors(series(walk()), {"f": "Ref($close, -5) / $close"}, timeframe="1h", compat=compat)


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_13_an_unknown_field_is_an_error_and_no_column_of_nan(compat):
    with pytest.raises(FactorError, match="unknown field"):
        compute_factors(series(walk()), {"f": "$funding / $close"}, timeframe="1h", compat=compat)


def test_13_a_vwap_that_is_not_there_is_an_error_by_qlibs_rules_that_says_what_to_do():
    candles = series(walk())
    with pytest.raises(FactorError, match=r"factor 'vwap0': the candles have no column vwap.*give.*one.*compat=sane"):
        compute_factors(candles, {"vwap0": ALPHA158["vwap0"]}, timeframe="1h", compat="qlib")
    found = compute_factors(candles, {"vwap0": ALPHA158["vwap0"]}, timeframe="1h", check=False)
    np.testing.assert_allclose(found["vwap0"], 1.0, rtol=1e-6)  # (high + low + close) / 3 stands in
    given = candles.assign(vwap=candles["close"] * 1.5)
    for compat in ("sane", "qlib"):
        found = compute_factors(given, {"f": ALPHA158["vwap0"]}, timeframe="1h", check=False, compat=compat)
        np.testing.assert_allclose(found["f"], 1.5, rtol=1e-6)


def test_14_a_minus_sign_before_a_field_is_read():
    candles = series(walk())
    for found in both(candles, "-$close"):
        np.testing.assert_allclose(found, -candles["close"], rtol=1e-7)


def test_15_windows_count_the_dates_of_the_market():
    other = series(walk(60, seed=1)).assign(pair="C/D")
    held = series(walk(60))[lambda table: ~table.index.isin(range(30, 40))]
    candles = pd.concat([held, other]).assign(pair=lambda table: table["pair"].astype("category"))
    candles = candles.reset_index(drop=True)
    qlib, sane = both(candles, "Mean($close, 15)")
    after = held.index.get_loc(40)
    close = walk(60)
    assert qlib[after] == pytest.approx(np.r_[close[26:30], close[40]].mean(), rel=1e-6)  # 10 of 15 dates are missing
    assert np.isnan(sane[after : after + 14]).all()  # no window reaches over the hole
    assert sane[after + 14] == pytest.approx(close[40:55].mean(), rel=1e-6)


def test_16_whether_a_series_moves_is_asked_of_all_its_values_not_of_the_pairs():
    close = 1 + 1e-6 * np.arange(20.0)
    close[5] = 3.0  # moves, where the volume is missing
    volume = np.arange(20.0)
    volume[5] = np.nan
    qlib, sane = both(series(close, volume), "Corr($close, $volume, 20)")
    assert qlib[-1] == pytest.approx(1.0, abs=0.05)
    assert np.isnan(sane[-1])
    close[5] = 1.0
    assert np.isnan(both(series(close, volume), "Corr($close, $volume, 20)")[0][-1])
