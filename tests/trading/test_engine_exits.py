"""Stops, trailing stops, ROI and exit signals, worked out by hand. One pair, 1000 at the start, no costs."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import ParameterError
from agent_market.trading import BacktestOptions, simulate, snapshot_markets
from agent_market.trading.signals import SIGNALS

START = pd.Timestamp("2024-01-29", tz="UTC").as_unit("ms")
PLAIN = {"starting_balance": 1000, "fee": 0, "slippage": 0, "max_open_trades": 1, "tradable_balance_ratio": 1}


def _run(rows, signals, *, pair="A/USDT", sizes=None, market=None, **options):
    """The trades of candles (open, high, low, close) and signals by candle number, such as {0: "enter_long"}."""
    dates = pd.date_range(START, periods=len(rows), freq="h", unit="ms")
    candles = pd.DataFrame(rows, columns=["open", "high", "low", "close"], dtype="float64")
    candles = candles.assign(pair=pair, date=dates, volume=1.0)
    table = pd.DataFrame({"pair": pair, "date": dates, **dict.fromkeys(SIGNALS, False), "size": sizes or 1.0})
    for number, names in signals.items():
        table.loc[number, names.split()] = True
    options = BacktestOptions(**PLAIN | options)
    mode = "futures" if ":" in pair else "spot"
    markets = snapshot_markets(candles, fee=options.fee, trading_mode=mode)
    markets[pair]["precision"]["amount"] = markets[pair]["limits"]["amount"]["min"] = 0.01
    markets[pair] |= market or {}
    return simulate(candles, table, markets, options, timeframe="1h", trading_mode=mode)


def _exits(result):
    trades = result.trades
    hours = (trades["close_date"] - START) // pd.Timedelta("1h")
    return list(zip(hours, trades["close_rate"], trades["exit_reason"], strict=True))


FLAT = (100, 100, 100, 100)
AT_100 = (100, 102, 99, 101)
END = (101, 101.5, 101, 101)


def test_stop_loss_is_filled_at_its_price():
    result = _run([FLAT, AT_100, (101, 101, 85, 95), END], {0: "enter_long"}, stoploss=-0.1)
    assert _exits(result) == [(2, 90.0, "stop_loss")]
    assert result.trades["profit_abs"].tolist() == [-100.0]
    assert result.equity["equity"].tolist() == [1000, 1010, 900, 900]


def test_stop_loss_that_the_price_jumped_over_is_filled_at_the_open():
    result = _run([FLAT, AT_100, (80, 84, 79, 82), END], {0: "enter_long"}, stoploss=-0.1)
    assert _exits(result) == [(2, 80.0, "stop_loss")]


def test_stop_loss_counts_in_the_candle_of_the_entry():
    result = _run([FLAT, (100, 101, 85, 95), END], {0: "enter_long"}, stoploss=-0.1)
    assert _exits(result) == [(1, 90.0, "stop_loss")]


def test_exit_signal_comes_before_a_stop_of_the_same_candle():
    rows = [FLAT, AT_100, (101, 101, 85, 95), END]
    result = _run(rows, {0: "enter_long", 1: "exit_long"}, stoploss=-0.1)
    assert _exits(result) == [(2, 101.0, "exit_signal")]


def test_stop_comes_before_a_profit_of_the_same_candle():
    result = _run([FLAT, AT_100, (101, 120, 85, 95), END], {0: "enter_long"}, stoploss=-0.1, minimal_roi={0: 0.05})
    assert _exits(result) == [(2, 90.0, "stop_loss")]


def test_stop_of_a_long_is_rounded_up_to_a_tick():
    result = _run([FLAT, AT_100, (101, 101.5, 85, 95), END], {0: "enter_long"}, stoploss=-0.0333)
    assert _exits(result) == [(2, 96.7, "stop_loss")]  # 96.67, and prices have one decimal


def test_trailing_stop_follows_the_high_and_may_be_hit_in_the_same_candle():
    rows = [FLAT, (100, 110, 100, 110), (110, 120, 107, 118), END]
    result = _run(rows, {0: "enter_long"}, stoploss=-0.1, trailing_stop=True)
    assert _exits(result) == [(2, 108.0, "trailing_stop_loss")]  # 10 % below 120, and the low comes after the high


def test_trailing_stop_does_not_fall_back():
    rows = [(110, 110, 110, 110), (110, 120, 109, 112), (112, 113, 110, 111), (111, 111, 105, 106), END]
    result = _run(rows, {0: "enter_long"}, stoploss=-0.1, trailing_stop=True)
    assert _exits(result) == [(3, 108.0, "trailing_stop_loss")]


def test_trailing_stop_hit_in_the_candle_of_the_entry_assumes_the_worst():
    result = _run([FLAT, (100, 120, 95, 118), END], {0: "enter_long"}, stoploss=-0.1, trailing_stop=True)
    assert _exits(result) == [(1, 95.0, "trailing_stop_loss")]  # 10 % below the open, but not below the low


def test_positive_trailing_distance_holds_beyond_the_offset():
    rows = [FLAT, (100, 104, 99, 104), (104, 110, 104, 109), END]
    trailing = {"trailing_stop": True, "trailing_stop_positive": 0.02, "trailing_stop_positive_offset": 0.05}
    result = _run(rows, {0: "enter_long"}, stoploss=-0.1, **trailing)
    assert _exits(result) == [(2, 107.8, "trailing_stop_loss")]  # 2 % below 110


def test_trailing_only_beyond_the_offset_leaves_the_stop_alone_before():
    rows = [FLAT, (100, 103, 99, 103), (103, 103, 91, 92), (92, 110.5, 92, 109), END]
    trailing = {
        "trailing_stop": True,
        "trailing_stop_positive": 0.02,
        "trailing_stop_positive_offset": 0.05,
        "trailing_only_offset_is_reached": True,
    }
    result = _run(rows, {0: "enter_long"}, stoploss=-0.1, **trailing)
    assert _exits(result) == [(3, 108.3, "trailing_stop_loss")]  # 10 % below 103 would have closed it
    without = _run(rows, {0: "enter_long"}, stoploss=-0.1, **trailing | {"trailing_only_offset_is_reached": False})
    assert _exits(without) == [(2, 92.7, "trailing_stop_loss")]


def test_roi_is_taken_at_its_price():
    result = _run([FLAT, AT_100, (101, 115, 100, 112), END], {0: "enter_long"}, minimal_roi={0: 0.1})
    assert _exits(result) == [(2, 110.0, "roi")]
    assert result.trades["profit_ratio"].tolist() == [pytest.approx(0.1)]


def test_roi_price_pays_the_costs_of_both_sides():
    result = _run([FLAT, AT_100, (101, 115.25, 100, 112), END], {0: "enter_long"}, minimal_roi={0: 0.1}, fee=0.01)
    assert _exits(result) == [(2, 112.22, "roi")]  # 100 * 1.01 * 1.1 / 0.99 = 112.2222


def test_roi_step_that_begins_at_an_open_beyond_it_is_taken_there():
    rows = [FLAT, AT_100, (101, 106, 100, 106), (107, 109, 106, 108), END]
    result = _run(rows, {0: "enter_long"}, minimal_roi={0: 0.1, 120: 0.05})
    assert _exits(result) == [(3, 107.0, "roi")]


def test_roi_of_minus_one_closes_at_the_open():
    result = _run([FLAT, AT_100, (95, 96, 94, 95), END], {0: "enter_long"}, minimal_roi={0: 0.5, 60: -1})
    assert _exits(result) == [(2, 95.0, "roi")]


def test_roi_waits_while_the_entry_signal_stands():
    rows = [FLAT, AT_100, (101, 115, 100, 112), (112, 113, 111, 112), END]
    result = _run(rows, {0: "enter_long", 1: "enter_long"}, minimal_roi={0: 0.1}, ignore_roi_if_entry_signal=True)
    assert _exits(result) == [(3, 111.0, "roi")]  # 110 is below the candle


def test_exit_signal_without_profit_waits():
    rows = [FLAT, AT_100, (98, 99, 97, 98), (103, 104, 102, 103), END]
    signals = {0: "enter_long", 1: "exit_long", 2: "exit_long"}
    assert _exits(_run(rows, signals, exit_profit_only=True)) == [(3, 103.0, "exit_signal")]
    assert _exits(_run(rows, signals)) == [(2, 98.0, "exit_signal")]
    late = _run(rows, signals, exit_profit_only=True, exit_profit_offset=0.03)
    assert _exits(late) == [(4, 101.0, "force_exit")]  # a profit of exactly the offset is not above it


def test_exit_signals_can_be_switched_off():
    result = _run([FLAT, AT_100, END, END], {0: "enter_long", 1: "exit_long"}, use_exit_signal=False)
    assert _exits(result) == [(3, 101.0, "force_exit")]


def test_exit_signal_together_with_its_entry_signal_does_nothing():
    rows = [FLAT, AT_100, END, END]
    assert _exits(_run(rows, {0: "enter_long", 1: "enter_long exit_long"})) == [(3, 101.0, "force_exit")]
    assert _run(rows, {0: "enter_long exit_long"}).trades.empty


def test_position_that_was_stopped_is_not_entered_again_in_the_same_candle():
    rows = [FLAT, AT_100, (101, 101, 85, 95), (95, 96, 94, 95), END]
    result = _run(rows, {0: "enter_long", 1: "enter_long", 2: "enter_long"}, stoploss=-0.1)
    assert _exits(result) == [(2, 90.0, "stop_loss"), (4, 101.0, "force_exit")]
    assert result.trades["open_rate"].tolist() == [100.0, 95.0]


def test_exit_at_a_price_outside_the_candle_is_not_filled_and_asked_for_again():
    """The tick is that of the entry's month, a whole number; the later candle trades between two ticks."""
    rows = [(100, 101, 99, 100), (100, 101, 99, 100), (100.4, 100.45, 100.35, 100.4), (100, 101, 99, 100), FLAT]
    dates = pd.date_range("2024-01-31 22:00", periods=len(rows), freq="h", tz="UTC", unit="ms")
    candles = pd.DataFrame(rows, columns=["open", "high", "low", "close"], dtype="float64")
    candles = candles.assign(pair="A/USDT", date=dates, volume=1.0)
    signals = candles[["pair", "date"]].assign(**dict.fromkeys(SIGNALS, False), size=1.0)
    signals.loc[0, "enter_long"] = True
    signals.loc[[1, 2], "exit_long"] = True
    markets = snapshot_markets(candles, fee=0, trading_mode="spot")
    markets["A/USDT"]["precision"]["price"] = 1.0
    result = simulate(candles, signals, markets, BacktestOptions(**PLAIN), timeframe="1h", trading_mode="spot")
    assert result.trades["close_date"].tolist() == [dates[3]]
    assert result.trades["close_rate"].tolist() == [100.0]


def test_fixed_stake_is_taken_or_nothing():
    rows = [FLAT, AT_100, END, END]
    assert _run(rows, {0: "enter_long"}, stake_amount=300).trades["stake_amount"].tolist() == [300.0]
    assert _run(rows, {0: "enter_long"}, stake_amount=1001).trades.empty


def test_size_scales_the_stake():
    result = _run([FLAT, AT_100, END, END], {0: "enter_long"}, sizes=[0.25, 1.0, 1.0, 1.0])
    assert result.trades["stake_amount"].tolist() == [250.0]
    assert _run([FLAT, AT_100, END], {0: "enter_long"}, sizes=[0.0, 1.0, 1.0]).trades.empty


def test_stake_is_cut_to_the_largest_that_the_market_takes():
    limits = {"amount": {"min": 0.01, "max": 4.0}, "cost": {"min": 5.0, "max": 600.0}}
    result = _run([FLAT, AT_100, END, END], {0: "enter_long"}, market={"limits": limits})
    assert result.trades["stake_amount"].tolist() == [400.0]  # 4 coins; the cost alone would allow 600


def test_no_stop_no_roi_table_beyond_the_room_for_it():
    roi = dict.fromkeys(range(65), 0.1)
    with pytest.raises(ParameterError, match=r"backtest.minimal_roi has 65 steps"):
        _run([FLAT, AT_100, END], {0: "enter_long"}, minimal_roi=roi)


def _draw(seed, *, length=150):
    rng = np.random.default_rng(seed)
    walk = 100 * np.exp(rng.normal(0, 0.01, (length, 4)).ravel().cumsum()).reshape(length, 4)
    prices = walk.round(2)
    rows = np.column_stack([prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, 3]])
    names = ["enter_long", "enter_short"]
    return rows, {i: names[rng.integers(2)] for i in range(length) if rng.random() < 0.3}


EVERYTHING = {
    "stoploss": -0.2,
    "trailing_stop": True,
    "trailing_stop_positive": 0.05,
    "trailing_stop_positive_offset": 0.1,
    "minimal_roi": {0: 0.3, 300: 0.1},
    "leverage": 5,
    "max_open_trades": 1,
}


@pytest.mark.parametrize("seed", range(5))
def test_stops_and_profits_up_to_a_candle_use_no_later_candle(seed):
    rows, signals = _draw(seed)
    scrambled = rows.copy()
    scrambled[100:] = (scrambled[100:] * 3).round(2)
    one, other = (_run(table, signals, pair="A/USDT:USDT", **EVERYTHING) for table in (rows, scrambled))
    cut = START + pd.Timedelta(hours=100)
    closed = [result.trades[result.trades["close_date"] < cut].reset_index(drop=True) for result in (one, other)]
    pd.testing.assert_frame_equal(*closed, check_exact=True)
    assert {"trailing_stop_loss"} < set(closed[0]["exit_reason"])
    pd.testing.assert_frame_equal(one.equity[:100], other.equity[:100], check_exact=True)
    assert not one.equity[100:].equals(other.equity[100:])
