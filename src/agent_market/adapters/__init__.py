"""One module per model library, all with the same plain functions; `get_adapter` finds them by name.

To add a library, write a module with the functions of `Adapter` and give its dotted path as a model's `adapter`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from agent_market.errors import ParameterError
from agent_market.options import Options

if TYPE_CHECKING:
    from agent_market.learning.samples import Samples

__all__ = [
    "BUILT_IN",
    "Adapter",
    "ModelOptions",
    "Progress",
    "get_adapter",
    "kind_of",
    "parse_model_options",
    "resumes",
    "stage_of",
    "wants_processes",
    "warm_starts",
]

BUILT_IN = ("catboost", "lightgbm", "sklearn", "stable_baselines3", "torch", "xgboost")

_ELSEWHERE = {"ensemble": "agent_market.learning.ensemble"}
"""What is made of trained models, and so not a library's adapter, lives with them."""

_FUNCTIONS = ("Options", "fit", "predict", "save", "load", "suggest")


@dataclass(frozen=True)
class Progress:
    """How far a fit is: `step` of at most `steps` (trees, epochs, updates), with the validation loss and IC so far.

    Each step is reported once; where a part of them is left out (a seed that stopped early), `step` leaps. `rate` is in
    training samples per second. `gain` is what a policy earned on the validation rows: log return net of costs.
    """

    step: int
    steps: int
    loss: float | None = None
    ic: float | None = None
    rate: float | None = None
    gain: float | None = None


class ModelOptions(Options):
    """What the options of every adapter share."""

    adapter: str = Field(description="a built-in adapter or the dotted path of a module with its functions")
    task: Literal["regression", "classification"] = Field(
        "regression", description="foretell the return itself, or the probability that it is up"
    )
    preprocessing: tuple[Literal["impute", "clip", "standardize"], ...] = Field(
        (), description="steps fitted to the training rows of each fold"
    )
    seed: int = Field(0, ge=0, description="seed of all that is random in the fit")
    warm_start: bool = Field(
        False,
        description="each fold goes on from the model of the fold before instead of from nothing; folds then run one "
        "after the other, whatever training.n_jobs is",
    )


class Adapter(Protocol):
    """The functions of an adapter module; `importance`, `contributions` and `predict_members` are optional, and so are

    - `STAGE` (default `ml_training`): the pipeline that trains its models;
    - `KIND` (default: what the label says): `position`, if what it predicts is a position whatever the label is;
    - `PROCESSES` (default False): fits of one process share what is random, so folds run in processes of their own;
    - `WARM_STARTS` (default False): `fit` takes `init` and goes on from it;
    - `CONTRIBUTIONS` (default "shap"): by what name `contributions` are reported;
    - `CHECKPOINTS` (default False): `fit` takes `checkpoint` and resumes from what it finds there.

    Options with a field `aux_horizons` (candles) make `y` wider: column 0 is the label of `training.horizon`, the
    others are the same label at those further horizons. All of them must be among `labels.horizons`.
    """

    Options: type[ModelOptions]

    def fit(
        self,
        train: "Samples",
        valid: "Samples | None",
        options: ModelOptions,
        *,
        report: Callable[[Progress], None],
        init: Any = None,
        checkpoint: Path | None = None,
    ) -> Any:
        """A model fitted to `train`; `valid` serves for early stopping only.

        `init` is the model of the fold before; it is given only if the module `WARM_STARTS` and the model's option
        `warm_start` is set. It stays as it was: what comes out is another model.

        `checkpoint` is a folder for this model, fold, data, options and code alone; it is given only if the module
        says `CHECKPOINTS`. The adapter makes it, replaces its contents atomically while it fits, and resumes from
        it, also from the state of a fit that had ended. The caller deletes it once all folds are fitted.
        """

    def predict(self, model: Any, samples: "Samples") -> np.ndarray:
        """Predictions (n,) or (n, n_horizons): returns, or probabilities of `up` for classification.

        Of several columns the first is the prediction. What a row gets does not depend on the other rows asked for.
        """

    def predict_members(self, model: Any, samples: "Samples") -> np.ndarray:
        """What each member of an ensemble of seeds says (n, n_seeds); the first column of `predict` is its mean, or of
        positions its median.
        """

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into the existing, empty `folder` in its library's native format, never as a pickle.

        As many files and folders as it takes; the name `preprocessing.skops` is not for the adapter.
        """

    def load(self, folder: Path) -> Any:
        """The model that `save` wrote."""

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Options drawn from the search space with an `optuna.Trial`."""

    def importance(self, model: Any) -> np.ndarray:
        """Weight of each feature in the model (n_features,), non-negative."""

    def contributions(self, model: Any, samples: "Samples") -> np.ndarray:
        """What each feature adds to each prediction (n, n_features), in the units that the model sums up in: with a
        constant they sum to the prediction, or of a classification to its log-odds.
        """


def get_adapter(name: str) -> Adapter:
    """The adapter module of a built-in name or of a dotted path.

    Raises:
        ParameterError: No such adapter, or the module lacks one of the functions.
    """
    known = (*BUILT_IN, *_ELSEWHERE)
    if name in known:
        return importlib.import_module(_ELSEWHERE.get(name, f"{__name__}.{name}"))
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    if "." not in name:
        raise ParameterError(
            f"unknown adapter {name!r}.{hint} Known: {', '.join(known)}, or the dotted path of a module."
        )
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"adapter {name!r} cannot be imported: {error}. Built in: {', '.join(BUILT_IN)}"
        ) from error
    if missing := [function for function in _FUNCTIONS if not hasattr(module, function)]:
        raise ParameterError(f"module {name} is no adapter: it lacks {', '.join(missing)}")
    return module


def parse_model_options(block: dict[str, Any]) -> ModelOptions:
    """The options of one model's parameters, validated by the adapter that the block names.

    Raises:
        ParameterError: No such adapter, or it cannot do what the options ask for.
    """
    if "adapter" not in block:
        raise ParameterError(
            f"a model needs the key `adapter`; known: {', '.join((*BUILT_IN, *_ELSEWHERE))}, or a dotted path"
        )
    adapter = get_adapter(block["adapter"])
    options = adapter.Options.model_validate(block)
    if options.warm_start and not warm_starts(adapter):
        raise ParameterError(
            f"warm_start is true, but models of adapter {options.adapter!r} cannot go on from an earlier one; "
            "set it to false, or take an adapter that can, such as catboost, lightgbm, torch or xgboost"
        )
    return options


def warm_starts(adapter: Adapter) -> bool:
    """Whether fits can go on from an earlier model."""
    return getattr(adapter, "WARM_STARTS", False)


def resumes(adapter: Adapter) -> bool:
    """Whether fits that were interrupted can resume from a checkpoint."""
    return getattr(adapter, "CHECKPOINTS", False)


def kind_of(adapter: Adapter) -> str | None:
    """What its predictions are, where that does not depend on the label."""
    return getattr(adapter, "KIND", None)


def wants_processes(adapter: Adapter) -> bool:
    """Whether folds are to be fitted in processes of their own."""
    return getattr(adapter, "PROCESSES", False)


def stage_of(adapter: str) -> str:
    """The training pipeline that runs models of this adapter."""
    return getattr(get_adapter(adapter), "STAGE", "ml_training")
