"""The steps that every model goes through, as one template for all training stages."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
from kedro.pipeline import Node, Pipeline

from agent_market.adapters import Progress
from agent_market.configured import in_ensembles, is_tuned, models_of
from agent_market.evaluation.prediction import prediction_metrics
from agent_market.learning.trained import TrainedModel
from agent_market.learning.validation import predict_validation
from agent_market.learning.walk_forward import TrainingOptions, compares_pairs, target_column, walk_forward
from agent_market.market.options import MarketOptions
from agent_market.pipelines.options import AnyModelOptions, options_of, trials_of
from agent_market.pipelines.tuning import tuning_nodes
from agent_market.progress import tell

log = logging.getLogger(__name__)

SILENCE = 30.0
"""Seconds after which a fit that nobody watches says in the log how far it is."""


SHARED = {"features", "factors", "labels", "folds", "candles", "funding_rates", "market_snapshot", "splits"}
"""Datasets that all models of a run read; what else a model's nodes read is its own."""


def training_pipeline(stage: str, make_nodes: Callable[[str], list[Node]] | None = None) -> Pipeline:
    """All configured models of `stage`, each in its own namespace `<stage>.<model>`.

    `make_nodes` gives the nodes of one model; without it these are `model_nodes`.
    """
    return Pipeline(
        [model_pipeline(name, (make_nodes or model_nodes)(name)) for name in models_of(stage)],
        namespace=stage,
        prefix_datasets_with_namespace=False,
    )


def model_nodes(name: str) -> list[Node]:
    """Train, explain and score one model; its datasets are called `<name>.*`."""
    options = chosen_options(name)
    inputs = ["features", "factors", "labels", "folds", options, "params:training", "params:market"]
    return [
        *tuning_nodes(name),
        Node(for_model(train, name), inputs, ["model", "predictions", "fits"], name="train"),
        Node(explain, "model", "importance", name="explain"),
        Node(score, ["predictions", "labels", "fits", options, "params:training"], "metrics", name="score"),
        *validation_nodes(name),
    ]


def chosen_options(name: str) -> str:
    """Where a model's nodes find its options: among the parameters, or where `tune` has left its choice."""
    return "tuned" if is_tuned(name) else "params:options"


def validation_nodes(name: str) -> list[Node]:
    """What an ensemble needs of a model that it is made of; of others, nothing."""
    inputs = ["model", "features", "factors", "folds"]
    return [Node(validate, inputs, "validation", name="validate")] if name in in_ensembles() else []


def model_pipeline(name: str, nodes: list[Node]) -> Pipeline:
    """One model's nodes in a namespace of its name; what all models share, and what is another's, keeps its name."""
    read = Pipeline(nodes).inputs()
    of_others = {part for part in read if "." in part}
    parameters = {part for part in read if part.startswith("params:")}
    return Pipeline(
        nodes,
        namespace=name,
        inputs=(SHARED & read) | of_others,
        parameters={part: f"params:models.{name}" if part == "params:options" else part for part in parameters},
    )


def for_model(function: Callable, model: str, **further: Any) -> Callable:
    """The function for one model; a partial, unlike a closure, can be sent to another process."""
    return functools.update_wrapper(functools.partial(function, model=model, **further), function)


def train(
    features: pd.DataFrame,
    factors: dict[str, Any],
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    options: AnyModelOptions,
    training: TrainingOptions,
    market: MarketOptions,
    model: str = "",
) -> tuple[TrainedModel, pd.DataFrame, pd.DataFrame]:
    """A model of every fold, its predictions of the test windows, and how the fits went."""
    trained, predictions = walk_forward(
        features,
        factors["factors"],
        labels,
        folds,
        options_of(options),
        training,
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        compat=factors["compat"],
        name=model,
        report=reporter(model),
    )
    return trained, predictions, trained.fits()


def validate(model: TrainedModel, features: pd.DataFrame, factors: dict[str, Any], folds: pd.DataFrame) -> pd.DataFrame:
    """What each fold's model says of its validation window."""
    return predict_validation(model, features, factors["factors"], factors["compat"], folds)


def explain(model: TrainedModel) -> pd.DataFrame:
    """How much each fold's model rests on each feature."""
    return model.importance()


def score(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    fits: pd.DataFrame,
    options: AnyModelOptions,
    training: TrainingOptions,
) -> dict[str, Any]:
    """How well the predictions agree with what came, with errors, and what the fits took.

    Seconds are left out: equal runs have equal metrics, and `<model>.fits` has them.
    """
    chosen = options_of(options)
    demeaned = compares_pairs(target_column(labels, chosen, training))
    metrics = prediction_metrics(predictions, labels, horizon=training.horizon, demeaned=demeaned)
    steps = fits["steps"].tolist()
    return metrics | {
        "trials": trials_of(options),
        "warm_start": chosen.warm_start,
        "fit_steps": sum(steps) / len(steps),
        "fit_steps_by_fold": steps,
    }


def reporter(model: str) -> Callable[[int, Progress], None]:
    """What shows how the fits of a model go: the bar, or else the log, now and then."""
    spoken: dict[int, float] = {}

    def report(fold: int, progress: Progress) -> None:
        if tell(model, fold, progress):
            return
        now = time.monotonic()
        level = logging.DEBUG
        if now - spoken.setdefault(fold, now) >= SILENCE:
            spoken[fold], level = now, logging.INFO
        if level == logging.INFO or progress.step % max(progress.steps // 10, 1) == 0:
            log.log(level, "    %s, fold %d: %s", model, fold, _in_words(progress))

    return report


def _in_words(progress: Progress) -> str:
    facts = [f"step {progress.step} of {progress.steps}"]
    facts += [f"validation loss {progress.loss:.5f}"] if progress.loss is not None else []
    facts += [f"validation IC {progress.ic:+.4f}"] if progress.ic is not None else []
    facts += [f"validation gain {progress.gain:+.4f}"] if progress.gain is not None else []
    facts += [f"{progress.rate:,.0f} samples/s"] if progress.rate is not None else []
    return ", ".join(facts)
