"""Nodes of backtest."""

from math import isfinite
from typing import Any

import joblib
import pandas as pd

from agent_market import trading
from agent_market.learning.folds import check_out_of_sample
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.parallel import run_parallel
from agent_market.pipelines.trading import positions_of
from agent_market.trading.options import BacktestOptions
from agent_market.trading.signals import signals_of
from agent_market.trading.trades import as_trades


def make_positions(
    backtest: BacktestOptions,
    market: MarketOptions,
    folds: pd.DataFrame,
    candles: pd.DataFrame,
    **predictions: pd.DataFrame,
) -> pd.DataFrame:
    """Target position of each model, pair and candle of the test windows, by the configured rule."""
    tables = []
    for model, table in predictions.items():
        check_out_of_sample(table, folds, name=f"{model}.predictions")
        tables.append(positions_of(table, candles, backtest, market).assign(model=model))
    return pd.concat(tables, ignore_index=True)[["model", "pair", "date", "position"]]


def simulate(
    positions: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    backtest: BacktestOptions,
    market: MarketOptions,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trades and equity of each model by the embedded engine, and of the benchmarks over the same time."""
    how = {"timeframe": market.timeframe, "trading_mode": market.trading_mode, "funding": funding_rates}
    results = {
        model: trading.simulate(candles, signals_of(table), market_snapshot, backtest, **how)
        for model, table in positions.groupby("model", sort=False)
    }
    span = {"start": positions["date"].min(), "end": positions["date"].max(), "timeframe": market.timeframe}
    results["buy_and_hold"] = trading.buy_and_hold(candles, market_snapshot, backtest, **span, funding=funding_rates)
    results["always_flat"] = trading.always_flat(backtest, **span)
    equity = _stack({model: result.equity for model, result in results.items()})
    # Engines fill holes with stand-ins; an account is valued when there is a market.
    equity = equity[equity["date"].isin(candles["date"])].reset_index(drop=True)
    return _stack({model: result.trades for model, result in results.items()}), equity


def sweep_costs(
    positions: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    backtest: BacktestOptions,
    market: MarketOptions,
) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """What each model's positions bring at other costs, and the cost per side at which nothing is left (none: None)."""
    how = {"timeframe": market.timeframe, "trading_mode": market.trading_mode, "trading_days": market.trading_days}
    swept = {
        model: trading.sweep_costs(candles, signals_of(table), market_snapshot, backtest, funding=funding_rates, **how)
        for model, table in positions.groupby("model", sort=False)
    }
    break_even = {model: sweep.break_even if isfinite(sweep.break_even) else None for model, sweep in swept.items()}
    return _stack({model: sweep.curve for model, sweep in swept.items()}), break_even


def simulate_gross(
    positions: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    backtest: BacktestOptions,
    market: MarketOptions,
) -> pd.DataFrame:
    """Equity of each model's same positions without fee and slippage, and of the benchmarks."""
    free = backtest.model_copy(update={"fee": 0.0, "slippage": 0.0})
    return simulate(positions, candles, funding_rates, market_snapshot, free, market)[1]


def run_freqtrade(
    positions: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    backtest: BacktestOptions,
    market: MarketOptions,
    training: TrainingOptions,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, dict[str, bytes]]]:
    """Trades, figures and result files of each model by freqtrade itself; nothing where `backtest.freqtrade` is off."""
    by_model = dict(list(positions.groupby("model", sort=False))) if backtest.freqtrade else {}
    if not by_model:
        return _stack({"": as_trades([])}), {}, {}
    how = {"timeframe": market.timeframe, "trading_mode": market.trading_mode, "funding": funding_rates}
    backtests = [
        joblib.delayed(trading.run_freqtrade)(candles, signals_of(table), market_snapshot, backtest, **how)
        for table in by_model.values()
    ]
    # freqtrade keeps its state in classes: only processes can run side by side.
    results = run_parallel(backtests, n_jobs=training.n_jobs, backend="loky")
    named = dict(zip(by_model, results, strict=True))
    return (
        _stack({model: result.trades for model, result in named.items()}),
        {model: result.summary for model, result in named.items()},
        {model: result.archive for model, result in named.items()},
    )


def compare_engines(
    trades: pd.DataFrame, freqtrade_trades: pd.DataFrame, freqtrade_metrics: dict[str, Any], backtest: BacktestOptions
) -> pd.DataFrame:
    """Whether the embedded engine and freqtrade made the same trades, one row per model."""
    rows = []
    for model in freqtrade_metrics:
        ours, theirs = (table[table["model"] == model] for table in (trades, freqtrade_trades))
        row = trading.compare_trades(ours, theirs, starting_balance=backtest.starting_balance)
        differences, reasons = row.pop("max_abs_difference"), row.pop("exit_reasons")
        row["exit_reasons"] = ", ".join(f"{reason} {ours}/{theirs}" for reason, (ours, theirs) in reasons.items())
        rows.append({"model": model} | row | {f"max_difference_{name}": gap for name, gap in differences.items()})
    return pd.DataFrame(rows, columns=None if rows else ["model", "verdict"])


def _stack(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(model=model) for model, table in tables.items()], ignore_index=True)
