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
    "parse_model_options",
    "stage_of",
]

BUILT_IN = ("catboost", "lightgbm", "sklearn", "xgboost")

_FUNCTIONS = ("Options", "fit", "predict", "save", "load", "suggest")


@dataclass(frozen=True)
class Progress:
    """How far a fit is: `step` of at most `steps` (trees, epochs), and the validation loss so far."""

    step: int
    steps: int
    loss: float | None = None


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


class Adapter(Protocol):
    """The functions of an adapter module.

    `STAGE` (optional, default `ml_training`) names the pipeline that trains its models; `importance` is optional.
    """

    Options: type[ModelOptions]

    def fit(
        self,
        train: "Samples",
        valid: "Samples | None",
        options: ModelOptions,
        *,
        report: Callable[[Progress], None],
    ) -> Any:
        """A model fitted to `train`; `valid` serves for early stopping only."""

    def predict(self, model: Any, samples: "Samples") -> np.ndarray:
        """Predictions (n,) or (n, n_horizons): returns, or probabilities of `up` for classification."""

    def save(self, model: Any, folder: Path) -> None:
        """Write the model into the existing, empty `folder` in its library's native format, never as a pickle."""

    def load(self, folder: Path) -> Any:
        """The model that `save` wrote."""

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Options drawn from the search space with an `optuna.Trial`."""

    def importance(self, model: Any) -> np.ndarray:
        """Weight of each feature in the model (n_features,), non-negative."""


def get_adapter(name: str) -> Adapter:
    """The adapter module of a built-in name or of a dotted path.

    Raises:
        ParameterError: No such adapter, or the module lacks one of the functions.
    """
    if name in BUILT_IN:
        return importlib.import_module(f"{__name__}.{name}")
    close = get_close_matches(name, BUILT_IN, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    if "." not in name:
        raise ParameterError(
            f"unknown adapter {name!r}.{hint} Known: {', '.join(BUILT_IN)}, or the dotted path of a module."
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
    """The options of one model's parameters, validated by the adapter that the block names."""
    if "adapter" not in block:
        raise ParameterError(f"a model needs the key `adapter`; known: {', '.join(BUILT_IN)}, or a dotted path")
    return get_adapter(block["adapter"]).Options.model_validate(block)


def stage_of(adapter: str) -> str:
    """The training pipeline that runs models of this adapter."""
    return getattr(get_adapter(adapter), "STAGE", "ml_training")
