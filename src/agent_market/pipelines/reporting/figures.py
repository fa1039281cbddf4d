"""Nodes of reporting that draw: figures that kedro-viz shows and the report holds."""

import pandas as pd
import plotly.graph_objects as go

from agent_market import evaluation
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.pipelines.reporting.nodes import stack_importance
from agent_market.trading.options import BacktestOptions


def plot_equity(equity: pd.DataFrame, backtest: BacktestOptions) -> go.Figure:
    """Equity and drawdown of all models and benchmarks."""
    return evaluation.equity_figure(equity, starting_balance=backtest.starting_balance)


def plot_ic(labels: pd.DataFrame, training: TrainingOptions, **predictions: pd.DataFrame) -> go.Figure:
    """RankIC over time, added up."""
    series = {model: evaluation.ic_series(table, labels, training.horizon) for model, table in predictions.items()}
    return evaluation.ic_figure(series)


def plot_ic_decay(labels: pd.DataFrame, **predictions: pd.DataFrame) -> go.Figure:
    """RankIC against each horizon that there are labels for."""
    return evaluation.ic_decay_figure(
        {model: evaluation.ic_decay(table, labels) for model, table in predictions.items()}
    )


def plot_quantiles(labels: pd.DataFrame, training: TrainingOptions, **predictions: pd.DataFrame) -> go.Figure:
    """Mean return of each quantile of the predictions."""
    quantiles = {
        model: evaluation.quantile_returns(table, labels, training.horizon) for model, table in predictions.items()
    }
    return evaluation.quantile_figure(quantiles, horizon=training.horizon)


def plot_importance(**importance: pd.DataFrame) -> go.Figure:
    """What the models rest on, and how steady that is over folds."""
    return evaluation.importance_figure(stack_importance(importance))


def plot_months(equity: pd.DataFrame, backtest: BacktestOptions, leaderboard: pd.DataFrame) -> go.Figure:
    """Return of each month, the best model first."""
    order = leaderboard["model"].tolist()
    return evaluation.monthly_figure(equity, starting_balance=backtest.starting_balance, models=order)
