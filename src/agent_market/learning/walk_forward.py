"""Fit one model on every fold and foretell every test window: the only way predictions come about."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import joblib
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from agent_market.adapters import ModelOptions, Progress, get_adapter, kind_of, resumes, wants_processes
from agent_market.errors import DataError, ModelError, ParameterError
from agent_market.learning.checkpoints import CheckpointPlace
from agent_market.learning.fitting import fit_model, silent
from agent_market.learning.folds import check_out_of_sample, test_rows
from agent_market.learning.labels import label_end_column
from agent_market.learning.relay import relay, relay_from_cluster
from agent_market.learning.samples import FeatureTensor, Samples, build_samples, check_aligned
from agent_market.learning.sampling import bootstrap, every_kth, labelled_rows
from agent_market.learning.trained import FoldModel, TrainedModel, data_fingerprint
from agent_market.learning.weights import Weighting, label_uniqueness, sample_weights
from agent_market.market.execution import ExecutionPrices
from agent_market.options import Options, Span
from agent_market.parallel import place_of, run_parallel
from agent_market.source import code_fingerprint

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
    n_jobs: int = Field(-1, description="folds fitted side by side, where compute says; -1 = one per processor")
    checkpoints: Path | None = Field(
        None,
        description="folder where fits of adapters that can resume keep their state until all folds are fitted; "
        "null = none. What interrupted runs left there may be deleted",
    )

    @model_validator(mode="after")
    def _uniqueness_counts_once(self) -> Self:
        if self.bootstrap and self.weights == "uniqueness":
            raise ValueError(
                "bootstrap draws rows by uniqueness already: set weights to none or recency, or bootstrap to false"
            )
        return self


@dataclass(frozen=True)
class Task:
    """All that the fit of a fold needs: features, labels with the columns `targets` and their ends, and options."""

    name: str
    tensor: FeatureTensor
    labels: pd.DataFrame
    targets: tuple[str, ...]
    options: ModelOptions
    training: TrainingOptions
    timeframe: str
    checkpoints: CheckpointPlace | None = None

    @functools.cached_property
    def label_end(self) -> pd.Series:
        """When all labels of a row are known (n_rows,); NaT where one never is."""
        ends = self.labels[[label_end_column(target) for target in self.targets]]
        return ends.max(axis=1, skipna=False)


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
    name: str | None = None,
    report: Callable[[int, Progress], None] | None = None,
    candles: pd.DataFrame | None = None,
    funding: pd.DataFrame | None = None,
) -> tuple[TrainedModel, pd.DataFrame]:
    """The model of every fold, and its predictions of that fold's test rows.

    Predictions have one row per candle of a test window with any feature known: pair, date, fold, prediction
    (return over the horizon, probability that it is up, a score in the label's own units, or a position), kind (see
    `prediction_kind`), and for an ensemble of seeds `prediction_seed0`, …: what each of them says. `factors` and
    `compat` say how the features were computed; `name` is the model's, for messages and checkpoints. `report` receives
    (fold, Progress) while fits run. Models that trade while they learn need `candles`, those of the features, and in
    futures `funding` (pair, date, funding_rate, mark_price).

    Raises:
        ParameterError: The labels do not have a horizon that is to be foretold, or a warm start would look ahead.
        ModelError: A fold has no training rows, or its label is constant.
        DataError: Features, labels and candles are not of the same rows.
    """
    name = name or options.adapter
    how = {"timeframe": timeframe, "max_gap": max_gap}
    task = prepare_task(name, features, labels, options, training, **how, candles=candles, funding=funding)
    tables = [features, task.labels, folds, *(table for table in (candles, funding) if table is not None)]
    fingerprint = {"data": data_fingerprint(*tables), "code": code_fingerprint()}
    if training.checkpoints is not None and resumes(get_adapter(options.adapter)):
        facts = fingerprint | {
            "options": options.model_dump(mode="json"),
            "training": training.model_dump(mode="json", exclude={"n_jobs", "checkpoints"}),
            "timeframe": timeframe,
            "max_gap": max_gap,
        }
        task = replace(task, checkpoints=CheckpointPlace.of(training.checkpoints.absolute() / name, facts))
    each = folds.to_dict("records")
    parts = _fit_in_turn(task, folds, report) if options.warm_start else fit_side_by_side(task, each, report)
    if task.checkpoints is not None:
        task.checkpoints.clear(folds["fold"])
    kind = predicted_kind(options, task.targets[0])
    models, tables = zip(*parts, strict=True)
    predictions = pd.concat(tables, ignore_index=True).assign(kind=kind)
    predictions = predictions.sort_values(["pair", "date"], ignore_index=True)
    check_out_of_sample(predictions, folds, name=name)
    trained = TrainedModel(
        options=options,
        factors=factors,
        compat=compat,
        target=task.targets[0],
        kind=kind,
        timeframe=timeframe,
        max_gap=max_gap,
        fingerprint=fingerprint,
        folds=tuple(models),
    )
    return trained, predictions


def prepare_task(
    name: str,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    options: ModelOptions,
    training: TrainingOptions,
    *,
    timeframe: str,
    max_gap: int = 0,
    candles: pd.DataFrame | None = None,
    funding: pd.DataFrame | None = None,
) -> Task:
    """What fits of a model need, from tables with the same rows; of the labels only what the options ask for is kept.

    Raises:
        ParameterError: There is no such label.
        DataError: Features, labels and candles are not of the same rows.
    """
    tensor = FeatureTensor.from_frame(features, timeframe=timeframe, max_gap=max_gap)
    check_aligned(tensor, labels)
    if candles is not None:
        tensor = replace(tensor, execution=_execution(tensor, candles, funding, timeframe))
    return with_options(Task(name, tensor, labels, (), options, training, timeframe), labels, options)


def with_options(task: Task, labels: pd.DataFrame, options: ModelOptions) -> Task:
    """The same task with other options of its model; of the labels only what these ask for is kept.

    Raises:
        ParameterError: There is no such label.
    """
    targets = target_columns(labels, options, task.training)
    used = labels[["pair", "date", *targets, *dict.fromkeys(map(label_end_column, targets))]]
    return replace(task, labels=used, targets=targets, options=options)


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


def target_columns(labels: pd.DataFrame, options: ModelOptions, training: TrainingOptions) -> tuple[str, ...]:
    """The labels that a model is trained on: `target_column`, then the same label at each of its `aux_horizons`.

    Raises:
        ParameterError: There is no such label.
    """
    first = target_column(labels, options, training)
    label, horizons = first.rpartition("_")[0], getattr(options, "aux_horizons", ())
    if training.horizon in horizons or len(set(horizons)) < len(horizons):
        raise ParameterError(
            f"aux_horizons are {list(horizons)}: name each further horizon once, and not training.horizon "
            f"({training.horizon}), which is learned anyway"
        )
    for horizon in horizons:
        if f"{label}_{horizon}" not in labels:
            known = sorted(int(name.removeprefix("return_")) for name in labels if name.startswith("return_"))
            raise ParameterError(
                f"aux_horizons has {horizon}, but there is no label {label}_{horizon}: labels.horizons are {known}. "
                f"Add {horizon} there and run the feature_store pipeline, or leave it out of aux_horizons"
            )
    return first, *(f"{label}_{horizon}" for horizon in horizons)


def prediction_kind(target: str) -> str:
    """What predictions of the label in column `target` are.

    `probability` that the return is up; `return` over the horizon, a fraction (of an excess label: beyond the market);
    or `score`: a number around 0 in the label's own units, which orders and signs but is no return.
    """
    label = target.rpartition("_")[0]
    return {"up": "probability", "return": "return", "excess": "return"}.get(label, "score")


def predicted_kind(options: ModelOptions, target: str) -> str:
    """What a model's predictions are: its adapter's own kind, or that of its label."""
    return kind_of(get_adapter(options.adapter)) or prediction_kind(target)


def compares_pairs(target: str) -> bool:
    """Whether the label in column `target` is measured from the mean of the pairs at its date."""
    return target.rpartition("_")[0] in ("excess", "scaled_excess", "rank")


def _execution(
    tensor: FeatureTensor, candles: pd.DataFrame, funding: pd.DataFrame | None, timeframe: str
) -> ExecutionPrices:
    same = len(candles) == len(tensor.date) and (pd.DatetimeIndex(candles["date"]) == tensor.date).all()
    if not same or not (np.asarray(candles["pair"]) == np.asarray(tensor.pair)).all():
        raise DataError(
            f"features ({len(tensor.date)} rows) and candles ({len(candles)} rows) do not have the same (pair, date) "
            "rows: they come from different runs; run the feature_store pipeline again"
        )
    return ExecutionPrices.from_candles(candles, funding, timeframe=timeframe)


def fit_side_by_side(task: Task, each: list[dict], report: Callable[[int, Progress], None] | None) -> list[tuple]:
    """Model and predictions of each fold, each fitted from nothing."""
    training = task.training
    backend = "loky" if wants_processes(get_adapter(task.options.adapter)) else None
    place = place_of(backend, training.n_jobs, len(each))
    if place == "threading":
        fits = [joblib.delayed(fit_and_predict)(task, fold, _of_fold(report, fold["fold"])) for fold in each]
        return run_parallel(fits, n_jobs=training.n_jobs, backend=backend)
    relays = relay_from_cluster if place == "dask" else relay
    with relays(report or (lambda fold, progress: None)) as note:
        fits = [joblib.delayed(fit_and_predict)(task, fold, note(fold["fold"])) for fold in each]
        parts = run_parallel(fits, n_jobs=training.n_jobs, backend=backend)
    for part, predictions in parts:  # what those processes logged, nobody saw
        _log_fit(task, part, len(predictions))
    return parts


def _fit_in_turn(task: Task, folds: pd.DataFrame, report: Callable[[int, Progress], None] | None) -> list[tuple]:
    """Model and predictions of each fold, each fitted on top of the one before.

    An earlier model saw labels up to the end of its validation window, so that must lie before the next test window:
    it does with every calendar of `make_folds`, rolling or expanding, with an embargo or without.
    """
    parts: list[tuple[FoldModel, pd.DataFrame]] = []
    seen = None
    for fold in folds.sort_values("test_start").to_dict("records"):
        if seen is not None and seen > fold["test_start"]:
            raise ParameterError(
                f"models.{task.name}.warm_start: an earlier fold has learned from rows up to {seen}, but the test "
                f"window of fold {fold['fold']} starts at {fold['test_start']}; set warm_start to false for these folds"
            )
        before = parts[-1][0] if parts else None
        parts.append(fit_and_predict(task, fold, _of_fold(report, fold["fold"]), before))
        seen = max(fold["train_end"], fold["valid_end"], *([] if seen is None else [seen]))
    return parts


def fit_and_predict(
    task: Task,
    fold: dict,
    report: Callable[[Progress], None],
    before: FoldModel | None = None,
    *,
    quiet: bool = False,
) -> tuple[FoldModel, pd.DataFrame]:
    """Model and test predictions of one fold: `fold`, and of each of train, valid and test `<role>_start` and `_end`,
    or in the place of these two `<role>_windows`, several (start, end).
    """
    number, tensor = fold["fold"], task.tensor
    _, part = fit_fold(task, fold, report, before)
    adapter = get_adapter(task.options.adapter)
    rows = np.sort(np.concatenate([test_rows(tensor.date, *window) for window in _windows(fold, "test")]))
    rows = rows[np.isfinite(tensor.values[rows]).any(axis=1)]
    predictions = pd.DataFrame(
        {
            "pair": tensor.pair[rows],
            "date": tensor.date[rows],
            "fold": number,
            "prediction": part.predict(adapter, tensor, rows),
        }
    )
    members = part.predict_members(adapter, tensor, rows)
    for seed, said in enumerate(() if members is None else members.T):
        predictions[f"prediction_seed{seed}"] = said
    if not quiet:
        _log_fit(task, part, len(rows))
    return part, predictions


def _log_fit(task: Task, part: FoldModel, n_predictions: int) -> None:
    record = part.record
    log.info(
        "    %s %s, fold %d: %d training rows, %d predictions, %d steps, %.1f s",
        task.name, task.options.task, part.fold, record.rows, n_predictions, record.steps, record.seconds,
    )  # fmt: skip


def fit_fold(
    task: Task, fold: dict, report: Callable[[Progress], None], before: FoldModel | None = None
) -> tuple[int, FoldModel]:
    """How many rows of a fold's training window there are, and the model fitted to them: it sees nothing else.

    `before` is the model that a warm start continues.

    Raises:
        ModelError: There are no training rows, or their label is constant.
    """
    number = fold["fold"]
    train = _training_samples(task, fold)
    valid = _samples(task, _labelled(task, fold, "valid"))
    _check_target(train, task, number)
    part = fit_model(
        number,
        train,
        valid if len(valid) else None,
        task.options,
        clip_target=task.training.clip_target,
        report=report,
        name=task.name,
        init=before,
        checkpoint=task.checkpoints and task.checkpoints.folder(number),
    )
    return len(train), part


def _training_samples(task: Task, fold: dict) -> Samples:
    """The weighted samples that a fold's model is fitted to; nothing but the training window has a say in them."""
    training, label_end = task.training, task.label_end
    rows = every_kth(task.tensor, _labelled(task, fold, "train"), training.stride, timeframe=task.timeframe)
    drawn = None
    if training.bootstrap and len(rows):
        uniqueness = label_uniqueness(task.tensor, rows, label_end)
        rows, drawn = bootstrap(rows, uniqueness, seed=(task.options.seed, fold["fold"]))
    weight = sample_weights(training.weights, task.tensor, rows, label_end, half_life=training.half_life)
    if drawn is not None:
        weight = drawn if weight is None else drawn * weight
    return _samples(task, rows, weight)


def _labelled(task: Task, fold: dict, window: str) -> np.ndarray:
    """Rows of the training or validation window whose labels, those of further horizons too, are known by its end."""
    found = [np.empty(0, int)]
    for start, end in _windows(fold, window):
        by_target = [
            labelled_rows(task.tensor, task.labels, target, label_end_column(target), start, end)
            for target in task.targets
        ]
        found.append(functools.reduce(np.intersect1d, by_target))
    return np.sort(np.concatenate(found))


def _windows(fold: dict, role: str) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """The windows of a role in a fold, (start, end) each."""
    several = fold.get(f"{role}_windows")
    return [(fold[f"{role}_start"], fold[f"{role}_end"])] if several is None else several


def _samples(task: Task, rows: np.ndarray, weight: np.ndarray | None = None) -> Samples:
    return build_samples(task.tensor, task.labels, rows, target=task.targets, weight=weight)


def _check_target(train: Samples, task: Task, fold: int) -> None:
    if len(train) < 2:
        raise ModelError(
            f"fold {fold} has {len(train)} training rows with a label and features: lengthen folds.train, lower "
            "training.stride, or look for holes in the candles (dataset data_quality)"
        )
    for target, column in zip(task.targets, train.y.T, strict=True):
        if np.ptp(column) == 0:
            raise ModelError(
                f"label {target} is constant ({column[0]:g}) on all {len(train)} training rows of fold {fold}: there "
                "is nothing to learn. Do the prices move? Try another training.horizon or labels.up_threshold."
            )


def _of_fold(report: Callable[[int, Progress], None] | None, fold: int) -> Callable[[Progress], None]:
    return silent if report is None else lambda progress: report(fold, progress)
