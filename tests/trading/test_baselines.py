import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.trading import BacktestOptions, always_flat, buy_and_hold, snapshot_markets

START = pd.Timestamp("2024-01-29", tz="UTC")
HOUR = pd.Timedelta("1h")


def test_buy_and_hold_buys_equal_stakes_at_the_first_open_and_sells_at_the_last(written_candles):
    candles = written_candles(A_USDT=[50, 100, 150, 200, 900], B_USDT=[10, 20, 20, 10, 90])
    markets = snapshot_markets(candles, fee=0, trading_mode="spot")
    options = BacktestOptions(starting_balance=1000, fee=0.01, slippage=0, tradable_balance_ratio=1, max_open_trades=1)
    result = buy_and_hold(candles, markets, options, start=START, end=START + 3 * HOUR, timeframe="1h")
    # 5 coins at 100 sold at 200, 25 coins at 20 sold at 10, 1 % of each side
    assert result.trades["stake_amount"].tolist() == [500.0, 500.0]
    assert result.trades["profit_abs"].tolist() == [990.0 - 505.0, 247.5 - 505.0]
    assert result.equity["date"].tolist() == [START + i * HOUR for i in range(4)]
    assert result.equity["equity"].tolist() == [1000, 1000 + (750 + 500) - 1010, 1000 + (1000 + 250) - 1010, 1227.5]
    assert result.equity["exposure"].iloc[1] == pytest.approx(1250 / 1240)


def test_buy_and_hold_of_futures_is_long(written_candles):
    candles = written_candles(A_USDT_USDT=[100, 100, 120, 120])
    markets = snapshot_markets(candles, fee=0, trading_mode="futures")
    end = candles["date"].max()
    result = buy_and_hold(candles, markets, BacktestOptions(fee=0, slippage=0), start=START, end=end, timeframe="1h")
    assert result.trades["profit_abs"].tolist() == [9900 * 0.2]


def test_buy_and_hold_knows_no_stop_no_roi_no_leverage_and_no_fixed_stake(written_candles):
    candles = written_candles(AAA_USDT_USDT=[100, 100, 120, 60, 90])
    markets = snapshot_markets(candles, fee=0, trading_mode="futures")
    options = BacktestOptions(fee=0, slippage=0, stoploss=-0.1, minimal_roi={0: 0.01}, leverage=10, stake_amount=50)
    span = {"start": START, "end": candles["date"].max(), "timeframe": "1h"}
    (trade,) = buy_and_hold(candles, markets, options, **span).trades.to_dict("records")
    assert trade["profit_abs"] == pytest.approx(9900 * -0.1)


def test_buy_and_hold_of_futures_pays_funding(written_candles):
    candles = written_candles(AAA_USDT_USDT=[100, 100, 100, 100])
    markets = snapshot_markets(candles, fee=0, trading_mode="futures")
    rates = {"pair": "AAA/USDT:USDT", "date": [START + 2 * HOUR], "funding_rate": 0.01, "mark_price": 100.0}
    span = {"start": START, "end": candles["date"].max(), "timeframe": "1h"}
    options = BacktestOptions(fee=0, slippage=0)
    (trade,) = buy_and_hold(candles, markets, options, **span, funding=pd.DataFrame(rates)).trades.to_dict("records")
    assert trade["profit_abs"] == pytest.approx(-99)


def test_buy_and_hold_does_not_sell_in_a_hole_of_the_candles(written_candles):
    candles = written_candles(A_USDT=[10.5, 11, 12, 13, 14]).drop(index=2)
    markets = snapshot_markets(candles, fee=0, trading_mode="spot")
    end = candles["date"].max()
    result = buy_and_hold(candles, markets, BacktestOptions(), start=START, end=end, timeframe="1h")
    assert result.trades[["open_rate", "close_rate"]].to_numpy().tolist() == [[11.0, 14.0]]


def test_buy_and_hold_without_candles_is_refused(written_candles):
    candles = written_candles(A_USDT=[100.0] * 3)
    with pytest.raises(DataError, match="no candles from 2030"):
        buy_and_hold(
            candles,
            snapshot_markets(candles, fee=0, trading_mode="spot"),
            BacktestOptions(),
            start=pd.Timestamp("2030-01-01", tz="UTC"),
            end=pd.Timestamp("2030-01-02", tz="UTC"),
            timeframe="1h",
        )


def test_always_flat_keeps_the_starting_balance():
    result = always_flat(BacktestOptions(starting_balance=500), start=START, end=START + 2 * HOUR, timeframe="1h")
    assert result.trades.empty
    assert result.equity["date"].tolist() == [START, START + HOUR, START + 2 * HOUR]
    assert result.equity[["equity", "exposure", "n_open"]].to_numpy().tolist() == [[500, 0, 0]] * 3
