"""What follows after every rule: positions held for a time, and sized by volatility. None looks ahead."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading import (
    QuantileRule,
    SignRule,
    ThresholdRule,
    TopKRule,
    annual_volatility,
    decide_positions,
)
from causality import assert_causal
from panels import random_candles

CANDLES = random_candles(n_pairs=5, n_candles=300)
MODIFIERS = {"hold": 6, "target_volatility": 0.5, "volatility_window": 24}
RULES = [
    SignRule(deadband=0.01, **MODIFIERS),
    ThresholdRule(enter=0.02, exit=0.005, **MODIFIERS),
    QuantileRule(enter=0.8, exit=0.5, window="3d", min_history=20, **MODIFIERS),
    TopKRule(k=2, keep=3, **MODIFIERS),
    TopKRule(k=2, n_drop=1, hold=3),
]


def _momentum(candles):
    """Predictions that know no later candle: the return of the last twelve."""
    past = candles.groupby("pair", observed=True)["close"].pct_change(12)
    return candles[["pair", "date"]].assign(prediction=past, kind="return")


def _decide(candles, rule):
    return decide_positions(_momentum(candles), rule, allow_short=True, candles=candles, timeframe="1h")


def _closes(values, *, freq="h", start="2024-01-01"):
    dates = pd.date_range(start, periods=len(values), freq=freq, tz="UTC", unit="ms")
    return pd.Series(values, index=dates, dtype="float64")


def _held(signs, *, hold, dates=None, **how):
    dates = pd.date_range("2024-01-01", periods=len(signs), freq="h", tz="UTC", unit="ms") if dates is None else dates
    predictions = pd.DataFrame({"pair": "A/USDT", "date": dates, "prediction": signs, "kind": "return"})
    how = {"allow_short": True, "timeframe": "1h"} | how
    return decide_positions(predictions, SignRule(hold=hold), **how)["position"].tolist()


def test_hold_delays_a_close_and_a_reversal():
    assert _held([1, 0, 0, 0, 0], hold=3) == [1, 1, 1, 0, 0]
    assert _held([1, -1, -1, -1, 1, 0], hold=2) == [1, 1, -1, -1, 1, 1]


def test_hold_counts_from_the_entry_and_not_from_each_signal():
    assert _held([1, 1, 1, 0, 1, 0, 0], hold=3) == [1, 1, 1, 0, 1, 1, 1]


def test_hold_keeps_a_position_through_a_missing_prediction():
    assert _held([1, np.nan, np.nan, np.nan], hold=3) == [1, 1, 1, 0]


def test_hold_of_one_candle_changes_nothing():
    assert _held([1, -1, 0, 1], hold=1) == [1, -1, 0, 1]


def test_short_that_is_not_allowed_keeps_no_long_waiting():
    assert _held([-1, 1, 1, 0], hold=3, allow_short=False) == [0, 1, 1, 1]


def test_hold_ends_at_a_hole_and_reaches_over_a_closed_market():
    dates = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 04:00", "2024-01-01 05:00"], utc=True)
    assert _held([1, 0, 0, 0], hold=4, dates=dates) == [1, 1, 0, 0]
    assert _held([1, 0, 0, 0], hold=4, dates=dates, max_gap=2) == [1, 1, 1, 1]


def test_hold_passes_from_no_pair_to_the_next():
    rows = [("A/USDT", 0, 0.0), ("A/USDT", 1, 1.0), ("B/USDT", 0, 0.0), ("B/USDT", 1, 0.0)]
    predictions = pd.DataFrame(rows, columns=["pair", "date", "prediction"]).assign(kind="return")
    predictions["date"] = pd.Timestamp("2024-01-01", tz="UTC") + predictions["date"] * pd.Timedelta("1h")
    decided = decide_positions(predictions, SignRule(hold=5), allow_short=True, timeframe="1h")
    assert decided["position"].tolist() == [0, 1, 0, 0]


def test_hold_applies_to_a_model_that_decides_positions_and_leaves_it_the_size():
    dates = pd.date_range("2024-01-01", periods=5, freq="h", tz="UTC", unit="ms")
    own = pd.DataFrame({"pair": "A/USDT", "date": dates, "prediction": [0.4, 0.6, 0.0, -0.5, 0.0], "kind": "position"})
    decided = decide_positions(own, SignRule(hold=3), allow_short=True, timeframe="1h")
    assert decided["position"].tolist() == [0.4, 0.6, 0.6, -0.5, -0.5]


def test_volatility_of_an_hourly_market_that_never_closes():
    close = _closes(100 * np.cumprod(np.tile([1.01, 1 / 1.01], 30)))
    returns = np.tile([0.01, 1 / 1.01 - 1], 6)
    volatility = annual_volatility(close, window=12, timeframe="1h", trading_days=365)
    assert volatility.iloc[:12].isna().all()
    assert volatility.iloc[-1] == pytest.approx(np.std(returns, ddof=1) * np.sqrt(365 * 24), rel=1e-9)


def test_volatility_of_a_market_with_nights_counts_its_own_candles():
    days = pd.bdate_range("2024-01-01", periods=10, tz="UTC")
    dates = pd.DatetimeIndex([day + pd.Timedelta(hours=hour) for day in days for hour in range(14, 21)])  # seven a day
    returns = np.random.default_rng(0).normal(0, 0.01, len(dates))
    close = pd.Series(100 * np.cumprod(1 + returns), index=dates)
    volatility = annual_volatility(close, window=20, timeframe="1h", trading_days=252)
    assert volatility.iloc[-1] == pytest.approx(np.std(returns[-20:], ddof=1) * np.sqrt(252 * 7), rel=1e-9)


@pytest.mark.parametrize(("timeframe", "freq", "per_year"), [("1d", "D", 365), ("1w", "7D", 365.25 / 7)])
def test_volatility_of_days_and_weeks(timeframe, freq, per_year):
    close = _closes([100, 101, 99, 102, 100], freq=freq)
    expected = close.pct_change().std() * np.sqrt(per_year)
    volatility = annual_volatility(close, window=4, timeframe=timeframe, trading_days=365)
    assert volatility.iloc[-1] == pytest.approx(expected, rel=1e-12)


def test_volatility_knows_no_later_candle_and_no_fuller_day():
    days = pd.bdate_range("2024-01-01", periods=12, tz="UTC")
    hours = [3] * 6 + [7] * 6
    dates = pd.DatetimeIndex(
        [day + pd.Timedelta(hours=9 + i) for day, n in zip(days, hours, strict=True) for i in range(n)]
    )
    close = pd.Series(100 * np.cumprod(1 + np.random.default_rng(0).normal(0, 0.01, len(dates))), index=dates)
    how = {"window": 5, "timeframe": "1h", "trading_days": 252}
    whole = annual_volatility(close, **how)
    for rows in (10, 18, 30, 45):
        pd.testing.assert_series_equal(annual_volatility(close[:rows], **how), whole[:rows])


def _sized(close, **options):
    candles = pd.DataFrame({"pair": "A/USDT", "date": close.index, "close": close.to_numpy()})
    predictions = candles[["pair", "date"]].assign(prediction=-1.0, kind="return")
    rule = SignRule(volatility_window=4, **options)
    return decide_positions(predictions, rule, allow_short=True, candles=candles, timeframe="1d")["position"]


def test_size_is_target_over_volatility_and_at_most_full():
    close = _closes([100, 101, 99, 102, 100, 100.1, 100, 100.1, 100], freq="D")
    volatility = close.pct_change().rolling(4).std() * np.sqrt(365)
    found = _sized(close, target_volatility=0.2)
    assert found.iloc[:4].tolist() == [0, 0, 0, 0]  # no volatility is known yet
    assert volatility.iloc[4] > 0.2 > volatility.iloc[8]
    assert found.iloc[4] == pytest.approx(-0.2 / volatility.iloc[4], rel=1e-12)
    assert found.iloc[8] == -1


def test_tiny_sizes_are_kept_at_the_floor():
    close = _closes([100, 150, 90, 160, 80], freq="D")
    assert _sized(close, target_volatility=0.01).iloc[-1] == -0.05
    assert _sized(close, target_volatility=0.01, min_size=0.2).iloc[-1] == -0.2


def test_price_that_stands_still_is_held_in_full():
    assert _sized(_closes([100] * 6, freq="D"), target_volatility=0.2).iloc[-1] == -1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_positions_use_no_later_candle(rule):
    decided = _decide(CANDLES, rule)
    assert decided["position"].nunique() > 2  # or there would be nothing to see
    assert_causal(lambda candles: _decide(candles, rule), CANDLES, cuts=(0.3, 0.5, 0.8))


def _of_all_candles(candles):
    close = candles.pivot(index="date", columns="pair", values="close")
    return 0.5 / (close.pct_change().std() * np.sqrt(24 * 365))


def test_volatility_of_the_whole_sample_is_caught_as_a_leak():
    def leaking(candles):
        decided = _decide(candles, SignRule())
        return decided.assign(
            position=decided["position"] * decided["pair"].map(_of_all_candles(candles)).astype(float)
        )

    with pytest.raises(AssertionError, match="position looks into the future"):
        assert_causal(leaking, CANDLES)


def test_ranking_of_the_next_date_is_caught_as_a_leak():
    def leaking(candles):
        ahead = _momentum(candles)
        ahead["prediction"] = ahead.groupby("pair", observed=True)["prediction"].shift(-1)
        return decide_positions(ahead, TopKRule(k=2), allow_short=True)

    with pytest.raises(AssertionError, match="position looks into the future"):
        assert_causal(leaking, CANDLES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_order_of_the_rows_changes_nothing(rule):
    shuffled = CANDLES.sample(frac=1, random_state=0)
    predictions = _momentum(CANDLES).sample(frac=1, random_state=1)
    found = decide_positions(predictions, rule, allow_short=True, candles=shuffled, timeframe="1h")
    pd.testing.assert_frame_equal(found, _decide(CANDLES, rule))


def test_what_a_modifier_needs_must_be_given():
    with pytest.raises(ParameterError, match="`hold` needs the length of a candle; pass timeframe"):
        decide_positions(_momentum(CANDLES), SignRule(hold=2), allow_short=True)
    with pytest.raises(ParameterError, match="`target_volatility` needs candles"):
        decide_positions(_momentum(CANDLES), SignRule(target_volatility=0.5), allow_short=True, timeframe="1h")


def test_predictions_without_candles_are_refused():
    without = CANDLES[CANDLES["pair"] != "BB/USDT"]
    with pytest.raises(DataError, match="300 predictions of BB/USDT have no candle, the first at 2024-01-01"):
        decide_positions(
            _momentum(CANDLES), SignRule(target_volatility=0.5), allow_short=True, candles=without, timeframe="1h"
        )


def test_no_predictions_are_no_positions():
    none = _momentum(CANDLES).iloc[:0]
    for rule in RULES:
        assert decide_positions(none, rule, allow_short=True, candles=CANDLES, timeframe="1h").empty
