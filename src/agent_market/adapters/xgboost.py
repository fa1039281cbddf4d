"""XGBoost: gradient-boosted trees by histogram, stored as XGBoost's own UBJSON file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from agent_market.adapters import Progress
from agent_market.adapters.boosting import BoostingOptions

if TYPE_CHECKING:
    import optuna
    import xgboost as xgb

    from agent_market.learning.samples import Samples

FILE = "model.ubj"
WARM_STARTS = True


class Options(BoostingOptions):
    """XGBoost's parameters under its own names; defaults are for noisy returns."""

    adapter: Literal["xgboost"] = "xgboost"
    max_depth: int = Field(4, ge=1)
    min_child_weight: float = Field(
        100.0, ge=0, description="least rows in a leaf; in classification a row weighs a quarter or less"
    )
    colsample_bytree: float = Field(0.5, gt=0, le=1)
    subsample: float = Field(0.7, gt=0, le=1)
    reg_lambda: float = Field(10.0, ge=0)
    max_bin: int = Field(64, ge=2)


def fit(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: "xgb.Booster | None" = None,
) -> "xgb.Booster":
    """A booster fitted to one label, cut back to its best iteration on `valid`.

    With `init` up to `n_estimators` further trees are put on top of its trees, at least one; early stopping counts the
    further ones only.
    """
    import xgboost as xgb

    matrix = {"max_bin": options.max_bin, "nthread": options.threads}
    data = xgb.QuantileDMatrix(train.X, train.y[:, 0], weight=train.weight, **matrix)
    stop = {}
    if valid is not None and options.early_stopping:
        watched = xgb.QuantileDMatrix(valid.X, valid.y[:, 0], weight=valid.weight, ref=data, **matrix)
        stop = {"evals": [(watched, "valid")], "early_stopping_rounds": options.early_stopping}
    booster = xgb.train(
        _params(options),
        data,
        options.n_estimators,
        callbacks=[_reporter(report, options.n_estimators)],
        verbose_eval=False,
        xgb_model=init,
        **stop,
    )
    return booster[: booster.best_iteration + 1] if stop else booster


def predict(model: "xgb.Booster", samples: "Samples") -> np.ndarray:
    """Predictions (n,)."""
    return model.inplace_predict(samples.X).astype(float)


def save(model: "xgb.Booster", folder: Path) -> None:
    """Write `model.ubj`."""
    model.save_model(folder / FILE)


def load(folder: Path) -> "xgb.Booster":
    """Read `model.ubj`."""
    import xgboost as xgb

    return xgb.Booster(model_file=folder / FILE)


def suggest(trial: "optuna.Trial") -> dict[str, Any]:
    """Size, speed and regularisation of the trees."""
    return {
        "max_depth": trial.suggest_int("max_depth", 2, 8),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 20.0, 2000.0, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 1000.0, log=True),
    }


def importance(model: "xgb.Booster") -> np.ndarray:
    """Total gain of the splits on each feature (n_features,)."""
    gain = model.get_score(importance_type="total_gain")  # {"f3": …}, features never split on are left out
    return np.array([gain.get(f"f{column}", 0.0) for column in range(model.num_features())])


def contributions(model: "xgb.Booster", samples: "Samples") -> np.ndarray:
    """SHAP values (n, n_features) by the trees' own paths (Lundberg et al. 2020)."""
    import xgboost as xgb

    return model.predict(xgb.DMatrix(samples.X), pred_contribs=True)[:, :-1]


def _params(options: Options) -> dict[str, Any]:
    own = options.model_dump(
        include={
            "learning_rate", "max_depth", "min_child_weight", "colsample_bytree", "subsample", "reg_lambda",
            "max_bin", "seed",
        }
    )  # fmt: skip
    return own | {
        "objective": "binary:logistic" if options.task == "classification" else "reg:squarederror",
        "tree_method": "hist",
        "nthread": options.threads,
        "verbosity": 0,
        **options.params,
    }


def _reporter(report: Callable[[Progress], None], steps: int) -> Any:
    from xgboost.callback import TrainingCallback

    class Reporter(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: dict) -> bool:
            losses = next(iter(evals_log["valid"].values())) if evals_log else None
            report(Progress(epoch + 1, steps, losses[-1] if losses else None))
            return False

    return Reporter()
