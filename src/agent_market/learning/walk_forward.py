"""Fit one model on every fold and foretell every test window: the only way predictions come about."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import joblib
import numpy as np
import pandas as pd
from pydantic import Field

from agent_market.adapters import ModelOptions, Progress, get_adapter
from agent_market.errors import ModelError, ParameterError
from agent_market.learning.folds import check_out_of_sample, test_rows, training_rows
from agent_market.learning.samples import FeatureTensor, Samples, build_samples, check_aligned
from agent_market.learning.trained import FoldModel, TrainedModel, code_fingerprint, data_fingerprint
from agent_market.options import Options
from agent_market.parallel import Backend, run_parallel

log = logging.getLogger(__name__)


class TrainingOptions(Options):
    """What every model of a run is trained for, so that they can be compared, and how the work is spread."""

    horizon: int = Field(12, ge=1, description="which of labels.horizons is foretold, candles")
    demean: bool | Literal["auto"] = Field(
        "auto", description="train on returns less their mean over pairs; auto: with three pairs or more"
    )
    clip_target: float | None = Field(
        4.0,
        gt=0,
        description="training labels are held within so many standard deviations; null = as they are",
    )
    backend: Backend = Field("threading", description="joblib backend that fits folds")
    n_jobs: int = Field(-1, description="folds fitted side by side; -1 = one per processor")


@dataclass(frozen=True)
class _Task:
    """All that the fit of one fold needs."""

    tensor: FeatureTensor
    labels: pd.DataFrame
    target: str
    label_end: str
    options: ModelOptions
    clip_target: float | None


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
    report: Callable[[int, Progress], None] | None = None,
) -> tuple[TrainedModel, pd.DataFrame]:
    """The model of every fold, and its predictions of that fold's test rows.

    Predictions have one row per candle of a test window with any feature known: pair, date, fold, prediction
    (return over the horizon, or probability that it is up), kind. `report` receives (fold, Progress) while fits
    run, where the backend shares memory.

    Raises:
        ParameterError: The labels do not have the horizon that is to be foretold.
        ModelError: A fold has no training rows, or its label is constant.
    """
    target = target_column(labels, options, training)
    tensor = FeatureTensor.from_frame(features, timeframe=timeframe, max_gap=max_gap)
    check_aligned(tensor, labels)
    task = _Task(tensor, labels, target, f"label_end_{training.horizon}", options, training.clip_target)
    quiet = training.backend != "threading" or report is None
    fits = [
        joblib.delayed(_fit_fold)(task, fold, _silent if quiet else _of_fold(report, fold["fold"]))
        for fold in folds.to_dict("records")
    ]
    parts = run_parallel(fits, n_jobs=training.n_jobs, backend=training.backend)
    kind = "probability" if options.task == "classification" else "return"
    models, tables = zip(*parts, strict=True)
    predictions = pd.concat(tables, ignore_index=True).assign(kind=kind)
    predictions = predictions.sort_values(["pair", "date"], ignore_index=True)
    check_out_of_sample(predictions, folds, name=options.adapter)
    used = labels[["pair", "date", target, task.label_end]]
    trained = TrainedModel(
        options=options,
        factors=factors,
        target=target,
        kind=kind,
        timeframe=timeframe,
        max_gap=max_gap,
        fingerprint={"data": data_fingerprint(features, used, folds), "code": code_fingerprint()},
        folds=tuple(models),
    )
    return trained, predictions


def target_column(labels: pd.DataFrame, options: ModelOptions, training: TrainingOptions) -> str:
    """The label that a model is trained on: `up_<h>`, `excess_<h>` or `return_<h>`.

    Raises:
        ParameterError: There is no such label.
    """
    horizon = training.horizon
    if options.task == "classification":
        name = f"up_{horizon}"
    elif training.demean == "auto":
        name = f"excess_{horizon}" if f"excess_{horizon}" in labels else f"return_{horizon}"
    else:
        name = f"excess_{horizon}" if training.demean else f"return_{horizon}"
    if name not in labels:
        horizons = [int(column.removeprefix("return_")) for column in labels if column.startswith("return_")]
        raise ParameterError(
            f"training.horizon is {horizon} and training.demean is {training.demean}, but there is no label {name}: "
            f"labels.horizons are {horizons}, and excess returns need three pairs or more"
        )
    return name


def _fit_fold(task: _Task, fold: dict, report: Callable[[Progress], None]) -> tuple[FoldModel, pd.DataFrame]:
    """Model and test predictions of one fold; what is fitted sees the training rows only."""
    from agent_market.learning.preprocessing import build_preprocessing  # scikit-learn is slow to import

    started = time.perf_counter()
    adapter, number = get_adapter(task.options.adapter), fold["fold"]
    train = _labelled(task, fold, "train")
    valid = _labelled(task, fold, "valid")
    _check_target(train, task, number)
    tensor, preprocessing = task.tensor, build_preprocessing(task.options.preprocessing)
    if preprocessing is not None:
        preprocessing.fit(train.X)
        values = preprocessing.transform(tensor.values)
        train, valid = train.with_values(values), valid.with_values(values)
    scale = 1.0
    if task.options.task == "regression":
        scale = float(train.y.std())
        train, valid = (_scaled(samples, scale, task.clip_target) for samples in (train, valid))
    fitted = adapter.fit(train, valid if len(valid) else None, task.options, report=report)
    part = FoldModel(number, fitted, preprocessing, scale)

    rows = test_rows(tensor.date, fold["test_start"], fold["test_end"])
    rows = rows[np.isfinite(tensor.values[rows]).any(axis=1)]
    predictions = pd.DataFrame(
        {
            "pair": tensor.pair[rows],
            "date": tensor.date[rows],
            "fold": number,
            "prediction": part.predict(adapter, tensor, rows),
        }
    )
    log.info(
        "    %s %s, fold %d: %d training rows, %d predictions, %.1f s",
        task.options.adapter, task.options.task, number, len(train), len(rows), time.perf_counter() - started,
    )  # fmt: skip
    return part, predictions


def _labelled(task: _Task, fold: dict, window: str) -> Samples:
    """Samples of the training or validation window whose label is known by its end."""
    date, label_end = task.tensor.date, task.labels[task.label_end]
    rows = training_rows(date, label_end, fold[f"{window}_start"], fold[f"{window}_end"])
    usable = np.isfinite(task.labels[task.target].to_numpy()[rows])
    usable &= np.isfinite(task.tensor.values[rows]).any(axis=1)
    return build_samples(task.tensor, task.labels, rows[usable], target=(task.target,))


def _check_target(train: Samples, task: _Task, fold: int) -> None:
    if len(train) < 2:
        raise ModelError(
            f"fold {fold} has {len(train)} training rows with a label and features: lengthen folds.train, or look "
            "for holes in the candles (dataset data_quality)"
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
