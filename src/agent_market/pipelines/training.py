"""The steps that every model goes through, as one template for all training stages."""

import logging
from typing import Any

import pandas as pd
from kedro.pipeline import Node, Pipeline
from pydantic import RootModel, model_validator

from agent_market.adapters import ModelOptions, Progress, parse_model_options
from agent_market.configured import models_of
from agent_market.evaluation.prediction import prediction_metrics
from agent_market.learning.trained import TrainedModel
from agent_market.learning.walk_forward import TrainingOptions, compares_pairs, target_column, walk_forward
from agent_market.market.options import MarketOptions

log = logging.getLogger(__name__)


class AnyModelOptions(RootModel[Any]):
    """Options of one model: the adapter that the block names says which keys there are."""

    @model_validator(mode="after")
    def _parsed(self) -> "AnyModelOptions":
        if not isinstance(self.root, ModelOptions):
            self.root = parse_model_options(self.root)
        return self


def training_pipeline(stage: str) -> Pipeline:
    """All configured models of `stage`, each in its own namespace `<stage>.<model>`."""
    return Pipeline(
        [_model_pipeline(name) for name in models_of(stage)],
        namespace=stage,
        prefix_datasets_with_namespace=False,
    )


def _model_pipeline(name: str) -> Pipeline:
    """Train, explain and score one model; its datasets are called `<name>.*`."""
    return Pipeline(
        [
            Node(
                train,
                [
                    "features",
                    "factors",
                    "labels",
                    "folds",
                    "params:options",
                    "params:training",
                    "params:market",
                ],
                ["model", "predictions"],
                name="train",
            ),
            Node(explain, "model", "importance", name="explain"),
            Node(score, ["predictions", "labels", "params:options", "params:training"], "metrics", name="score"),
        ],
        namespace=name,
        inputs={"features", "factors", "labels", "folds"},
        parameters={
            "params:options": f"params:models.{name}",
            "params:training": "params:training",
            "params:market": "params:market",
        },
    )


def train(
    features: pd.DataFrame,
    factors: dict[str, Any],
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    options: AnyModelOptions,
    training: TrainingOptions,
    market: MarketOptions,
) -> tuple[TrainedModel, pd.DataFrame]:
    """A model of every fold, and its predictions of the test windows."""
    return walk_forward(
        features,
        factors["factors"],
        labels,
        folds,
        options.root,
        training,
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        compat=factors["compat"],
        report=_report,
    )


def explain(model: TrainedModel) -> pd.DataFrame:
    """How much each fold's model rests on each feature."""
    return model.importance()


def score(
    predictions: pd.DataFrame, labels: pd.DataFrame, options: AnyModelOptions, training: TrainingOptions
) -> dict[str, Any]:
    """How well the predictions agree with what came: IC, RankIC, R² and hit rate, with their errors."""
    demeaned = compares_pairs(target_column(labels, options.root, training))
    return prediction_metrics(predictions, labels, horizon=training.horizon, demeaned=demeaned)


def _report(fold: int, progress: Progress) -> None:
    if progress.step % 100 == 0:
        loss = "" if progress.loss is None else f", validation loss {progress.loss:.5f}"
        log.debug("fold %d: step %d of %d%s", fold, progress.step, progress.steps, loss)
