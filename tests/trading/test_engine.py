import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading import BacktestOptions, signals_of, simulate, snapshot_markets

START = pd.Timestamp("2024-01-29", tz="UTC")
HOUR = pd.Timedelta("1h")
PLAIN = BacktestOptions(starting_balance=1000, fee=0, slippage=0, max_open_trades=1, tradable_balance_ratio=1)


def _simulate(candles, positions, options, *, mode="spot", step=0.01):
    markets = snapshot_markets(candles, fee=options.fee, trading_mode=mode)
    for market in markets.values():
        market["precision"]["amount"] = market["limits"]["amount"]["min"] = step
    return simulate(candles, signals_of(positions), markets, options, timeframe="1h", trading_mode=mode)


def _summary(trades):
    columns = ["pair", "opened", "closed", "open_rate", "close_rate", "exit_reason"]
    hours = {"opened": (trades["open_date"] - START) // HOUR, "closed": (trades["close_date"] - START) // HOUR}
    return trades.assign(**hours)[columns].to_numpy().tolist()


def test_position_is_opened_and_closed_at_the_open_after_its_decision(written_candles, written_positions):
    result = _simulate(
        written_candles(A_USDT=[100, 110, 121, 120, 130]), written_positions(A_USDT=[1, 1, 0, 0, 0]), PLAIN
    )
    assert _summary(result.trades) == [["A/USDT", 1, 3, 110.0, 120.0, "exit_signal"]]
    # 1000 / 110 = 9.0909..., truncated to 9.09
    trade = result.trades.iloc[0]
    assert trade["amount"] == 9.09
    assert trade["stake_amount"] == 999.9
    assert trade["profit_abs"] == 90.9
    assert trade["profit_ratio"] == pytest.approx(90.9 / 999.9)
    assert trade["trade_duration"] == 120


def test_fee_and_slippage_are_both_paid_on_both_sides(written_candles, written_positions):
    options = PLAIN.model_copy(update={"fee": 0.01, "slippage": 0.005})
    result = _simulate(written_candles(A_USDT=[100, 100, 200, 200]), written_positions(A_USDT=[1, 0, 0, 0]), options)
    # 10 coins: bought for 1000 * 1.015, sold for 2000 * 0.985
    trade = result.trades.iloc[0]
    assert trade["profit_abs"] == 1970 - 1015
    assert trade["profit_ratio"] == pytest.approx(955 / 1015)
    assert trade["fee_open"] == trade["fee_close"] == 0.015
    assert result.equity["equity"].tolist() == [1000, 1000 + 2000 - 1015, 1955, 1955]


def test_scarce_slots_go_to_the_earlier_pair_of_the_alphabet(written_candles, written_positions):
    result = _simulate(
        written_candles(B_USDT=[10, 10, 10, 10], A_USDT=[20, 20, 20, 20]),
        written_positions(B_USDT=[1, 1, 1, 1], A_USDT=[1, 1, 1, 1]),
        PLAIN,
    )
    assert _summary(result.trades) == [["A/USDT", 1, 3, 20.0, 20.0, "force_exit"]]
    assert result.equity["n_open"].tolist() == [0, 1, 1, 0]


def test_freed_slot_is_used_by_a_later_pair_at_the_same_open(written_candles, written_positions):
    result = _simulate(
        written_candles(A_USDT=[10] * 6, B_USDT=[20] * 6),
        written_positions(A_USDT=[1, 1, 0, 0, 1, 0], B_USDT=[1] * 6),
        PLAIN,
    )
    assert _summary(result.trades) == [
        ["A/USDT", 1, 3, 10.0, 10.0, "exit_signal"],
        ["B/USDT", 3, 5, 20.0, 20.0, "force_exit"],  # holds the slot, so A comes too late
    ]


def test_pairs_with_a_position_are_processed_before_those_without(written_candles, written_positions):
    """B's exit at an open frees the slot for A at that open, although A is earlier in the alphabet."""
    result = _simulate(
        written_candles(A_USDT=[10] * 5, B_USDT=[20] * 5),
        written_positions(A_USDT=[0, 0, 1, 1, 1], B_USDT=[1, 1, 0, 0, 0]),
        PLAIN,
    )
    assert _summary(result.trades) == [
        ["B/USDT", 1, 3, 20.0, 20.0, "exit_signal"],
        ["A/USDT", 3, 4, 10.0, 10.0, "force_exit"],
    ]


def test_all_pairs_share_one_account_and_profits_are_reinvested(written_candles, written_positions):
    options = PLAIN.model_copy(update={"max_open_trades": 2})
    result = _simulate(
        written_candles(A_USDT=[10, 10, 20, 20, 20], B_USDT=[50, 50, 50, 50, 50]),
        written_positions(A_USDT=[1, 0, 0, 0, 0], B_USDT=[0, 0, 1, 1, 1]),
        options,
    )
    # A: half of 1000, doubled; B: half of the 1500 that the account then holds
    assert result.trades["stake_amount"].tolist() == [500.0, 750.0]
    assert result.equity["equity"].tolist() == [1000, 1500, 1500, 1500, 1500]


def test_no_more_than_the_tradable_part_of_the_balance_is_staked(written_candles, written_positions):
    options = PLAIN.model_copy(update={"max_open_trades": 2, "tradable_balance_ratio": 0.8})
    result = _simulate(
        written_candles(A_USDT=[10] * 4, B_USDT=[10] * 4), written_positions(A_USDT=[1] * 4, B_USDT=[1] * 4), options
    )
    assert result.trades["stake_amount"].tolist() == [400.0, 400.0]
    assert result.equity["exposure"].tolist() == [0, 0.8, 0.8, 0]


def test_stake_below_the_market_minimum_opens_nothing(written_candles, written_positions):
    # the minimum of 5 grows to 5 * 1.05 / 0.95 = 5.526 with freqtrade's reserve; 4.25 is more than 30 % short of it
    for share, trades in ((4.25, 0), (4.26, 1)):
        options = PLAIN.model_copy(update={"starting_balance": 2 * share, "max_open_trades": 2})
        result = _simulate(written_candles(A_USDT=[0.11] * 4), written_positions(A_USDT=[1] * 4), options)
        assert len(result.trades) == trades
    assert result.trades["stake_amount"].iloc[0] == pytest.approx(5.526, abs=2e-3)


def test_short_earns_what_the_price_falls(written_candles, written_positions):
    options = PLAIN.model_copy(update={"fee": 0.01})
    result = _simulate(
        written_candles(A_USDT_USDT=[100, 100, 80, 60, 60]),
        written_positions(A_USDT_USDT=[-1, -1, 0, 0, 0]),
        options,
        mode="futures",
    )
    assert _summary(result.trades) == [["A/USDT:USDT", 1, 3, 100.0, 60.0, "exit_signal"]]
    # 10 coins: sold for 1000 * 0.99, bought back for 600 * 1.01
    trade = result.trades.iloc[0]
    assert trade["is_short"]
    assert trade["profit_abs"] == 990 - 606
    assert trade["profit_ratio"] == pytest.approx(384 / 990)
    assert result.equity["equity"].tolist() == [1000, 1000 + 990 - 800, 1000 + 990 - 600, 1384, 1384]
    assert result.equity["exposure"].tolist() == pytest.approx([0, 800 / 1190, 600 / 1390, 0, 0])


def test_short_is_flat_in_spot(written_candles, written_positions):
    result = _simulate(written_candles(A_USDT=[100] * 4), written_positions(A_USDT=[-1] * 4), PLAIN)
    assert result.trades.empty
    assert result.equity["equity"].tolist() == [1000] * 4


def test_reversal_closes_and_opens_at_the_same_open(written_candles, written_positions):
    result = _simulate(
        written_candles(A_USDT_USDT=[100, 100, 110, 110, 99]),
        written_positions(A_USDT_USDT=[1, -1, -1, -1, 0]),
        PLAIN,
        mode="futures",
    )
    assert _summary(result.trades) == [
        ["A/USDT:USDT", 1, 2, 100.0, 110.0, "exit_signal"],
        ["A/USDT:USDT", 2, 4, 110.0, 99.0, "force_exit"],
    ]
    assert result.trades["is_short"].tolist() == [False, True]
    assert result.equity["n_open"].tolist() == [0, 1, 1, 1, 0]


def test_decision_of_the_last_candle_is_never_traded(written_candles, written_positions):
    result = _simulate(written_candles(A_USDT=[100] * 4), written_positions(A_USDT=[0, 0, 1, 1]), PLAIN)
    assert result.trades.empty


def test_pair_that_ends_early_is_closed_at_its_own_last_open(written_candles, written_positions):
    result = _simulate(
        written_candles(A_USDT=[100, 100, 120], B_USDT=[10] * 6),
        written_positions(A_USDT=[1, 1, 1], B_USDT=[1] * 6),
        PLAIN,
    )
    # freqtrade books it at the end of the run: the slot stays taken, so B never trades
    assert _summary(result.trades) == [["A/USDT", 1, 2, 100.0, 120.0, "force_exit"]]
    assert result.equity["equity"].tolist() == [1000, 1200, 1200, 1200, 1200, 1200]


def test_pair_that_starts_late_is_first_traded_at_its_second_candle(written_candles, written_positions):
    candles, positions = written_candles(A_USDT=[10] * 6, B_USDT=[10] * 6), written_positions(B_USDT=[1] * 6)
    late = (candles["pair"] == "B/USDT") & (candles["date"] < START + 2 * HOUR)
    result = _simulate(candles[~late], pd.concat([positions, written_positions(A_USDT=[0] * 6)]), PLAIN)
    assert _summary(result.trades) == [["B/USDT", 3, 5, 10.0, 10.0, "force_exit"]]


def test_hole_in_the_candles_repeats_the_last_close_and_is_flat(written_candles, written_positions):
    candles, positions = written_candles(A_USDT=[100, 110, 120, 130, 140, 150]), written_positions(A_USDT=[1] * 6)
    hole = START + 3 * HOUR
    result = _simulate(candles[candles["date"] != hole], positions[positions["date"] != hole], PLAIN)
    # candle 2 closes at 130, which is the open of the filled candle 3; its missing position is flat at candle 4
    assert _summary(result.trades) == [["A/USDT", 1, 4, 110.0, 140.0, "exit_signal"]]
    assert len(result.equity) == 6
    assert result.equity["equity"].iloc[3] == pytest.approx(1000 + 9.09 * (130 - 110))


def test_position_that_lost_99_percent_is_closed_inside_the_candle(written_candles, written_positions):
    result = _simulate(
        written_candles(A_USDT_USDT=[100, 100, 150, 250, 250]),
        written_positions(A_USDT_USDT=[-1, -1, 0, 0, 0]),
        PLAIN,
        mode="futures",
    )
    assert _summary(result.trades) == [["A/USDT:USDT", 1, 2, 100.0, 199.0, "stop_loss"]]
    assert result.trades["profit_abs"].iloc[0] == -990


def test_stop_that_the_price_jumped_over_is_filled_at_the_open(written_candles, written_positions):
    candles = written_candles(A_USDT_USDT=[100, 100, 100, 300, 300])
    candles.loc[2, ["high", "close"]] = 100.0  # no trade between 100 and 300
    result = _simulate(candles, written_positions(A_USDT_USDT=[-1, -1, -1, 0, 0]), PLAIN, mode="futures")
    assert _summary(result.trades) == [["A/USDT:USDT", 1, 3, 100.0, 300.0, "stop_loss"]]


def test_window_reaches_from_the_first_to_the_last_position(written_candles, written_positions):
    positions = written_positions(A_USDT=[0, 1, 1, 1, 1, 0])
    result = _simulate(written_candles(A_USDT=[100] * 6), positions.iloc[1:4], PLAIN)
    assert _summary(result.trades) == [["A/USDT", 2, 3, 100.0, 100.0, "force_exit"]]
    assert result.equity["date"].tolist() == positions["date"].iloc[1:4].tolist()


def test_equity_ends_at_the_balance_plus_all_profits(random_candles, random_positions):
    candles = random_candles(["A/USDT", "B/USDT", "C/USDT"], 300)
    result = _simulate(candles, random_positions(candles), BacktestOptions(max_open_trades=2))
    assert len(result.trades) > 10
    assert result.equity["equity"].iloc[-1] == pytest.approx(10_000 + result.trades["profit_abs"].sum())
    assert result.equity["n_open"].max() == 2


def test_result_does_not_hang_on_the_order_of_rows_and_repeats(random_candles, random_positions):
    candles = random_candles(["A/USDT", "B/USDT", "C/USDT"], 200)
    positions = random_positions(candles)
    first = _simulate(candles, positions, BacktestOptions())
    again = _simulate(
        candles.sample(frac=1, random_state=0), positions.sample(frac=1, random_state=1), BacktestOptions()
    )
    pd.testing.assert_frame_equal(first.trades, again.trades, check_exact=True)
    pd.testing.assert_frame_equal(first.equity, again.equity, check_exact=True)


def _past_is_unmoved(candles, run) -> bool:
    """Whether the account up to a candle stays the same when all later candles are others."""
    cut = START + 80 * HOUR
    scrambled = candles.copy()
    prices = ["open", "high", "low", "close"]
    scrambled.loc[scrambled["date"] > cut, prices] = (scrambled.loc[scrambled["date"] > cut, prices] * 3.0).round(2)
    one, other = run(candles), run(scrambled)
    same_equity = one.equity[one.equity["date"] <= cut].equals(other.equity[other.equity["date"] <= cut])
    closed = [result.trades[result.trades["close_date"] <= cut].reset_index(drop=True) for result in (one, other)]
    return same_equity and closed[0].equals(closed[1])


def test_account_up_to_a_candle_uses_no_later_candle(random_candles, random_positions):
    candles = random_candles(["A/USDT", "B/USDT"], 120)
    positions = random_positions(candles)
    assert _past_is_unmoved(candles, lambda table: _simulate(table, positions, BacktestOptions()))


def test_positions_taken_from_later_candles_are_caught_as_a_leak(random_candles):
    candles = random_candles(["A/USDT", "B/USDT"], 120)

    def leaking(table):
        later = table.groupby("pair", observed=True)["close"].shift(-5)
        return _simulate(table, table.assign(position=np.sign(later - table["close"])), BacktestOptions())

    assert not _past_is_unmoved(candles, leaking)


def test_pair_without_candles_is_refused_by_name(written_candles, written_positions):
    with pytest.raises(DataError, match=r"without candles: B/USDT; add them to market.pairs"):
        _simulate(written_candles(A_USDT=[1.5] * 3), written_positions(A_USDT=[1] * 3, B_USDT=[1] * 3), PLAIN)


def test_pair_paid_in_another_currency_is_refused(written_candles, written_positions):
    with pytest.raises(ParameterError, match=r"set backtest.stake_currency to BTC"):
        _simulate(written_candles(ETH_BTC=[0.05] * 3), written_positions(ETH_BTC=[1] * 3), PLAIN)


def test_candles_of_another_timeframe_are_refused(written_candles, written_positions):
    candles = written_candles(A_USDT=[1.5] * 4)
    candles["date"] = candles["date"].where(candles.index != 2, candles["date"] - pd.Timedelta("20min"))
    with pytest.raises(DataError, match=r"A/USDT at 2024-01-29 01:40.*not on the grid of 1h candles"):
        _simulate(candles, written_positions(A_USDT=[1] * 4), PLAIN)


def test_missing_price_is_refused_with_its_place(written_candles, written_positions):
    candles = written_candles(A_USDT=[1.5] * 4)
    candles.loc[2, "low"] = np.nan
    with pytest.raises(DataError, match="price of A/USDT at 2024-01-29 02:00:00"):
        _simulate(candles, written_positions(A_USDT=[1] * 4), PLAIN)


def test_no_positions_and_repeated_positions_are_refused(written_candles, written_positions):
    candles, positions = written_candles(A_USDT=[1.5] * 4), written_positions(A_USDT=[1] * 4)
    with pytest.raises(DataError, match="no rows"):
        _simulate(candles, positions.iloc[:0], PLAIN)
    with pytest.raises(DataError, match="one model at a time"):
        _simulate(candles, pd.concat([positions, positions]), PLAIN)
