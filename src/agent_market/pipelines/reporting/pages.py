"""Nodes of reporting that fill the pages of the models."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from agent_market import evaluation
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.trading.options import BacktestOptions


def find_regimes(candles: pd.DataFrame, market: MarketOptions) -> pd.DataFrame:
    """The regime of the market at each close, as it could be known then."""
    return evaluation.market_regimes(candles, timeframe=market.timeframe)


def fill_page(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    equity: pd.DataFrame,
    gross_equity: pd.DataFrame,
    trades: pd.DataFrame,
    cost_curve: pd.DataFrame,
    folds: pd.DataFrame,
    verdicts: dict[str, dict[str, Any]],
    significance: dict[str, Any],
    regimes: pd.DataFrame,
    metrics: dict[str, Any],
    backtest: BacktestOptions,
    market: MarketOptions,
    training: TrainingOptions,
    importance: pd.DataFrame,
    attribution: pd.DataFrame | None = None,
    feature_drift: pd.DataFrame | None = None,
    prediction_drift: pd.DataFrame | None = None,
    learning_curve: pd.DataFrame | None = None,
    slice_figure: go.Figure | None = None,
    option_figure: go.Figure | None = None,
    model: str = "",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One model's figures by pair, hour and regime, and what its page shows: figures, tables and doubts."""
    accounts = dict(list(equity.groupby("model", sort=False)))
    both = accounts[model], accounts["buy_and_hold"]
    slices = evaluation.slice_performance(predictions, labels, *both, regimes, horizon=training.horizon)
    results = evaluation.ModelResults(
        name=model,
        predictions=predictions,
        labels=labels,
        equity=accounts[model],
        benchmark=accounts["buy_and_hold"],
        trades=trades[trades["model"] == model],
        folds=folds,
        verdict=verdicts[model],
        slices=slices,
        horizon=training.horizon,
        demeaned=metrics["demeaned"],
        starting_balance=backtest.starting_balance,
        trading_days=market.trading_days,
        trials=significance["trials"],
        cost_curve=cost_curve[cost_curve["model"] == model],
        gross_equity=gross_equity[gross_equity["model"] == model],
        importance=importance,
        attribution=attribution,
        feature_drift=feature_drift,
        prediction_drift=prediction_drift,
        learning_curve=learning_curve,
        members=metrics.get("members"),
        slice_figure=slice_figure,
        option_figure=option_figure,
    )
    sections, doubts = evaluation.model_sections(results), evaluation.model_doubts(results, metrics)
    return slices, {"model": model, "sections": evaluation.section_views(sections), "doubts": doubts}
