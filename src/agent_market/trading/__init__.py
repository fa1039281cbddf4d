"""Predictions become positions, positions become trades: in the embedded engine and in freqtrade itself."""

from agent_market.trading.arrays import market_arrays
from agent_market.trading.baselines import always_flat, buy_and_hold
from agent_market.trading.compare import compare_trades
from agent_market.trading.costs import CostSweep, sweep_costs
from agent_market.trading.engine import ArrayResult, BacktestResult, run_arrays, simulate
from agent_market.trading.freqtrade import FreqtradeResult, run_freqtrade
from agent_market.trading.markets import snapshot_markets
from agent_market.trading.options import (
    BacktestOptions,
    CustomRule,
    PositionRule,
    QuantileRule,
    SignRule,
    ThresholdRule,
    TopKRule,
)
from agent_market.trading.packing import pack_signals
from agent_market.trading.positions import annual_volatility, decide_positions, wait_out_gaps
from agent_market.trading.signals import signals_of
from agent_market.trading.sweep import sweep_options, sweep_scores, sweep_thresholds, threshold_signals

__all__ = [
    "ArrayResult",
    "BacktestOptions",
    "BacktestResult",
    "CostSweep",
    "CustomRule",
    "FreqtradeResult",
    "PositionRule",
    "QuantileRule",
    "SignRule",
    "ThresholdRule",
    "TopKRule",
    "always_flat",
    "annual_volatility",
    "buy_and_hold",
    "compare_trades",
    "decide_positions",
    "market_arrays",
    "pack_signals",
    "run_arrays",
    "run_freqtrade",
    "signals_of",
    "simulate",
    "snapshot_markets",
    "sweep_costs",
    "sweep_options",
    "sweep_scores",
    "sweep_thresholds",
    "threshold_signals",
    "wait_out_gaps",
]
