import math

import numpy as np
import pytest

from agent_market.evaluation.metrics import trading_metrics
from agent_market.trading import BacktestOptions, signals_of, simulate, snapshot_markets, sweep_costs

HOW = {"timeframe": "1h", "trading_mode": "spot"}
PAIRS = ["A/USDT", "B/USDT", "C/USDT"]


@pytest.fixture
def candles(random_candles):
    return random_candles(PAIRS, 24 * 60)


@pytest.fixture
def foresight(candles):
    """Positions that are right about the next candle a little more often than not."""
    rng = np.random.default_rng(4)
    ahead = candles.groupby("pair", observed=True)["open"].transform(lambda o: o.shift(-2) / o.shift(-1) - 1.0)
    drawn = ahead.fillna(0.0) + rng.normal(0.0, 0.04, len(candles))
    return candles[["pair", "date"]].assign(position=(drawn > 0.03).astype(float))


def _markets(candles):
    return snapshot_markets(candles, fee=0.001, trading_mode="spot")


def _sharpe(candles, positions, options):
    result = simulate(candles, signals_of(positions), _markets(candles), options, **HOW)
    return trading_metrics(result.equity, result.trades, starting_balance=options.starting_balance, trading_days=365)


def test_at_the_break_even_cost_nothing_is_left(candles, foresight):
    options = BacktestOptions(fee=0.0004, slippage=0.0001)
    swept = sweep_costs(candles, signals_of(foresight), _markets(candles), options, **HOW)
    assert 0.0005 < swept.break_even < 0.01
    for shift, sign in ((0.98, 1.0), (1.02, -1.0)):
        beside = options.model_copy(update={"fee": swept.break_even * shift, "slippage": 0.0})
        assert sign * _sharpe(candles, foresight, beside)["sharpe"] > 0.0
    at = options.model_copy(update={"fee": swept.break_even, "slippage": 0.0})
    assert _sharpe(candles, foresight, at)["sharpe"] == pytest.approx(0.0, abs=0.01)


def test_the_curve_has_what_whole_backtests_give(candles, foresight):
    options = BacktestOptions(fee=0.0004, slippage=0.0001)
    curve = sweep_costs(candles, signals_of(foresight), _markets(candles), options, **HOW).curve
    assert curve["multiple"].tolist() == [step / 4 for step in range(13)]
    for row in curve.iloc[[0, 4, 12]].itertuples():
        figures = _sharpe(candles, foresight, options.model_copy(update={"fee": row.cost, "slippage": 0.0}))
        assert row.cost == pytest.approx(0.0005 * row.multiple)
        assert row.total_return == pytest.approx(figures["total_return"], rel=1e-9)
        assert row.sharpe == pytest.approx(figures["sharpe"], rel=1e-9)


def test_for_small_equal_stakes_it_is_gross_profit_over_traded_value(candles, foresight):
    options = BacktestOptions(fee=0.0, slippage=0.0, stake_amount=50.0)
    trades = simulate(candles, signals_of(foresight), _markets(candles), options, **HOW).trades
    traded = (trades["amount"] * (trades["open_rate"] + trades["close_rate"])).sum()
    swept = sweep_costs(candles, signals_of(foresight), _markets(candles), options, **HOW)
    assert swept.break_even == pytest.approx(trades["profit_abs"].sum() / traded, rel=0.02)


def test_what_loses_before_costs_and_what_never_trades_have_none(candles, foresight):
    options = BacktestOptions()
    against = foresight.assign(position=np.roll(foresight["position"].to_numpy(), 7))
    worse = against.assign(position=np.where(foresight["position"] > 0, 0.0, against["position"]))
    flat = foresight.assign(position=0.0)
    for positions in (worse, flat):
        assert math.isnan(sweep_costs(candles, signals_of(positions), _markets(candles), options, **HOW).break_even)


def test_what_gains_at_the_highest_cost_has_no_end(written_candles, written_positions):
    days = 40
    candles = written_candles(A_USDT=[100.0 * 1.01**hour for hour in range(24 * days)])
    held = written_positions(A_USDT=[1.0] * (24 * days - 1) + [0.0])
    swept = sweep_costs(candles, signals_of(held), _markets(candles), BacktestOptions(), **HOW)
    assert swept.break_even == math.inf
