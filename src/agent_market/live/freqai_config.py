"""What FreqAI is told so that it trains a model of this project on the windows of our folds."""

from typing import Any

import pandas as pd
from pydantic import Field

from agent_market.errors import ParameterError
from agent_market.learning.folds import FoldOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.live.traded import TradedModel
from agent_market.options import Options, Span, timeframe_delta

DAY = pd.Timedelta(days=1)
FREQAI_MODEL = "AgentMarketRegressor"
TARGET = "&-target"


class FreqaiSettings(Options):
    """The block `freqai.agent_market` of freqtrade's configuration: what FreqAI itself has no words for."""

    target: str | None = Field(None, description="label that the exported strategy has foretold, such as excess_12")
    labels: LabelOptions = Field(default_factory=LabelOptions, description="as the parameters under labels")
    training: TrainingOptions = Field(default_factory=TrainingOptions, description="as the parameters under training")
    valid: Span | None = Field(
        None, description="end of FreqAI's training window that validates; none: all of it trains"
    )
    embargo: int = Field(0, ge=0, description="candles left out before and after the validation window")


def freqai_config(
    traded: TradedModel, *, labels: LabelOptions, training: TrainingOptions, folds: FoldOptions
) -> dict[str, Any]:
    """freqtrade's configuration of FreqAI, to be given after config.json: its windows are those of our folds.

    FreqAI knows one training window, directly before the window that it foretells: ours, with the validation window and
    the embargoes at its end.

    Raises:
        ParameterError: FreqAI cannot have such windows.
    """
    if traded.model.kind == "position":
        raise ParameterError(f"FreqAI trains models that foretell, and {traded.name} is a policy")
    if traded.model.options.adapter == "ensemble":
        raise ParameterError(f"FreqAI trains one model at a time, and {traded.name} is made of several")
    embargo = folds.embargo * timeframe_delta(traded.market.timeframe)
    window = timeframe_delta(folds.train) + timeframe_delta(folds.valid) + 2 * embargo
    if folds.expanding:
        raise ParameterError("FreqAI's training window slides; with folds.expanding=true there are no files for it")
    if window % DAY:
        raise ParameterError(
            f"FreqAI counts its training window in whole days: folds.train, folds.valid and twice folds.embargo add up "
            f"to {window / DAY:g} days"
        )
    settings = FreqaiSettings(
        target=traded.model.target,
        labels=labels.including(training.label),
        training=training,
        valid=folds.valid,
        embargo=folds.embargo,
    )
    test, calendar = timeframe_delta(folds.test), traded.folds
    start, end = (int(date.timestamp()) for date in (calendar["test_start"].iloc[0], calendar["test_end"].iloc[-1]))
    return {
        "freqaimodel": FREQAI_MODEL,
        "timerange": f"{start}-{end}",
        "freqai": {
            "enabled": True,
            "identifier": f"{traded.name}-{traded.fingerprint()}",
            "train_period_days": window // DAY,
            "backtest_period_days": test / DAY,
            "live_retrain_hours": test / pd.Timedelta(hours=1),
            "save_backtest_models": True,
            "purge_old_models": 2,
            "activate_tensorboard": False,
            "feature_parameters": {
                "include_timeframes": [traded.market.timeframe],
                "include_corr_pairlist": [],
                "indicator_periods_candles": [1],  # there must be one; nothing reads it
                "include_shifted_candles": 0,
                "label_period_candles": training.horizon,
            },
            "data_split_parameters": {"test_size": 0, "shuffle": False},  # `valid` below splits, by time
            "model_training_parameters": traded.model.options.model_dump(mode="json"),
            "agent_market": settings.model_dump(mode="json"),
        },
    }
