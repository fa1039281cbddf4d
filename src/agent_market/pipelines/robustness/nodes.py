"""Nodes of robustness."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from agent_market import evaluation
from agent_market.adapters import get_adapter, kind_of
from agent_market.evaluation import paths as evaluated
from agent_market.learning import combinatorial
from agent_market.learning.combinatorial import CombinatorialOptions
from agent_market.learning.folds import FoldOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.tuning import TuningOptions
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.pipelines.options import AnyModelOptions, as_traded
from agent_market.pipelines.trading import trade_predictions
from agent_market.pipelines.training import reporter
from agent_market.trading.options import BacktestOptions


def make_splits(
    candles: pd.DataFrame,
    cross_validation: CombinatorialOptions,
    folds: FoldOptions,
    labels: LabelOptions,
    market: MarketOptions,
) -> pd.DataFrame:
    """The windows of all splits, purged of the longest label's reach; embargo and validation as in `folds`."""
    return combinatorial.make_splits(
        candles["date"],
        cross_validation,
        timeframe=market.timeframe,
        horizon=max(labels.horizons),
        embargo=folds.embargo,
        valid=folds.valid,
    )


def cross_validate_model(
    splits: pd.DataFrame,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    options: AnyModelOptions,
    training: TrainingOptions,
    market: MarketOptions,
    backtest: BacktestOptions,
    model: str = "",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A model's predictions of every path, and what each path came to, with the options that the parameters give."""
    trades = kind_of(get_adapter(options.root.adapter)) == "position"
    funding = funding_rates if market.trading_mode == "futures" else None
    predictions = combinatorial.cross_validate(
        features,
        labels,
        splits,
        as_traded(options.root, market, backtest) if trades else options.root,
        training,
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        name=model,
        candles=candles if trades else None,
        funding=funding if trades else None,
        report=reporter(model),
    )
    rows = []
    for path, table in predictions.groupby("path"):
        account = trade_predictions(table, candles, funding_rates, market_snapshot, backtest, market)
        how = {"starting_balance": backtest.starting_balance, "trading_days": market.trading_days}
        traded = evaluation.trading_metrics(account.equity, account.trades, **how)
        series = evaluation.ic_series(table, labels, training.horizon)
        said = {"ic": series["ic"].mean(), "rank_ic": series["rank_ic"].mean()}
        rows.append({"path": path} | said | {name: traded[name] for name in evaluated.TRADED})
    return predictions, pd.DataFrame(rows).astype(dict.fromkeys([*said, *evaluated.TRADED], float))


def measure_paths(**path_metrics: pd.DataFrame) -> pd.DataFrame:
    """What each path of each model came to, in one table."""
    tables = [table.assign(model=model) for model, table in path_metrics.items()]
    return pd.concat(tables, ignore_index=True)[["model", "path", "ic", "rank_ic", *evaluated.TRADED]]


def summarize_paths(
    paths: pd.DataFrame, cross_validation: CombinatorialOptions, tuning: TuningOptions
) -> dict[str, Any]:
    """For each model the spread of its paths, and what they are not."""
    return evaluated.path_summary(
        paths, groups=cross_validation.groups, test_groups=cross_validation.test_groups, tuned=tuning.enabled
    )


def plot_paths(paths: pd.DataFrame) -> go.Figure:
    """Sharpe ratio of every path, by model."""
    return evaluated.path_figure(paths)
