import numpy as np
import pandas as pd

from agent_market.evaluation import market_regimes
from panels import random_candles, scramble_after

CANDLES = random_candles(3, 24 * 120)


def test_a_later_candle_changes_no_earlier_regime():
    regimes = market_regimes(CANDLES, timeframe="1h")
    cut = CANDLES["date"].iloc[24 * 90]
    changed = market_regimes(scramble_after(CANDLES, cut), timeframe="1h")
    before = regimes["date"] <= cut
    pd.testing.assert_frame_equal(changed[before], regimes[before])
    assert not changed[~before].equals(regimes[~before])  # the future did change
    assert regimes.loc[before, "volatility"].notna().sum() > 24 * 40


def test_thirds_of_the_volatility_so_far():
    candles = CANDLES[CANDLES["pair"] == "AA/USDT"].copy()
    size = np.repeat([0.001, 0.01, 0.05], 24 * 40)
    steps = size * np.where(np.arange(len(candles)) % 2, 1.0, -1.0)
    candles["close"] = 100.0 * np.exp(steps.cumsum())
    regimes = market_regimes(candles, timeframe="1h").set_index("date")
    for day, name in ((60, "turbulent"), (110, "turbulent")):
        assert (regimes["volatility"].iloc[24 * day : 24 * (day + 2)] == name).all()
    candles["close"] = 100.0 * np.exp(steps[::-1].cumsum())
    assert (market_regimes(candles, timeframe="1h")["volatility"].iloc[24 * 100 :] == "calm").all()


def test_the_trend_is_of_thirty_days_and_a_crash_is_a_fall_of_a_fifth():
    candles = CANDLES[CANDLES["pair"] == "AA/USDT"].copy()
    level = np.concatenate(
        [np.linspace(0.0, 0.5, 24 * 60), np.linspace(0.5, 0.35, 24 * 40), np.linspace(0.35, 0.0, 480)]
    )
    candles["close"] = 100.0 * np.exp(level)
    trend = market_regimes(candles, timeframe="1h")["trend"]
    assert trend.iloc[: 24 * 30].isna().all()
    assert trend.iloc[24 * 31] == trend.iloc[24 * 59] == "rising"
    assert trend.iloc[24 * 95] == "falling"
    assert trend.iloc[-1] == "crash"


def test_days_and_weeks_have_regimes_too():
    days = CANDLES.iloc[: 24 * 120].assign(date=pd.date_range("2020-01-01", periods=24 * 120, freq="D", tz="UTC"))
    regimes = market_regimes(days, timeframe="1d")
    assert regimes["volatility"].iloc[60:].notna().all()
    assert regimes["trend"].iloc[30:].notna().all()
    weeks = days.assign(date=pd.date_range("1970-01-01", periods=24 * 120, freq="7D", tz="UTC"))
    assert market_regimes(weeks, timeframe="1w")["trend"].iloc[10:].notna().all()
