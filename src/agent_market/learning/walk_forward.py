"""Fit one model on every fold and foretell every test window: the only way predictions come about."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import joblib
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from agent_market.adapters import ModelOptions, Progress, get_adapter
from agent_market.errors import ModelError, ParameterError
from agent_market.learning.folds import check_out_of_sample, test_rows
from agent_market.learning.labels import label_end_column
from agent_market.learning.samples import FeatureTensor, Samples, build_samples, check_aligned
from agent_market.learning.sampling import bootstrap, every_kth, labelled_rows
from agent_market.learning.trained import FoldModel, TrainedModel, code_fingerprint, data_fingerprint
from agent_market.learning.weights import Weighting, label_uniqueness, sample_weights
from agent_market.options import Options, Span
from agent_market.parallel import Backend, run_parallel

log = logging.getLogger(__name__)


class TrainingOptions(Options):
    """What every model of a run is trained for, so that they can be compared, and how the work is spread."""

    horizon: int = Field(12, ge=1, description="which of labels.horizons is foretold, candles")
    label: Literal["return", "scaled", "class", "barrier", "rank"] = Field(
        "return", description="what regression models are trained on; classification foretells `up_<h>` whatever it is"
    )
    demean: bool | Literal["auto"] = Field(
        "auto",
        description="train on returns (or scaled returns) less their mean over pairs; auto: with three pairs or more",
    )
    clip_target: float | None = Field(
        4.0,
        gt=0,
        description="training labels are held within so many standard deviations; null = as they are",
    )
    weights: Weighting = Field(
        "none", description="training rows weigh by the uniqueness of their label among overlapping ones, or by age"
    )
    half_life: Span = Field("90d", description="weights=recency: a row so much older than another weighs half")
    stride: int = Field(1, ge=1, description="k: train on every k-th candle by the clock; 1 = on all")
    bootstrap: bool = Field(
        False, description="draw training rows by uniqueness, with replacement, as many as there are independent labels"
    )
    backend: Backend = Field("threading", description="joblib backend that fits folds")
    n_jobs: int = Field(-1, description="folds fitted side by side; -1 = one per processor")

    @model_validator(mode="after")
    def _uniqueness_counts_once(self) -> Self:
        if self.bootstrap and self.weights == "uniqueness":
            raise ValueError(
                "bootstrap draws rows by uniqueness already: set weights to none or recency, or bootstrap to false"
            )
        return self


@dataclass(frozen=True)
class _Task:
    """All that the fit of one fold needs."""

    tensor: FeatureTensor
    labels: pd.DataFrame
    target: str
    label_end: str
    options: ModelOptions
    training: TrainingOptions
    timeframe: str


def walk_forward(
    features: pd.DataFrame,
    factors: dict[str, str],
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    options: ModelOptions,
    training: TrainingOptions,
    *,
    timeframe: str,
    max_gap: int = 0,
    compat: str = "sane",
    report: Callable[[int, Progress], None] | None = None,
) -> tuple[TrainedModel, pd.DataFrame]:
    """The model of every fold, and its predictions of that fold's test rows.

    Predictions have one row per candle of a test window with any feature known: pair, date, fold, prediction
    (return over the horizon, probability that it is up, or a score in the label's own units), kind (see
    `prediction_kind`). `factors` and `compat` say how the features were computed. `report` receives (fold, Progress)
    while fits run, where the backend shares memory.

    Raises:
        ParameterError: The labels do not have the horizon that is to be foretold.
        ModelError: A fold has no training rows, or its label is constant.
    """
    target = target_column(labels, options, training)
    tensor = FeatureTensor.from_frame(features, timeframe=timeframe, max_gap=max_gap)
    check_aligned(tensor, labels)
    task = _Task(tensor, labels, target, label_end_column(target), options, training, timeframe)
    quiet = training.backend != "threading" or report is None
    fits = [
        joblib.delayed(_fit_fold)(task, fold, _silent if quiet else _of_fold(report, fold["fold"]))
        for fold in folds.to_dict("records")
    ]
    parts = run_parallel(fits, n_jobs=training.n_jobs, backend=training.backend)
    kind = prediction_kind(target)
    models, tables = zip(*parts, strict=True)
    predictions = pd.concat(tables, ignore_index=True).assign(kind=kind)
    predictions = predictions.sort_values(["pair", "date"], ignore_index=True)
    check_out_of_sample(predictions, folds, name=options.adapter)
    used = labels[["pair", "date", target, task.label_end]]
    trained = TrainedModel(
        options=options,
        factors=factors,
        compat=compat,
        target=target,
        kind=kind,
        timeframe=timeframe,
        max_gap=max_gap,
        fingerprint={"data": data_fingerprint(features, used, folds), "code": code_fingerprint()},
        folds=tuple(models),
    )
    return trained, predictions


def target_column(labels: pd.DataFrame, options: ModelOptions, training: TrainingOptions) -> str:
    """The label that a model is trained on: `up_<h>`, `excess_<h>`, `return_<h>`, or another of `training.label`.

    Raises:
        ParameterError: There is no such label.
    """
    horizon = training.horizon
    plain = "up" if options.task == "classification" else training.label
    relative = {"return": "excess", "scaled": "scaled_excess"}.get(plain, plain)
    demean = f"{relative}_{horizon}" in labels if training.demean == "auto" else training.demean
    name = f"{relative if demean else plain}_{horizon}"
    if name not in labels:
        horizons = [int(column.removeprefix("return_")) for column in labels if column.startswith("return_")]
        raise ParameterError(
            f"training.horizon is {horizon}, training.label is {training.label} and training.demean is "
            f"{training.demean}, but there is no label {name}: labels.horizons are {horizons}, labels other than "
            "return must be among labels.kinds when the feature_store pipeline runs, and excess returns and ranks "
            "need three pairs or more"
        )
    return name


def prediction_kind(target: str) -> str:
    """What predictions of the label in column `target` are.

    `probability` that the return is up; `return` over the horizon, a fraction (of an excess label: beyond the market);
    or `score`: a number around 0 in the label's own units, which orders and signs but is no return.
    """
    label = target.rpartition("_")[0]
    return {"up": "probability", "return": "return", "excess": "return"}.get(label, "score")


def compares_pairs(target: str) -> bool:
    """Whether the label in column `target` is measured from the mean of the pairs at its date."""
    return target.rpartition("_")[0] in ("excess", "scaled_excess", "rank")


def _fit_fold(task: _Task, fold: dict, report: Callable[[Progress], None]) -> tuple[FoldModel, pd.DataFrame]:
    """Model and test predictions of one fold; what is fitted sees the training rows only."""
    started, number = time.perf_counter(), fold["fold"]
    train = _training_samples(task, fold)
    valid = _samples(task, _labelled(task, fold, "valid"))
    _check_target(train, task, number)
    part = fit_model(
        number, train, valid if len(valid) else None, task.options, clip_target=task.training.clip_target, report=report
    )

    tensor = task.tensor
    rows = test_rows(tensor.date, fold["test_start"], fold["test_end"])
    rows = rows[np.isfinite(tensor.values[rows]).any(axis=1)]
    predictions = pd.DataFrame(
        {
            "pair": tensor.pair[rows],
            "date": tensor.date[rows],
            "fold": number,
            "prediction": part.predict(get_adapter(task.options.adapter), tensor, rows),
        }
    )
    log.info(
        "    %s %s, fold %d: %d training rows, %d predictions, %.1f s",
        task.options.adapter, task.options.task, number, len(train), len(rows), time.perf_counter() - started,
    )  # fmt: skip
    return part, predictions


def fit_model(
    number: int,
    train: Samples,
    valid: Samples | None,
    options: ModelOptions,
    *,
    clip_target: float | None,
    report: Callable[[Progress], None],
) -> FoldModel:
    """The model of fold `number`, with the preprocessing and the scale of the target that `train` gives."""
    from agent_market.learning.preprocessing import build_preprocessing  # scikit-learn is slow to import

    preprocessing = build_preprocessing(options.preprocessing)
    if preprocessing is not None:
        preprocessing.fit(train.X)
        values = preprocessing.transform(train.tensor.values)
        train, valid = (samples and samples.with_values(values) for samples in (train, valid))
    scale = 1.0
    if options.task == "regression":
        scale = float(train.y.std())
        train, valid = (samples and _scaled(samples, scale, clip_target) for samples in (train, valid))
    fitted = get_adapter(options.adapter).fit(train, valid, options, report=report)
    return FoldModel(number, fitted, preprocessing, scale)


def _training_samples(task: _Task, fold: dict) -> Samples:
    """The weighted samples that a fold's model is fitted to; nothing but the training window has a say in them."""
    training, label_end = task.training, task.labels[task.label_end]
    rows = every_kth(task.tensor, _labelled(task, fold, "train"), training.stride, timeframe=task.timeframe)
    drawn = None
    if training.bootstrap and len(rows):
        uniqueness = label_uniqueness(task.tensor, rows, label_end)
        rows, drawn = bootstrap(rows, uniqueness, seed=(task.options.seed, fold["fold"]))
    weight = sample_weights(training.weights, task.tensor, rows, label_end, half_life=training.half_life)
    if drawn is not None:
        weight = drawn if weight is None else drawn * weight
    return _samples(task, rows, weight)


def _labelled(task: _Task, fold: dict, window: str) -> np.ndarray:
    """Rows of the training or validation window whose label is known by its end."""
    start, end = fold[f"{window}_start"], fold[f"{window}_end"]
    return labelled_rows(task.tensor, task.labels, task.target, task.label_end, start, end)


def _samples(task: _Task, rows: np.ndarray, weight: np.ndarray | None = None) -> Samples:
    return build_samples(task.tensor, task.labels, rows, target=(task.target,), weight=weight)


def _check_target(train: Samples, task: _Task, fold: int) -> None:
    if len(train) < 2:
        raise ModelError(
            f"fold {fold} has {len(train)} training rows with a label and features: lengthen folds.train, lower "
            "training.stride, or look for holes in the candles (dataset data_quality)"
        )
    if np.ptp(train.y) == 0:
        raise ModelError(
            f"label {task.target} is constant ({train.y[0, 0]:g}) on all {len(train)} training rows of fold {fold}: "
            "there is nothing to learn. Do the prices move? Try another training.horizon or labels.up_threshold."
        )


def _scaled(samples: Samples, scale: float, clip: float | None) -> Samples:
    y = samples.y / scale
    return Samples(samples.tensor, samples.rows, y if clip is None else np.clip(y, -clip, clip), samples.weight)


def _silent(progress: Progress) -> None:
    """Progress of a fit that nobody watches."""


def _of_fold(report: Callable[[int, Progress], None], fold: int) -> Callable[[Progress], None]:
    return lambda progress: report(fold, progress)
