"""Candle by candle or all at once: the same numbers."""

import time

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.factors import compute_factors, load_factors
from agent_market.factors.live import LiveFactors
from panels import random_candles

FACTORS = {
    "momentum": "log_ret(close, 5)",
    "trend": "ema(close, 6) / ema(close, 15) - 1",
    "spread": "ts_std(returns, 20)",
    "corr": "ts_corr(close, volume, 12)",
    "place": "ts_argmax(high, 17) / 17",
    "oldest": "decay_linear(close, 9) / close",
    "rank": "ts_rank(volume, 30)",
    "cross": "cs_rank(ts_mean(returns, 6))",
    "smooth": "ts_mean(cs_demean(ema(returns, 4)), 8)",
    "hour": "sin(hour)",
}


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    """Five pairs: one listed late, one with a hole that spans the live start, one with missing values."""
    table = random_candles(5, 360, seed=3)
    row = table.groupby("pair", observed=True).cumcount()
    pair = table["pair"].astype(str)
    table.loc[(pair == "CC/USDT") & row.isin([255, 256, 290]), ["close", "volume"]] = np.nan
    listed = (pair != "BB/USDT") | (row >= 262)
    traded = (pair != "DD/USDT") | ~row.between(247, 258)
    alone = (pair != "EE/USDT") | (row != 300)
    return table[listed & traded & alone].reset_index(drop=True)


@pytest.mark.parametrize(("compat", "max_gap"), [("sane", 0), ("sane", 2), ("qlib", 0)])
def test_each_update_equals_the_whole_recomputed_bit_for_bit(candles, compat, max_gap):
    whole = compute_factors(candles, FACTORS, timeframe="1h", max_gap=max_gap, compat=compat)
    dates = candles["date"].drop_duplicates().sort_values().tolist()
    start = dates[250]
    history = candles[candles["date"] < start].reset_index(drop=True)
    live = LiveFactors(history, FACTORS, timeframe="1h", max_gap=max_gap, compat=compat)
    for date in dates[250:]:
        found = live.update(candles[candles["date"] == date])
        expected = whole[whole["date"] == date].reset_index(drop=True)
        assert found["pair"].astype(str).tolist() == expected["pair"].astype(str).tolist()
        pd.testing.assert_frame_equal(found.iloc[:, 1:], expected.iloc[:, 1:], check_exact=True)


def test_several_candles_at_once_are_the_same_as_one_after_the_other(candles):
    whole = compute_factors(candles, FACTORS, timeframe="1h")
    start = candles["date"].min() + pd.Timedelta("250h")
    later = candles[candles["date"] >= start]
    live = LiveFactors(candles[candles["date"] < start].reset_index(drop=True), FACTORS, timeframe="1h")
    found = live.update(later.sample(frac=1, random_state=0))  # in any order
    expected = whole[whole["date"] >= start].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.iloc[:, 1:], expected.iloc[:, 1:], check_exact=True)


def test_the_memory_stays_bounded(candles):
    live = LiveFactors(candles.iloc[:250], FACTORS, timeframe="1h")
    one = random_candles(1, 2000)
    for i in range(250, 2000, 50):
        live.update(one.iloc[i : i + 50])
    assert live._dates["AA/USDT"].size <= live.look_back + 1


def test_a_candle_that_is_not_new_is_refused_and_nothing_is_remembered(candles):
    live = LiveFactors(candles.iloc[:250], FACTORS, timeframe="1h")
    with pytest.raises(DataError, match=r"AA/USDT: the candle of .* is not newer than the one of .* known already"):
        live.update(candles.iloc[240:251])
    found = live.update(candles.iloc[250:251])
    assert len(found) == 1


def test_an_update_of_a_hundred_pairs_costs_milliseconds():
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=420, freq="h", tz="UTC").as_unit("ms")
    names = [f"P{i:03d}/USDT" for i in range(100)]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (100, 420)), axis=1)).ravel()
    table = pd.DataFrame(
        {
            "pair": pd.Categorical(np.repeat(names, 420)),
            "date": np.tile(dates, 100),
            "open": close,
            "high": close * rng.uniform(1.01, 1.02, 42_000),
            "low": close * rng.uniform(0.98, 0.99, 42_000),
            "close": close * 1.001,
            "volume": rng.lognormal(3, 1, 42_000),
        }
    )
    factors = load_factors("single_pair")
    live = LiveFactors(table[table["date"] < dates[400]].reset_index(drop=True), factors, timeframe="1h")
    spent = []
    for date in dates[400:]:
        new = table[table["date"] == date]
        begin = time.process_time()
        found = live.update(new)
        spent.append(time.process_time() - begin)
    whole = compute_factors(table, factors, timeframe="1h")
    expected = whole[whole["date"] == dates[-1]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[[*factors]], expected[[*factors]], check_exact=True)
    assert np.median(spent) < 0.1  # about 20 ms on a quiet machine; computing all anew takes ten times that
