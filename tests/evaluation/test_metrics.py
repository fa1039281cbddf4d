import json
import math

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.evaluation import daily_returns, monthly_returns, trading_metrics

NO_TRADES = pd.DataFrame()


def account(values, freq="D", start="2024-01-01", **columns):
    dates = pd.date_range(start, periods=len(values), freq=freq, tz="UTC").as_unit("ms")
    return pd.DataFrame({"date": dates, "equity": np.asarray(values, dtype=float), **columns})


def two_trades():
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-02 00:00"], utc=True)
    return pd.DataFrame(
        {
            "pair": ["BTC/USDT", "ETH/USDT"],
            "amount": [2.0, 10.0],
            "open_rate": [50.0, 10.0],
            "close_rate": [55.0, 9.0],
            "fee_open": [0.001, 0.001],
            "fee_close": [0.001, 0.001],
            "profit_abs": [9.79, -10.19],
            "profit_ratio": [0.0979, -0.1019],
            "open_date": times,
            "close_date": times + pd.to_timedelta([6, 2], unit="h"),
        }
    )


def test_ratios_are_those_of_daily_returns_with_365_days():
    # Returns +10 %, -10 %, +20 %, worked out by hand.
    metrics = trading_metrics(account([110.0, 99.0, 118.8]), NO_TRADES, starting_balance=100.0, trading_days=365)
    mean = 0.2 / 3
    deviation = math.sqrt(((0.1 - mean) ** 2 + (-0.1 - mean) ** 2 + (0.2 - mean) ** 2) / 2)
    assert metrics["total_return"] == pytest.approx(0.188)
    assert metrics["volatility"] == pytest.approx(deviation * math.sqrt(365))
    assert metrics["sharpe"] == pytest.approx(mean / deviation * math.sqrt(365))
    assert metrics["sortino"] == pytest.approx(mean / math.sqrt(0.01 / 3) * math.sqrt(365))
    assert metrics["max_drawdown"] == pytest.approx(-0.1)


def test_equities_are_annualised_with_their_own_calendar():
    crypto, stocks = (
        trading_metrics(account([110.0, 99.0, 118.8]), NO_TRADES, starting_balance=100.0, trading_days=days)
        for days in (365, 252)
    )
    assert stocks["sharpe"] / crypto["sharpe"] == pytest.approx(math.sqrt(252 / 365))


def test_hourly_equity_gives_the_ratios_of_its_daily_closes():
    rng = np.random.default_rng(1)
    hourly = account(1000.0 * np.cumprod(1.0 + rng.normal(0.0, 0.01, 24 * 40)), freq="h")
    daily = hourly[hourly["date"].dt.hour == 23].assign(date=lambda f: f["date"].dt.floor("D"))
    from_hours = trading_metrics(hourly, NO_TRADES, starting_balance=1000.0, trading_days=365)
    from_days = trading_metrics(daily, NO_TRADES, starting_balance=1000.0, trading_days=365)
    for name in ("total_return", "annual_return", "volatility", "sharpe", "sortino"):
        assert from_hours[name] == pytest.approx(from_days[name], rel=1e-12)
    assert from_hours["max_drawdown"] <= from_days["max_drawdown"]


def test_compound_annual_return_and_calmar():
    growth = 1.001
    values = 100.0 * growth ** np.arange(1, 74)
    values[10] *= 0.9
    metrics = trading_metrics(account(values), NO_TRADES, starting_balance=100.0, trading_days=365)
    assert metrics["annual_return"] == pytest.approx(growth**365 - 1.0)
    fall = growth * 0.9 - 1.0
    assert metrics["max_drawdown"] == pytest.approx(fall)
    assert metrics["calmar"] == pytest.approx((growth**365 - 1.0) / -fall)


def test_weekly_candles_are_not_annualised_as_days():
    rng = np.random.default_rng(2)
    returns = rng.normal(0.01, 0.03, 60)
    metrics = trading_metrics(
        account(100.0 * np.cumprod(1.0 + returns), freq="7D"), NO_TRADES, starting_balance=100.0, trading_days=365
    )
    assert metrics["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365.25 / 7))


def test_drawdown_counts_from_the_starting_balance_and_within_the_day():
    values = [90.0, 80.0, 95.0, 101.0]
    metrics = trading_metrics(account(values, freq="h"), NO_TRADES, starting_balance=100.0, trading_days=365)
    assert metrics["max_drawdown"] == pytest.approx(-0.2)
    assert metrics["drawdown_days"] == pytest.approx(4 / 24)  # from the first open to the close of the fourth


def test_the_longest_drawdown_may_be_the_unfinished_one():
    values = [101.0, 100.0, 102.0, 90.0, 91.0, 92.0]
    metrics = trading_metrics(account(values), NO_TRADES, starting_balance=100.0, trading_days=365)
    assert metrics["drawdown_days"] == pytest.approx(3.0)


def test_trades_are_counted_net_of_fees():
    metrics = trading_metrics(account([100.0, 99.6]), two_trades(), starting_balance=100.0, trading_days=365)
    assert metrics["trades"] == 2
    assert metrics["win_rate"] == 0.5
    assert metrics["profit_factor"] == pytest.approx(9.79 / 10.19)
    assert metrics["expectancy"] == pytest.approx(-0.002)
    assert metrics["holding_hours"] == pytest.approx(4.0)
    fees = (100 + 110 + 100 + 90) * 0.001
    assert metrics["fees_paid"] == pytest.approx(fees)
    assert metrics["fee_share"] == pytest.approx(fees / 100.0)
    assert metrics["turnover"] == pytest.approx(400.0 / (2 / 365) / 99.8)


def test_open_trades_do_not_count_as_won_or_lost():
    trades = two_trades().assign(is_open=[False, True])
    metrics = trading_metrics(account([100.0, 99.6]), trades, starting_balance=100.0, trading_days=365)
    assert (metrics["trades"], metrics["win_rate"], metrics["profit_factor"]) == (1, 1.0, None)


def test_exposure_is_the_mean_over_candles():
    table = account([100.0, 100.0, 100.0, 100.0], freq="h", exposure=[0.0, 1.0, 0.5, 0.5])
    assert trading_metrics(table, NO_TRADES, starting_balance=100.0, trading_days=365)["exposure"] == 0.5


def test_an_account_that_never_moves_has_no_ratios_and_no_infinities():
    metrics = trading_metrics(account([100.0] * 50), NO_TRADES, starting_balance=100.0, trading_days=365)
    undefined = ("sharpe", "sortino", "calmar", "win_rate", "profit_factor", "expectancy", "holding_hours")
    assert [metrics[name] for name in undefined] == [None] * len(undefined)
    zero = ("total_return", "annual_return", "volatility", "max_drawdown", "drawdown_days", "turnover", "trades")
    assert [metrics[name] for name in zero] == [0.0] * len(zero)
    json.dumps(metrics, allow_nan=False)


def test_one_candle_gives_a_return_and_no_ratio():
    metrics = trading_metrics(account([105.0]), NO_TRADES, starting_balance=100.0, trading_days=365)
    assert metrics["total_return"] == pytest.approx(0.05)
    assert metrics["sharpe"] is None
    assert metrics["annual_return"] is None


def test_a_wiped_out_account_stays_at_zero():
    table = account([50.0, -10.0, 30.0, *[30.0] * 40])
    metrics = trading_metrics(table, NO_TRADES, starting_balance=100.0, trading_days=365)
    assert (metrics["total_return"], metrics["annual_return"], metrics["max_drawdown"]) == (-1.0, -1.0, -1.0)
    returns = daily_returns(table, starting_balance=100.0)
    assert returns.iloc[:3].tolist() == [-0.5, -1.0, 0.0]
    json.dumps(metrics, allow_nan=False)


def test_days_without_candles_are_not_invented():
    friday_and_monday = account([101.0, 102.0]).assign(date=pd.to_datetime(["2024-01-05", "2024-01-08"], utc=True))
    returns = daily_returns(friday_and_monday, starting_balance=100.0)
    assert returns.index.strftime("%m-%d").tolist() == ["01-05", "01-08"]
    assert returns.tolist() == pytest.approx([0.01, 102 / 101 - 1])


def test_monthly_returns_compound_to_the_total():
    rng = np.random.default_rng(5)
    table = account(100.0 * np.cumprod(1.0 + rng.normal(0, 0.02, 400)), start="2023-11-15")
    months = monthly_returns(table, starting_balance=100.0)
    assert months.index.tolist() == [2023, 2024]
    assert np.isnan(months.loc[2023, 10])
    assert (1.0 + months["year"]).prod() - 1.0 == pytest.approx(table["equity"].iloc[-1] / 100.0 - 1.0)
    assert (1.0 + months.loc[2023, [11, 12]]).prod() - 1.0 == pytest.approx(months.loc[2023, "year"])


@pytest.mark.parametrize(
    ("table", "balance", "error", "message"),
    [
        (account([]), 100.0, DataError, "no rows"),
        (account([100.0, np.nan]), 100.0, DataError, "1 values that are not finite"),
        (account([100.0, 101.0]).iloc[::-1], 100.0, DataError, "out of order"),
        (account([100.0, 101.0], model=["a", "b"]), 100.0, DataError, "2 models"),
        (account([100.0, 101.0]), 0.0, ParameterError, "starting balance is 0.0"),
    ],
)
def test_an_equity_table_that_cannot_be_scored_is_refused(table, balance, error, message):
    with pytest.raises(error, match=message):
        trading_metrics(table, NO_TRADES, starting_balance=balance, trading_days=365)


def test_real_candles_give_the_drawdown_of_a_plain_loop(shared_dir):
    candles = pd.read_feather(shared_dir / "market" / "binance" / "BTC_USDT-1h.feather").tail(3000)
    equity = candles[["date"]].assign(equity=1000.0 * candles["close"] / candles["open"].iloc[0])
    metrics = trading_metrics(equity, NO_TRADES, starting_balance=1000.0, trading_days=365)
    peak, deepest = 1000.0, 0.0
    for value in equity["equity"]:
        peak = max(peak, value)
        deepest = min(deepest, value / peak - 1.0)
    assert metrics["max_drawdown"] == pytest.approx(deepest, rel=1e-12)
