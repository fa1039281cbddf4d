"""Leverage, liquidation, funding and contracts, worked out by hand. One pair, 1000 at the start, no costs."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading import BacktestOptions, simulate, snapshot_markets
from agent_market.trading.signals import SIGNALS

PAIR = "A/USDT:USDT"
START = pd.Timestamp("2024-01-29", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta("1h")
TIER = {"minNotional": 0.0, "maxNotional": 50_000.0, "maintenanceMarginRate": 0.025, "maxLeverage": 20.0}
TIERS = [TIER | {"maintAmt": 0.0}]


def _run(opens, signals, *, funding=None, tiers=TIERS, contract=1.0, timeframe="1h", **options):
    """Candles of opens, each closing at the next one, and signals by candle number, such as {0: "enter_long"}."""
    opening = np.array(opens, dtype="float64")
    close = np.append(opening[1:], opening[-1])
    dates = pd.date_range(START, periods=len(opening), freq=timeframe.replace("m", "min"), unit="ms")
    candles = pd.DataFrame({"pair": PAIR, "date": dates, "open": opening, "close": close, "volume": 1.0})
    candles = candles.assign(high=np.maximum(opening, close), low=np.minimum(opening, close))
    table = pd.DataFrame({"pair": PAIR, "date": dates, **dict.fromkeys(SIGNALS, False), "size": 1.0})
    for number, names in signals.items():
        table.loc[number, names.split()] = True
    plain = {"starting_balance": 1000, "fee": 0, "slippage": 0, "max_open_trades": 1, "tradable_balance_ratio": 1}
    options = BacktestOptions(**plain | options)
    markets = snapshot_markets(candles, fee=0, trading_mode="futures")
    markets[PAIR]["leverageTiers"] = tiers
    markets[PAIR]["contractSize"] = contract
    markets[PAIR]["precision"]["amount"] = markets[PAIR]["limits"]["amount"]["min"] = 0.01
    return simulate(candles, table, markets, options, timeframe=timeframe, trading_mode="futures", funding=funding)


def _funding(hours, rate, mark=100.0):
    dates = pd.DatetimeIndex([START + hour * HOUR for hour in hours])
    return pd.DataFrame({"pair": PAIR, "date": dates, "funding_rate": rate, "mark_price": mark})


def test_leverage_multiplies_the_amount_and_the_ratio_of_profit_to_stake():
    result = _run([100, 100, 110, 110.25, 110.25], {0: "enter_long", 1: "exit_long"}, leverage=5)
    trade = result.trades.iloc[0]
    assert (trade["amount"], trade["stake_amount"], trade["leverage"]) == (50.0, 1000.0, 5.0)
    assert trade["profit_abs"] == 500.0
    assert trade["profit_ratio"] == pytest.approx(0.5)
    assert result.equity["equity"].tolist() == [1000, 1500, 1500, 1500, 1500]
    assert result.equity["exposure"].tolist() == pytest.approx([0, 5500 / 1500, 0, 0, 0])


def test_stop_loss_is_a_part_of_the_stake_not_of_the_price():
    result = _run([100, 100, 90, 90.25], {0: "enter_long"}, leverage=5, stoploss=-0.2)
    assert result.trades[["close_rate", "exit_reason"]].to_numpy().tolist() == [[96.0, "stop_loss"]]
    assert result.trades["profit_abs"].tolist() == [-200.0]


def test_leverage_is_cut_to_what_the_tier_of_the_stake_allows():
    tiers = [
        TIER | {"maxNotional": 5000.0, "maintAmt": 0.0},
        TIER | {"minNotional": 5000.0, "maxNotional": None, "maxLeverage": 4.0, "maintAmt": 0.0},
    ]
    result = _run([100, 100, 101, 101], {0: "enter_long"}, leverage=10, tiers=tiers)
    assert result.trades["leverage"].tolist() == [4.0]  # 1000 is above 5000 / 20


def test_stake_beyond_the_last_tier_is_refused_as_by_freqtrade():
    with pytest.raises(ParameterError, match=r"A/USDT:USDT grew beyond the last of its leverageTiers"):
        _run([100, 100, 101, 101], {0: "enter_long"}, tiers=[TIER | {"maxNotional": 10_000.0, "maintAmt": 0.0}])


def test_position_is_liquidated_before_its_margin_is_gone():
    result = _run([100, 100, 91, 91.25], {0: "enter_long"}, leverage=10)
    # (1000 - 100 * 100) / (100 * 0.025 - 100) = 92.3077, and 5 % of the way to it before: 92.6923
    trade = result.trades.iloc[0]
    assert (trade["close_rate"], trade["exit_reason"]) == (92.69, "liquidation")
    assert trade["profit_abs"] == -731.0


def test_short_is_liquidated_above():
    result = _run([100, 100, 108, 108.25], {0: "enter_short"}, leverage=10, liquidation_buffer=0)
    # (1000 + 100 * 100) / (100 * 0.025 + 100) = 107.3171
    assert result.trades[["close_rate", "exit_reason"]].to_numpy().tolist() == [[107.32, "liquidation"]]


def test_maintenance_amount_of_the_tier_moves_the_liquidation():
    result = _run([100, 100, 91, 91.25], {0: "enter_long"}, leverage=10, tiers=[TIER | {"maintAmt": 100.0}])
    # (1000 + 100 - 100 * 100) / -97.5 = 91.2821, and the buffer: 91.7179
    assert result.trades["close_rate"].tolist() == [91.72]


def test_stop_wins_over_a_liquidation_in_the_same_candle():
    result = _run([100, 100, 80, 80.25], {0: "enter_long"}, leverage=10, stoploss=-0.9)
    assert result.trades["exit_reason"].tolist() == ["stop_loss"]  # at 91, although 92.69 comes first


def test_funding_is_paid_by_longs_and_received_by_shorts():
    funding = _funding([2], 0.001)
    long = _run([100] * 5, {0: "enter_long"}, funding=funding).trades.iloc[0]
    short = _run([100] * 5, {0: "enter_short"}, funding=funding).trades.iloc[0]
    assert (long["funding_fees"], long["profit_abs"]) == (-1.0, -1.0)  # 0.001 * 100 * 10 coins
    assert (short["funding_fees"], short["profit_abs"]) == (1.0, 1.0)


def test_funding_counts_from_the_candle_of_the_entry_to_that_of_the_exit():
    signals = {0: "enter_long", 2: "exit_long"}  # held from candle 1 to candle 3
    paid = [_run([100] * 6, signals, funding=_funding([hour], 0.001)).trades["profit_abs"].sum() for hour in range(6)]
    assert paid == [0, -1, -1, -1, 0, 0]


def test_equity_shows_funding_from_the_candle_at_whose_open_it_is_paid():
    result = _run([100] * 5, {0: "enter_long"}, funding=_funding([2, 3], [0.001, -0.002]))
    assert result.equity["equity"].tolist() == [1000, 1000, 999, 1001, 1001]


def test_funding_within_a_long_candle_is_added_up():
    result = _run([100] * 4, {0: "enter_long"}, funding=_funding(range(16), 0.001), timeframe="4h")
    # entered at hour 4, closed at hour 12: the hours 4 to 12
    assert result.trades["funding_fees"].tolist() == [pytest.approx(-9.0)]


def test_funding_moves_the_price_at_which_a_profit_is_taken():
    result = _run([100, 100, 103, 108, 108.25], {0: "enter_long"}, minimal_roi={0: 0.05}, funding=_funding([2], 0.01))
    assert result.trades["close_rate"].tolist() == [106.0]  # 1 % is gone


def test_amount_is_whole_steps_of_contracts():
    result = _run([130, 130, 131, 131], {0: "enter_long"}, contract=10.0)
    assert result.trades["amount"].tolist() == [7.6]  # 7.69 coins are 0.769 contracts, in steps of 0.01


def test_opposite_signal_is_entered_at_the_open_of_the_candle_that_stopped_the_position():
    result = _run([100, 100, 85, 85.25, 85.25], {0: "enter_long", 1: "enter_short"}, stoploss=-0.1)
    assert result.trades["open_rate"].tolist() == [100.0, 85.0]
    assert result.trades["exit_reason"].tolist() == ["stop_loss", "force_exit"]
    assert result.trades["is_short"].tolist() == [False, True]


def test_funding_off_the_hour_twice_or_unknown_is_refused():
    late = _funding([2], 0.001).assign(date=START + pd.Timedelta("90min"))
    for table, message in (
        (late, "not on the full hour"),
        (pd.concat([_funding([2], 0.001)] * 2), "more than once"),
        (_funding([2], np.nan), "lacks the rate or the mark price"),
    ):
        with pytest.raises(DataError, match=message):
            _run([100] * 4, {0: "enter_long"}, funding=table)


def test_tiers_without_a_maintenance_amount_are_refused():
    with pytest.raises(DataError, match=r"leverageTiers of A/USDT:USDT need .*maintAmt as numbers"):
        _run([100] * 4, {0: "enter_long"}, tiers=[TIER | {"maintAmt": None}])
