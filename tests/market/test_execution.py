"""Prices and funding beside the features."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.market.execution import ENTERED, HELD, ExecutionPrices

DATES = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 04:00", "2024-01-01 12:00", "2024-01-01 16:00"], utc=True)


def candles(pairs=("A", "B")):
    table = pd.concat([pd.DataFrame({"pair": pair, "date": DATES}) for pair in pairs], ignore_index=True)
    return table.assign(open=1.0, high=2.0, low=0.5, close=1.5).astype({"pair": "category"})


def funding(pair, *dates, rate=0.01, mark=100.0):
    when = pd.to_datetime(list(dates), utc=True)
    return pd.DataFrame({"pair": pair, "date": when, "funding_rate": rate, "mark_price": mark})


def test_funding_at_an_open_is_paid_by_who_holds_then_and_inside_a_candle_by_who_held_in_it():
    paid = funding("B", "2024-01-01 04:00", "2024-01-01 05:00", "2024-01-01 13:00", "2024-01-01 15:00")
    table = ExecutionPrices.from_candles(candles(), paid, timeframe="4h").funding
    assert table[:4].tolist() == [[0.0, 0.0]] * 4
    # 5:00 lies in the candle of 4:00, after which one is missing: nobody holds across that
    assert table[4:, HELD].tolist() == [0.0, 1.0, 0.0, 2.0]
    assert table[4:, ENTERED].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_funding_after_the_last_candle_or_of_another_pair_is_ignored():
    paid = pd.concat([funding("B", "2024-01-01 17:00"), funding("C", "2024-01-01 04:00")])
    assert not ExecutionPrices.from_candles(candles(), paid, timeframe="4h").funding.any()


def test_prices_and_rates_must_be_there():
    broken = candles()
    broken.loc[6, "low"] = np.nan
    with pytest.raises(DataError, match="a price of B at 2024-01-01 12:00"):
        ExecutionPrices.from_candles(broken, timeframe="4h")
    with pytest.raises(DataError, match=r"the funding of B at 2024-01-01 04:00.* lacks the rate"):
        ExecutionPrices.from_candles(candles(), funding("B", "2024-01-01 04:00", mark=np.nan), timeframe="4h")
