"""Fit the model of one fold: its preprocessing, the scale of its target, its progress, and errors that say where."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent_market.adapters import ModelOptions, Progress, get_adapter, kind_of
from agent_market.errors import AgentMarketError
from agent_market.learning.samples import Samples
from agent_market.learning.trained import FitRecord, FoldModel


def fit_model(
    number: int,
    train: Samples,
    valid: Samples | None,
    options: ModelOptions,
    *,
    clip_target: float | None,
    report: Callable[[Progress], None],
    name: str | None = None,
    init: FoldModel | None = None,
    checkpoint: Path | None = None,
) -> FoldModel:
    """The model of fold `number`, with the preprocessing and the scale of the target that `train` gives.

    `init` is the fold that a warm start goes on from: its scale is kept, so that what it learned means the same.
    `checkpoint` is where the adapter may keep what it needs to resume. The last progress reported has step = steps.

    Raises:
        AgentMarketError: What the adapter raised, with the model's `name` and the fold before it.
    """
    from agent_market.learning.preprocessing import build_preprocessing  # scikit-learn is slow to import

    started, valid_rows = time.perf_counter(), 0 if valid is None else len(valid)
    preprocessing = build_preprocessing(options.preprocessing)
    if preprocessing is not None:
        preprocessing.fit(train.X)
        values = preprocessing.transform(train.tensor.values)
        train, valid = (samples and samples.with_values(values) for samples in (train, valid))
    adapter, scale = get_adapter(options.adapter), np.ones(train.y.shape[1])
    if options.task == "regression" and kind_of(adapter) != "position":
        deviation = np.array([column.std() for column in train.y.T])  # (n_horizons,)
        scale = deviation if init is None else deviation * (init.target_scale / deviation[0])
        limit = None if clip_target is None else clip_target * deviation / scale
        train, valid = (samples and _scaled(samples, scale, limit) for samples in (train, valid))

    further = {} if init is None else {"init": init.model}
    further |= {} if checkpoint is None else {"checkpoint": checkpoint}
    heard = _Heard(report)
    try:
        fitted = adapter.fit(train, valid, options, report=heard, **further)
    except AgentMarketError as error:
        raise type(error)(f"model {name or options.adapter}, fold {number}: {error}") from error
    except Exception as error:
        error.add_note(f"This happened in the fit of model {name or options.adapter}, fold {number}.")
        raise
    record = FitRecord(len(train), valid_rows, heard.end(), time.perf_counter() - started, init is not None)
    return FoldModel(number, fitted, preprocessing, float(scale[0]), record)


def silent(progress: Progress) -> None:
    """Progress of a fit that nobody watches."""


def _scaled(samples: Samples, scale: np.ndarray, limit: np.ndarray | None) -> Samples:
    y = samples.y / scale
    return replace(samples, y=y if limit is None else np.clip(y, -limit, limit))


class _Heard:
    """Passes progress on, and counts: each step is reported once."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self.report = report
        self.steps = 0
        self.last = Progress(0, 0)

    def __call__(self, progress: Progress) -> None:
        self.steps += 1
        self.last = progress
        self.report(progress)

    def end(self) -> int:
        """How many steps there were; those who watch learn that there are no more, where a fit stopped early."""
        if self.last.step < self.last.steps:
            self.report(replace(self.last, steps=self.last.step))
        return self.steps
