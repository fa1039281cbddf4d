"""Nodes of ensemble."""

from typing import Any

import pandas as pd

from agent_market.learning.ensemble import MemberRun, blend_models
from agent_market.learning.trained import TrainedModel
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.pipelines.options import AnyModelOptions
from agent_market.pipelines.training import score


def blend(
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    options: AnyModelOptions,
    training: TrainingOptions,
    *datasets: Any,
    members: tuple[str, ...] = (),
    model: str = "",
) -> tuple[TrainedModel, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """An ensemble of every fold, its predictions of the test windows, what it took, and the members' weights.

    `datasets` are the models of the `members`, then their predictions, then those of validation windows.
    """
    n = len(members)
    runs = [
        MemberRun(*each) for each in zip(members, datasets[:n], datasets[n : 2 * n], datasets[2 * n :], strict=True)
    ]
    trained, predictions, weights = blend_models(runs, labels, folds, options.root, training, name=model)
    return trained, predictions, trained.fits(), weights


def score_ensemble(
    model: TrainedModel,
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    fits: pd.DataFrame,
    weights: pd.DataFrame,
    options: AnyModelOptions,
    training: TrainingOptions,
    *metrics: dict[str, Any],
) -> dict[str, Any]:
    """How well the blend agrees with what came, and how many configurations it stands for: the members', and its own.

    `members` has for each its mean weight, and its IC on the rows that the weights rest on beside the one in the
    test windows: how much those rows flatter it.
    """
    measure = options.root.measure
    mean = weights.groupby("member", sort=False)[["weight", "ic"]].mean()
    members = {
        name: {"weight": row["weight"], f"{measure}_before": row["ic"], measure: of_member[measure]}
        for (name, row), of_member in zip(mean.iterrows(), metrics, strict=True)
    }
    own = max(part.model.blend.choices for part in model.folds)
    trials = sum(of_member["trials"] for of_member in metrics) + own
    told = score(predictions, labels, fits, options, training)
    return told | {"trials": trials, "method": options.root.method, "members": members}
