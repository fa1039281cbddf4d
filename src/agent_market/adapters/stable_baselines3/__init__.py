"""Stable-Baselines3: policies that learn to trade by trading the training candles; they run with numpy alone.

A policy sees the features of a candle and the position that it holds, and its prediction is a position. It is trained
in `trading.env`, whose account follows the rules and the costs of the backtest.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_market.adapters import Progress
from agent_market.adapters.stable_baselines3.options import Options

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from agent_market.adapters.stable_baselines3.ensemble import Ensemble
    from agent_market.learning.samples import Samples

__all__ = [
    "CHECKPOINTS",
    "KIND",
    "PROCESSES",
    "STAGE",
    "WARM_STARTS",
    "Options",
    "fit",
    "importance",
    "load",
    "predict",
    "predict_members",
    "save",
    "suggest",
]

STAGE = "rl_training"
KIND = "position"
WARM_STARTS = True
CHECKPOINTS = True
PROCESSES = True


def fit(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: "Ensemble | None" = None,
    checkpoint: Path | None = None,
) -> "Ensemble":
    """Policies of `options.seeds` seeds, trained on the rows of `train` and no price beyond them.

    `valid` is where they are evaluated, and with `patience` stopped. With `init` they go on from its weights, critics
    included. The folder `checkpoint` holds the state of the training now and then; a fit that finds one there ends
    with the same weights as if it had not been interrupted. Within a process one fit runs at a time, because the
    library draws from the process's own random generators.

    Raises:
        DataError: The rows have no prices, missing features, or no stretch that is long enough.
        ModelError: `init` has another form, or there is a part in the policy that numpy cannot run.
        ParameterError: The library does not take an option, or what it needs is not installed.
    """
    from agent_market.adapters.stable_baselines3.training import fit_ensemble

    return fit_ensemble(train, valid, options, report=report, init=init, checkpoint=checkpoint)


def predict(model: "Ensemble", samples: "Samples") -> "np.ndarray":
    """The position (n,) that the median of the seeds takes."""
    from agent_market.adapters.stable_baselines3.ensemble import member_positions, vote

    return vote(member_positions(model, samples))


def predict_members(model: "Ensemble", samples: "Samples") -> "np.ndarray":
    """The position that each seed takes (n, n_seeds)."""
    from agent_market.adapters.stable_baselines3.ensemble import member_positions

    return member_positions(model, samples).T


def save(model: "Ensemble", folder: Path) -> None:
    """Write `policy.json` and the weights of each seed as safetensors."""
    from agent_market.adapters.stable_baselines3.storage import save_ensemble

    save_ensemble(model, folder)


def load(folder: Path) -> "Ensemble":
    """Read what `save` wrote, with numpy alone."""
    from agent_market.adapters.stable_baselines3.storage import load_ensemble

    return load_ensemble(folder)


def suggest(trial: "optuna.Trial") -> dict[str, Any]:
    """How far a policy looks ahead, how fast it learns, and its size."""
    width = trial.suggest_categorical("width", [16, 32, 64, 128])
    return {
        "gamma": trial.suggest_float("gamma", 0.7, 0.99),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-3, log=True),
        "net_arch": [width, width],
    }


def importance(model: "Ensemble") -> "np.ndarray":
    """How strongly the first layers take up each feature (n_features,): mean size of their weights, over the seeds."""
    from agent_market.adapters.stable_baselines3.ensemble import first_weights

    return first_weights(model)
