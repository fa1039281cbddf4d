"""Nodes of rl_training."""

import logging
from dataclasses import replace
from typing import Any

import pandas as pd

from agent_market.learning.account import account_policy
from agent_market.learning.gate import GateOptions, judge_policy
from agent_market.learning.trained import TrainedModel
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.market.options import MarketOptions
from agent_market.pipelines.options import AnyModelOptions, as_traded, options_of
from agent_market.pipelines.training import reporter, score
from agent_market.trading.options import BacktestOptions

log = logging.getLogger(__name__)


def train_policy(
    features: pd.DataFrame,
    factors: dict[str, Any],
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    options: AnyModelOptions,
    training: TrainingOptions,
    market: MarketOptions,
    backtest: BacktestOptions,
    gate: GateOptions,
    model: str = "",
) -> tuple[TrainedModel, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """A policy of every fold, its positions in the test windows, how the fits went, what each window and seed brought,
    and the gate's verdict.
    """
    funding = funding_rates if market.trading_mode == "futures" else None
    chosen = as_traded(options_of(options), market, backtest)
    trained, predictions = walk_forward(
        features,
        factors["factors"],
        labels,
        folds,
        chosen,
        training,
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        compat=factors["compat"],
        name=model,
        report=reporter(model),
        candles=candles,
        funding=funding,
    )
    account = account_policy(
        predictions,
        candles,
        chosen.env,
        cost_factor=gate.cost_factor,
        timeframe=market.timeframe,
        funding=funding,
    )
    verdict = judge_policy(account, gate)
    log.info("    %s: %s", model, in_words(verdict))
    return replace(trained, gate=verdict), predictions, trained.fits(), account.intervals, verdict


def score_policy(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    fits: pd.DataFrame,
    gate: dict[str, Any],
    options: AnyModelOptions,
    training: TrainingOptions,
) -> dict[str, Any]:
    """How well the positions agree with what came, what the fits took, and whether the gate lets them pass."""
    return score(predictions, labels, fits, options, training) | {"gate": gate["passed"]}


def in_words(verdict: dict[str, Any]) -> str:
    """The gate's verdict as a sentence."""
    if verdict["passed"]:
        return "passes the go-live gate"
    return f"does not pass the go-live gate: {'; '.join(verdict['reasons'])}"
