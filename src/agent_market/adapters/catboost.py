"""CatBoost: gradient-boosted symmetric trees, stored as CatBoost's own binary file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from agent_market.adapters import Progress
from agent_market.adapters.boosting import BoostingOptions

if TYPE_CHECKING:
    import catboost
    import optuna

    from agent_market.learning.samples import Samples

FILE = "model.cbm"
WARM_STARTS = True


class Options(BoostingOptions):
    """CatBoost's parameters under its own names; defaults are for noisy returns."""

    adapter: Literal["catboost"] = "catboost"
    n_estimators: int = Field(300, ge=1, description="most trees; early stopping usually takes fewer")
    learning_rate: float = Field(0.05, gt=0)
    depth: int = Field(4, ge=1, le=16)
    l2_leaf_reg: float = Field(10.0, ge=0)
    rsm: float = Field(0.5, gt=0, le=1, description="share of features tried at each level")
    subsample: float = Field(0.7, gt=0, le=1)
    border_count: int = Field(64, ge=1, le=65535)


def fit(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: "catboost.CatBoost | None" = None,
) -> "catboost.CatBoost":
    """A model fitted to one label, cut back to its best iteration on `valid`.

    With `init` up to `n_estimators` further trees are put on top of its trees, at least one; early stopping counts the
    further ones only.
    """
    import catboost

    data = catboost.Pool(train.X, train.y[:, 0], weight=train.weight)
    model = catboost.CatBoost(_params(options))
    stop = {}
    if valid is not None and options.early_stopping:
        watched = catboost.Pool(valid.X, valid.y[:, 0], weight=valid.weight)
        stop = {"eval_set": watched, "early_stopping_rounds": options.early_stopping, "use_best_model": True}
    model.fit(data, callbacks=[_Reporter(report, options.n_estimators)], init_model=init, **stop)
    return model


def predict(model: "catboost.CatBoost", samples: "Samples") -> np.ndarray:
    """Predictions (n,)."""
    if model.get_all_params()["loss_function"] == "Logloss":
        return model.predict(samples.X, prediction_type="Probability", thread_count=1)[:, 1]
    return model.predict(samples.X, thread_count=1)


def save(model: "catboost.CatBoost", folder: Path) -> None:
    """Write `model.cbm`; equal models are equal files."""
    facts = model.get_metadata()
    facts["train_finish_time"] = facts["model_guid"] = ""  # a clock and a random number
    model.save_model(str(folder / FILE))


def load(folder: Path) -> "catboost.CatBoost":
    """Read `model.cbm`."""
    import catboost

    return catboost.CatBoost().load_model(str(folder / FILE))


def suggest(trial: "optuna.Trial") -> dict[str, Any]:
    """Size, speed and regularisation of the trees."""
    return {
        "depth": trial.suggest_int("depth", 2, 8),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1.0, 100.0, log=True),
        "rsm": trial.suggest_float("rsm", 0.2, 1.0),
    }


def importance(model: "catboost.CatBoost") -> np.ndarray:
    """Change of the prediction that each feature accounts for (n_features,), as CatBoost measures it."""
    return np.asarray(model.get_feature_importance(type="PredictionValuesChange"))


def contributions(model: "catboost.CatBoost", samples: "Samples") -> np.ndarray:
    """SHAP values (n, n_features) by the trees' own paths (Lundberg et al. 2020)."""
    import catboost

    pool = catboost.Pool(samples.X)
    return np.asarray(model.get_feature_importance(pool, type="ShapValues", thread_count=1))[:, :-1]


def _params(options: Options) -> dict[str, Any]:
    own = options.model_dump(
        include={"n_estimators", "learning_rate", "depth", "l2_leaf_reg", "rsm", "subsample", "border_count"}
    )
    return own | {
        "loss_function": "Logloss" if options.task == "classification" else "RMSE",
        "bootstrap_type": "Bernoulli",
        "random_seed": options.seed,
        "thread_count": options.threads,
        "logging_level": "Silent",
        "allow_writing_files": False,
        **options.params,
    }


class _Reporter:
    def __init__(self, report: Callable[[Progress], None], steps: int) -> None:
        self.report, self.steps = report, steps

    def after_iteration(self, info: Any) -> bool:
        losses = next(iter(info.metrics["validation"].values())) if "validation" in info.metrics else None
        self.report(Progress(info.iteration, self.steps, losses[-1] if losses else None))
        return True
