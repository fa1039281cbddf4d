"""The step before the training of a model whose options are chosen by trial, for all training stages."""

import logging
from collections.abc import Callable
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from kedro.pipeline import Node

from agent_market.adapters import get_adapter, kind_of
from agent_market.configured import is_compared, is_tuned
from agent_market.evaluation import daily_returns, ic_series, prediction_metrics
from agent_market.evaluation.metrics import periods_per_year
from agent_market.evaluation.trials import option_importance_figure, slice_figure, tuning_gain, tuning_sentence
from agent_market.learning.folds import FoldOptions
from agent_market.learning.tuning import TuningOptions, tune
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.market.options import MarketOptions
from agent_market.pipelines.options import AnyModelOptions, as_traded
from agent_market.pipelines.trading import trade_predictions
from agent_market.trading.options import BacktestOptions

log = logging.getLogger(__name__)


def tuning_nodes(name: str) -> list[Node]:
    """Choose a model's options, and draw what the trials showed; nothing for a model that is not tuned."""
    if not is_tuned(name):
        return []
    from agent_market.pipelines.training import for_model

    parameters = ("options", "training", "tuning", "folds", "market", "backtest")
    tables = ["features", "labels", "folds", "candles", "funding_rates", "market_snapshot"]
    return [
        Node(
            for_model(tune_model, name),
            [*tables, *(f"params:{block}" for block in parameters)],
            ["tuned", "trials", "trial_importance"],
            name="tune",
        ),
        Node(plot_trials, ["trials", "params:tuning"], "slice_figure", name="plot_trials"),
        Node(option_importance_figure, "trial_importance", "option_figure", name="plot_options"),
        *(_comparison(name) if is_compared(name) else []),
    ]


def _comparison(name: str) -> list[Node]:
    from agent_market.pipelines.training import for_model

    tables = ["features", "factors", "labels", "folds", "candles", "funding_rates", "predictions", "tuned"]
    parameters = [f"params:{block}" for block in ("options", "training", "market", "backtest")]
    return [Node(for_model(compare_tuned, name), [*tables, *parameters], "tuning_gain", name="compare")]


def tune_model(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    options: AnyModelOptions,
    training: TrainingOptions,
    tuning: TuningOptions,
    calendar: FoldOptions,
    market: MarketOptions,
    backtest: BacktestOptions,
    model: str = "",
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """The options that did best before the first fold's validation window, all trials, and which options matter."""
    trades = kind_of(get_adapter(options.root.adapter)) == "position"
    funding = funding_rates if market.trading_mode == "futures" else None
    best: list[float] = []

    def report(tried: Any) -> None:
        if not tried.pruned:
            best.append(tried.value)
        reached = "none" if not best else f"{(min if tuning.objective == 'logloss' else max)(best):+.5f}"
        told = "pruned" if tried.pruned else f"{tuning.objective} {tried.value:+.5f}"
        log.info("    %s, trial %d of %d: %s, best %s", model, tried.number + 1, tuning.trials, told, reached)

    found = tune(
        features,
        labels,
        folds,
        as_traded(options.root, market, backtest) if trades else options.root,
        training,
        tuning,
        scorer(tuning.objective, training, market, backtest, market_snapshot, funding),
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        embargo=calendar.embargo,
        name=model,
        candles=candles if trades or tuning.objective == "sharpe" else None,
        funding=funding,
        trades=trades,
        report=report,
    )
    log.info("    %s: trial %d of %d chosen", model, found.facts["best_trial"] + 1, found.facts["trials"])
    return found.facts, found.trials, found.importance


def compare_tuned(
    features: pd.DataFrame,
    factors: dict[str, Any],
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    predictions: pd.DataFrame,
    tuned: dict[str, Any],
    options: AnyModelOptions,
    training: TrainingOptions,
    market: MarketOptions,
    backtest: BacktestOptions,
    model: str = "",
) -> dict[str, Any]:
    """What the chosen options brought in the test windows, beside the configured ones walked forward as well."""
    trades = kind_of(get_adapter(options.root.adapter)) == "position"
    _, configured = walk_forward(
        features,
        factors["factors"],
        labels,
        folds,
        as_traded(options.root, market, backtest) if trades else options.root,
        training,
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        compat=factors["compat"],
        name=f"{model} as configured",
        candles=candles if trades else None,
        funding=funding_rates if trades and market.trading_mode == "futures" else None,
    )
    gain = tuning_gain(model, predictions, configured, labels, horizon=training.horizon, trials=tuned["trials"])
    log.info("    %s", tuning_sentence(gain))
    return gain


def plot_trials(trials: pd.DataFrame, tuning: TuningOptions) -> go.Figure:
    """How well each value of each option did."""
    return slice_figure(trials, objective=tuning.objective)


def scorer(
    objective: str,
    training: TrainingOptions,
    market: MarketOptions,
    backtest: BacktestOptions,
    markets: dict[str, Any],
    funding: pd.DataFrame | None,
) -> Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame | None], float]:
    """The function that judges predictions of an inner test window; what says nothing scores 0, not NaN."""

    def coefficient(predictions: pd.DataFrame, labels: pd.DataFrame, candles: pd.DataFrame | None) -> float:
        return _or_zero(ic_series(predictions, labels, training.horizon)[objective].mean())

    def log_loss(predictions: pd.DataFrame, labels: pd.DataFrame, candles: pd.DataFrame | None) -> float:
        return prediction_metrics(predictions, labels, horizon=training.horizon, demeaned=False)["logloss"]

    def sharpe(predictions: pd.DataFrame, labels: pd.DataFrame, candles: pd.DataFrame | None) -> float:
        account = trade_predictions(predictions, candles, funding, markets, backtest, market)
        returns = daily_returns(account.equity, starting_balance=backtest.starting_balance)
        deviation = returns.std()
        year = periods_per_year(returns.index, market.trading_days)
        return _or_zero(returns.mean() / deviation * year**0.5 if deviation > 1e-12 else 0.0)

    return {"ic": coefficient, "rank_ic": coefficient, "logloss": log_loss, "sharpe": sharpe}[objective]


def _or_zero(value: float) -> float:
    return 0.0 if value != value else float(value)  # NaN: constant predictions, or no trade
