"""Predictions become positions, positions become trades: in the embedded engine and in freqtrade itself."""

from agent_market.trading.baselines import always_flat, buy_and_hold
from agent_market.trading.compare import compare_trades
from agent_market.trading.engine import BacktestResult, simulate
from agent_market.trading.freqtrade import FreqtradeResult, run_freqtrade
from agent_market.trading.markets import snapshot_markets
from agent_market.trading.options import BacktestOptions, PositionRule, QuantileRule, SignRule, ThresholdRule
from agent_market.trading.positions import decide_positions, wait_out_gaps

__all__ = [
    "BacktestOptions",
    "BacktestResult",
    "FreqtradeResult",
    "PositionRule",
    "QuantileRule",
    "SignRule",
    "ThresholdRule",
    "always_flat",
    "buy_and_hold",
    "compare_trades",
    "decide_positions",
    "run_freqtrade",
    "simulate",
    "snapshot_markets",
    "wait_out_gaps",
]
