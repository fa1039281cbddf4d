"""LightGBM: gradient-boosted trees, stored as LightGBM's own text file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from agent_market.adapters import Progress
from agent_market.adapters.boosting import BoostingOptions

if TYPE_CHECKING:
    import lightgbm as lgb
    import optuna

    from agent_market.learning.samples import Samples

FILE = "model.txt"
WARM_STARTS = True


class Options(BoostingOptions):
    """LightGBM's parameters under its own names; defaults are for noisy returns: small trees, strong subsampling."""

    adapter: Literal["lightgbm"] = "lightgbm"
    num_leaves: int = Field(15, ge=2)
    min_data_in_leaf: int = Field(200, ge=1)
    feature_fraction: float = Field(0.5, gt=0, le=1)
    bagging_fraction: float = Field(0.7, gt=0, le=1)
    lambda_l2: float = Field(10.0, ge=0)
    max_bin: int = Field(63, ge=2)


def fit(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: "lgb.Booster | None" = None,
) -> "lgb.Booster":
    """A booster fitted to one label, cut back to its best iteration on `valid`.

    With `init` up to `n_estimators` further trees are put on top of its trees, at least one; early stopping counts the
    further ones only.
    """
    lgb = _import()
    data = lgb.Dataset(train.X, train.y[:, 0], weight=train.weight, free_raw_data=True)
    callbacks = [_reporter(report, options.n_estimators)]
    valid_sets = []
    if valid is not None and options.early_stopping:
        valid_sets = [lgb.Dataset(valid.X, valid.y[:, 0], weight=valid.weight, reference=data)]
        callbacks.append(lgb.early_stopping(options.early_stopping, verbose=False))
    booster = lgb.train(
        _params(options), data, options.n_estimators, valid_sets=valid_sets, callbacks=callbacks, init_model=init
    )
    # The text file keeps the best iteration only, so the model in memory must be the same one.
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration or None))


def predict(model: "lgb.Booster", samples: "Samples") -> np.ndarray:
    """Predictions (n,)."""
    return model.predict(samples.X, num_threads=1)


def save(model: "lgb.Booster", folder: Path) -> None:
    """Write `model.txt`."""
    model.save_model(folder / FILE)


def load(folder: Path) -> "lgb.Booster":
    """Read `model.txt`."""
    return _import().Booster(model_file=folder / FILE)


def suggest(trial: "optuna.Trial") -> dict[str, Any]:
    """Size, speed and regularisation of the trees."""
    return {
        "num_leaves": trial.suggest_int("num_leaves", 4, 63, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 50, 2000, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 1000.0, log=True),
    }


def importance(model: "lgb.Booster") -> np.ndarray:
    """Total gain of the splits on each feature (n_features,)."""
    return model.feature_importance("gain")


def contributions(model: "lgb.Booster", samples: "Samples") -> np.ndarray:
    """SHAP values (n, n_features) by the trees' own paths (Lundberg et al. 2020)."""
    return model.predict(samples.X, pred_contrib=True, num_threads=1)[:, :-1]


def _params(options: Options) -> dict[str, Any]:
    own = options.model_dump(
        include={
            "learning_rate", "num_leaves", "min_data_in_leaf", "feature_fraction", "bagging_fraction", "lambda_l2",
            "max_bin", "seed",
        }
    )  # fmt: skip
    return own | {
        "objective": "binary" if options.task == "classification" else "l2",
        "bagging_freq": 1,
        "num_threads": options.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        **options.params,
    }


def _reporter(report: Callable[[Progress], None], steps: int) -> Callable:
    def callback(env: Any) -> None:
        loss = env.evaluation_result_list[0][2] if env.evaluation_result_list else None
        report(Progress(env.iteration - env.begin_iteration + 1, steps, loss))

    return callback


def _import() -> Any:
    """LightGBM, which needs the system's OpenMP library; a bare machine lacks it, but torch brings one along."""
    try:
        import lightgbm
    except OSError as error:
        if "libgomp" not in str(error):
            raise
        import ctypes
        from importlib.util import find_spec

        ctypes.CDLL(str(Path(find_spec("torch").origin).parent / "lib" / "libgomp.so.1"))
        import lightgbm
    return lightgbm
