"""PyTorch: MLP, LSTM, GRU, TCN, transformer or a network of your own, on windows of candles; stored as safetensors.

A prediction sees the `lookback` candles up to its own, never those of another pair or from before a hole: where there
are fewer, zeros stand in for them, the mean of standardized features, in training as in prediction.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_market.adapters import Progress
from agent_market.adapters.torch.options import Augmentation, Options

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from agent_market.adapters.torch.ensemble import Ensemble
    from agent_market.learning.samples import Samples

__all__ = [
    "CHECKPOINTS",
    "STAGE",
    "WARM_STARTS",
    "Augmentation",
    "Options",
    "export_onnx",
    "fit",
    "load",
    "predict",
    "predict_members",
    "save",
    "suggest",
]

STAGE = "dl_training"
WARM_STARTS = True
CHECKPOINTS = True


def fit(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: "Ensemble | None" = None,
    checkpoint: Path | None = None,
) -> "Ensemble":
    """Networks of `options.seeds` seeds, each with the weights that did best on `valid`.

    With `init` they go on from its weights, for `warm_epochs`. The folder `checkpoint` holds the state after each
    epoch; a fit that finds one there ends with the same weights as if it had not been interrupted.

    Raises:
        ModelError: Features or the loss are not finite, `init` has another form, or a network of your own does not
            fit its task.
        ParameterError: The device, or a function named by its dotted path, is not to be had.
    """
    from agent_market.adapters.torch.ensemble import fit_ensemble

    return fit_ensemble(train, valid, options, report=report, init=init, checkpoint=checkpoint)


def predict(model: "Ensemble", samples: "Samples") -> "np.ndarray":
    """Mean of the members' predictions: (n,), or (n, 1 + n_aux_horizons)."""
    from agent_market.adapters.torch.ensemble import member_predictions

    mean = member_predictions(model, samples).mean(axis=0)
    return mean[:, 0] if model.n_labels == 1 else mean


def predict_members(model: "Ensemble", samples: "Samples") -> "np.ndarray":
    """What each member says of the first label (n, n_seeds)."""
    from agent_market.adapters.torch.ensemble import member_predictions

    return member_predictions(model, samples)[:, :, 0].T


def save(model: "Ensemble", folder: Path) -> None:
    """Write `network.json` and the weights of each seed as safetensors."""
    from agent_market.adapters.torch.storage import save_ensemble

    save_ensemble(model, folder)


def load(folder: Path) -> "Ensemble":
    """Read what `save` wrote; what was trained on a GPU is put on the CPU where there is none."""
    from agent_market.adapters.torch.storage import load_ensemble

    return load_ensemble(folder)


def export_onnx(model: "Ensemble", path: Path) -> None:
    """Write one ONNX graph, windows (batch, lookback, n_features) to predictions (batch, n_labels)."""
    from agent_market.adapters.torch.onnx import export_ensemble

    export_ensemble(model, path)


def suggest(trial: "optuna.Trial") -> dict[str, Any]:
    """Size, look-back, speed and regularisation of a built-in network."""
    return {
        "lookback": trial.suggest_categorical("lookback", [16, 32, 64]),
        "hidden": trial.suggest_categorical("hidden", [16, 32, 64]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
    }
