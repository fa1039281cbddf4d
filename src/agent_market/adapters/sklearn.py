"""scikit-learn's linear models: ridge regression, the honest baseline, and logistic regression; stored with skops."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from agent_market.adapters import ModelOptions, Progress
from agent_market.adapters.skops_file import write_skops

if TYPE_CHECKING:
    import optuna

    from agent_market.learning.samples import Samples

FILE = "model.skops"
CONTRIBUTIONS = "coefficient"


class Options(ModelOptions):
    """A linear model; it needs features without holes and of one scale, hence the preprocessing."""

    adapter: Literal["sklearn"] = "sklearn"
    preprocessing: tuple[Literal["impute", "clip", "standardize"], ...] = ("impute", "clip", "standardize")
    alpha: float = Field(1000.0, gt=0, description="strength of the L2 penalty on standardized features")


def fit(train: "Samples", valid: "Samples | None", options: Options, *, report: Callable[[Progress], None]) -> Any:
    """Ridge (or logistic) regression of one label; the validation rows are not used."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if options.task == "classification":
        model = LogisticRegression(C=1.0 / options.alpha, random_state=options.seed, max_iter=1000)
    else:
        model = Ridge(alpha=options.alpha, random_state=options.seed)
    model.fit(train.X.astype(float), train.y[:, 0], sample_weight=train.weight)
    report(Progress(1, 1))
    return model


def predict(model: Any, samples: "Samples") -> np.ndarray:
    """Predictions (n,)."""
    X = samples.X.astype(float)
    return model.predict_proba(X)[:, 1] if hasattr(model, "predict_proba") else model.predict(X)


def save(model: Any, folder: Path) -> None:
    """Write `model.skops`: no pickle."""
    write_skops(model, folder / FILE)


def load(folder: Path) -> Any:
    """Read `model.skops`; types other than scikit-learn's own are refused."""
    import skops.io

    return skops.io.load(folder / FILE)


def suggest(trial: "optuna.Trial") -> dict[str, Any]:
    """Strength of the penalty."""
    return {"alpha": trial.suggest_float("alpha", 1.0, 1e6, log=True)}


def importance(model: Any) -> np.ndarray:
    """Absolute coefficient of each standardized feature (n_features,)."""
    return np.abs(np.ravel(model.coef_))


def contributions(model: Any, samples: "Samples") -> np.ndarray:
    """Coefficient times feature (n, n_features): SHAP values of a linear model whose features have mean zero."""
    return np.ravel(model.coef_) * samples.X.astype(float)
