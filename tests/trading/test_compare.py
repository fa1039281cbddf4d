import json

import pandas as pd
import pytest

from agent_market.trading import compare_trades
from agent_market.trading.trades import as_trades


@pytest.fixture
def trades():
    date = pd.Timestamp("2024-01-01", tz="UTC")
    trade = {
        "pair": "A/USDT",
        "stake_amount": 100.0,
        "amount": 2.0,
        "open_date": date,
        "close_date": date + pd.Timedelta("2h"),
        "open_rate": 50.0,
        "close_rate": 55.0,
        "fee_open": 0.001,
        "fee_close": 0.001,
        "trade_duration": 120,
        "profit_ratio": 0.098,
        "profit_abs": 9.79,
        "exit_reason": "exit_signal",
        "enter_tag": "long",
        "is_short": False,
        "leverage": 1.0,
        "funding_fees": 0.0,
    }
    return as_trades([trade, trade | {"pair": "B/USDT", "profit_abs": -1.0}])


def test_same_trades_are_equal(trades):
    report = compare_trades(trades, trades.copy(), starting_balance=1000)
    assert report["verdict"] == "equal"
    assert report["matched"] == 2
    assert report["final_balance_embedded"] == report["final_balance_freqtrade"] == pytest.approx(1008.79)
    assert set(report["max_abs_difference"].values()) == {0.0}
    assert report["exit_reasons"] == {"exit_signal": [2, 2]}
    assert json.loads(json.dumps(report)) == report


def test_trade_that_only_one_engine_made_is_counted(trades):
    report = compare_trades(trades, trades.iloc[:1], starting_balance=1000)
    assert (report["matched"], report["only_embedded"], report["only_freqtrade"]) == (1, 1, 0)
    assert report["verdict"] == "1 of 2 trades differ"


def test_trade_that_closed_elsewhere_differs_on_both_sides(trades):
    later = trades.assign(close_date=trades["close_date"].where(trades["pair"] == "A/USDT", trades["open_date"]))
    report = compare_trades(trades, later, starting_balance=1000)
    assert (report["only_embedded"], report["only_freqtrade"]) == (1, 1)
    assert report["verdict"] == "2 of 3 trades differ"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("profit_abs", 9.7901),
        ("open_rate", 50.01),
        ("amount", 2.001),
        ("exit_reason", "roi"),
        ("leverage", 2.0),
        ("funding_fees", 0.1),
    ],
)
def test_matched_trade_with_other_contents_is_unlike(trades, column, value):
    other = trades.copy()
    other.loc[0, column] = value
    report = compare_trades(trades, other, starting_balance=1000)
    assert (report["matched"], report["matched_but_unlike"]) == (2, 1)
    assert report["verdict"] == "1 of 2 trades differ"


def test_exit_reasons_are_counted_in_both_engines(trades):
    other = trades.assign(exit_reason=["roi", "exit_signal"])
    report = compare_trades(trades, other, starting_balance=1000)
    assert report["exit_reasons"] == {"exit_signal": [2, 1], "roi": [0, 1]}


def test_last_digit_that_freqtrade_rounds_is_no_difference(trades):
    other = trades.assign(profit_abs=trades["profit_abs"] + 1e-8)
    assert compare_trades(trades, other, starting_balance=1000)["verdict"] == "equal"


def test_no_trades_on_both_sides_are_equal():
    report = compare_trades(as_trades([]), as_trades([]), starting_balance=1000)
    assert (report["verdict"], report["matched"], report["final_balance_embedded"]) == ("equal", 0, 1000)
    assert set(report["max_abs_difference"].values()) == {None}
