"""The causality check itself: it passes what is causal and catches each way of looking ahead."""

import pandas as pd
import pytest

from agent_market.factors import compute_factors
from agent_market.factors import engine as factor_engine
from agent_market.factors.tree import Call, Field, Number
from causality import assert_causal
from panels import random_candles


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return random_candles(3, 100)


def with_column(function):
    def compute(candles: pd.DataFrame) -> pd.DataFrame:
        return candles[["pair", "date"]].assign(value=function(candles, candles.groupby("pair", observed=True)))

    return compute


def test_a_causal_computation_passes(candles):
    assert_causal(with_column(lambda c, g: g["close"].transform(lambda x: x.rolling(5).mean())), candles)


LEAKS = {
    "full-sample z-score": lambda c, g: g["close"].transform(lambda x: (x - x.mean()) / x.std()),
    "lead": lambda c, g: g["close"].shift(-1),
    "lead hidden in a mean": lambda c, g: g["close"].transform(lambda x: x.rolling(9, center=True).mean()),
    "backward fill": lambda c, g: c["close"].where(c["date"].dt.hour == 0).groupby(c["pair"], observed=True).bfill(),
    "rank over all time": lambda c, g: g["close"].rank(pct=True),
    "mean over all pairs and dates": lambda c, g: c["close"] - c["close"].mean(),
    "NaN mask from the future": lambda c, g: c["close"].where(g["close"].shift(-1) > c["close"]),
    "lead of the volume": lambda c, g: g["volume"].shift(-1) > c["volume"],
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_caught_and_named_with_its_column_and_date(candles, name):
    with pytest.raises(AssertionError, match=r"value looks into the future.*'pair'.*'date': Timestamp"):
        assert_causal(with_column(LEAKS[name]), candles)


def test_rows_that_come_or_go_with_the_future_are_caught(candles):
    def drop_low(table):
        return table[table["close"] > table["close"].quantile(0.3)][["pair", "date", "close"]]

    with pytest.raises(AssertionError, match="rows come or go"):
        assert_causal(drop_low, candles)


def test_the_expression_engine_without_its_lag_check_is_caught(candles, monkeypatch):
    monkeypatch.setattr(factor_engine, "parse", lambda text: Call("delay", (Field("close"), Number(-1.0))))
    with pytest.raises(AssertionError, match="f looks into the future"):
        assert_causal(lambda c: compute_factors(c, {"f": "Ref($close, -1)"}, timeframe="1h"), candles)


def test_a_computation_that_returns_nothing_to_check_is_no_pass(candles):
    with pytest.raises(AssertionError, match="nothing to check"):
        assert_causal(lambda c: c[["pair", "date"]], candles)
    with pytest.raises(AssertionError, match="nothing to check"):
        assert_causal(lambda c: c.iloc[:0][["pair", "date", "close"]], candles)
