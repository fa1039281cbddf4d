"""A linear model by gradient descent: an adapter, found by its dotted path, with all that an adapter may have."""

import os
from typing import Literal

import numpy as np

from agent_market.adapters import ModelOptions, Progress
from agent_market.errors import ModelError

STAGE = "dl_training"
WARM_STARTS = True
CHECKPOINTS = True

CALLS: list[dict] = []
"""What `fit` was given, for tests to look at."""

BREAK_IN: dict[str, int] = {}
"""Stop with an error in epoch `epoch` of the `call`-th fit from now on."""


class Options(ModelOptions):
    adapter: Literal["toys.descent"] = "toys.descent"
    preprocessing: tuple[Literal["impute", "clip", "standardize"], ...] = ("impute", "standardize")
    epochs: int = 4
    rate: float = 0.1
    seeds: int = 1
    aux_horizons: tuple[int, ...] = ()


def fit(train, valid, options, *, report, init=None, checkpoint=None):
    """Weights (n_seeds, n_features, n_horizons)."""
    X, y = train.X.astype(float), train.y
    rng = np.random.default_rng(options.seed)
    weights = rng.normal(0, 0.1, (options.seeds, X.shape[1], y.shape[1])) if init is None else init.copy()
    first = 0
    if checkpoint is not None and (checkpoint / "state.npz").exists():
        state = np.load(checkpoint / "state.npz")
        weights, first = state["weights"], int(state["epoch"])
    call = {"train": train, "valid": valid, "init": init, "checkpoint": checkpoint, "first": first}
    CALLS.append(call)
    for epoch in range(first + 1, options.epochs + 1):
        if BREAK_IN and len(CALLS) == BREAK_IN["call"] and epoch == BREAK_IN["epoch"]:
            raise RuntimeError("the power went out")
        error = X @ weights - y  # (n_seeds, n, n_horizons)
        weights = weights - options.rate * X.T @ error / len(X)
        loss = float((error**2).mean())
        if not np.isfinite(loss):
            raise ModelError(f"the loss is {loss} in epoch {epoch}, batch 0")
        if checkpoint is not None:
            checkpoint.mkdir(parents=True, exist_ok=True)
            np.savez(checkpoint / "draft.npz", weights=weights, epoch=epoch)
            os.replace(checkpoint / "draft.npz", checkpoint / "state.npz")
        report(Progress(epoch, options.epochs, loss, ic=0.01 * epoch, rate=len(X) * 10.0))
    return weights


def predict(model, samples):
    return (samples.X.astype(float) @ model).mean(axis=0)


def predict_members(model, samples):
    return (samples.X.astype(float) @ model)[:, :, 0].T


def save(model, folder):
    (folder / "weights").mkdir()
    for seed, weights in enumerate(model):
        np.save(folder / "weights" / f"{seed}.npy", weights)


def load(folder):
    files = sorted((folder / "weights").iterdir())
    return np.stack([np.load(file) for file in files])


def suggest(trial):
    return {"rate": trial.suggest_float("rate", 0.01, 0.3)}
