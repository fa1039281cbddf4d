"""Parameters of tuning, and the spaces that a user writes; nothing here needs Optuna."""

import itertools
import math
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from agent_market.options import Options

Objective = Literal["ic", "rank_ic", "sharpe", "logloss"]


class Suggests(Protocol):
    """The part of an `optuna.Trial` that draws."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from `low` to `high`, both included."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from `low` to `high`."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """One of the choices."""


class Range(Options):
    """Values from `low` to `high`, both included; whole numbers where both are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="draw evenly by order of magnitude")
    step: int | float | None = Field(None, gt=0, description="distance of neighbouring values; none: 1, or any")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"with log=true low must be above 0, not {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: leave one out")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def draw(self, trial: Suggests, name: str) -> int | float:
        """A value that the trial suggests."""
        if self.whole:
            return trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(name, float(self.low), float(self.high), step=self.step, log=self.log)

    def points(self, most: int) -> list[int | float]:
        """The values of a grid: all that `step` makes, or up to `most`, evenly spread."""
        if self.step is not None:
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            values = [self.low + number * self.step for number in range(count)]
        elif most == 1:
            values = [math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2]
        elif self.log:
            values = np.geomspace(self.low, self.high, most).tolist()
        else:
            values = np.linspace(self.low, self.high, most).tolist()
        return list(dict.fromkeys(round(value) if self.whole else float(value) for value in values))


def _form(values: Any) -> str:
    return "list" if isinstance(values, list | tuple) else "range"


Values = Annotated[
    Annotated[Range, Tag("range")] | Annotated[tuple[Any, ...], Tag("list")],
    Discriminator(_form),
]
"""What an option may be: a range, or one of a list."""


class TuningOptions(Options):
    """Whether and how options of models are chosen, on the first fold's training window alone."""

    enabled: bool = Field(False, description="tune before the walk-forward")
    models: tuple[str, ...] | None = Field(
        None, description="which, also as 'lightgbm xgboost'; null = all but ensembles"
    )
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe", description="tpe: by what earlier trials showed (Bayesian); random; grid: all combinations"
    )
    trials: int = Field(20, ge=1, description="configurations of each model, the configured one first; grid: at most")
    grid_points: int = Field(3, ge=1, description="sampler=grid: values of a range that has no step")
    objective: Objective = Field(
        "rank_ic", description="mean over the inner folds of: IC, RankIC, annual Sharpe ratio after costs, log loss"
    )
    folds: int = Field(3, ge=1, description="inner folds, in the latter half of the first fold's training window")
    pruner: Literal["median", "none"] = Field(
        "median", description="median: a trial ends after an inner fold in which it is worse than the median of others"
    )
    warm_up: int = Field(5, ge=0, description="trials that are never pruned")
    compare: bool = Field(
        True,
        description="walk the configured options forward, too: the report says what tuning brought out of sample",
    )
    storage: str | None = Field(
        None,
        description="where a study is kept, so that it resumes and processes share it: a folder (journal files) or the "
        "URL of a database (sqlite:///…, postgresql://…); null = nowhere",
    )
    seed: int = Field(0, ge=0)
    space: dict[str, dict[str, Values]] = Field(
        {}, description="by model: option → {low, high, log, step} or a list; in place of the adapter's own space"
    )

    @field_validator("models", mode="before")
    @classmethod
    def _names_in_a_row(cls, models: Any) -> Any:
        return models.split() if isinstance(models, str) else models

    @field_validator("space")
    @classmethod
    def _choices_are_some(cls, space: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for model, block in space.items():
            for option, values in block.items():
                if not isinstance(values, Range) and not values:
                    raise ValueError(f"{model}.{option} is an empty list: name the values to choose from")
        return space


def draw(space: dict[str, Range | tuple[Any, ...]], trial: Suggests) -> dict[str, Any]:
    """Options drawn from a space."""
    found = {}
    for name, values in space.items():
        if isinstance(values, Range):
            found[name] = values.draw(trial, name)
        elif any(isinstance(value, list | tuple) for value in values):
            found[name] = values[trial.suggest_categorical(name, list(range(len(values))))]
        else:
            found[name] = trial.suggest_categorical(name, list(values))
    return found


class Recorder:
    """A trial that writes down what it is asked to draw: ranges and choices by name."""

    def __init__(self) -> None:
        self.space: dict[str, Range | list[Any]] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The lowest number."""
        self.space[name] = Range(low=low, high=high, log=log, step=None if step == 1 else step)
        return low

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The lowest number."""
        self.space[name] = Range(low=float(low), high=float(high), log=log, step=step)
        return low

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """The first choice."""
        self.space[name] = list(choices)
        return choices[0]


def grid_of(suggest: Any, points: int, *, seed: int) -> list[dict[str, Any]]:
    """All combinations of what `suggest(trial)` draws, in an order that a part of them is spread by."""
    recorder = Recorder()
    suggest(recorder)
    values = [part.points(points) if isinstance(part, Range) else part for part in recorder.space.values()]
    rows = [dict(zip(recorder.space, row, strict=True)) for row in itertools.product(*values)]
    return [rows[number] for number in np.random.default_rng(seed).permutation(len(rows))]
