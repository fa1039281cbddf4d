"""How a model got better while it was fitted."""

import pandas as pd

from agent_market.learning.trained import TrainedModel

MEASURES = {"loss": "valid_loss", "ic": "ic", "gain": "valid_return"}
"""What a curve has, and by what name the members of an ensemble keep it."""


def learning_curve(model: TrainedModel) -> pd.DataFrame:
    """Per fold, seed and step what was seen on the validation rows: fold, seed, step, loss, ic, gain.

    Steps are epochs of networks and updates of policies; `gain` is what a policy earned, a log return net of costs.
    Models that keep no history of their fits, as trees, have no rows.
    """
    rows = [
        {"fold": part.fold, "seed": member.facts["seed"], "step": entry.get("epoch", entry.get("update", number))}
        | {name: entry.get(kept) for name, kept in MEASURES.items()}
        for part in model.folds
        for member in getattr(part.model, "members", ())
        if hasattr(member, "facts")
        for number, entry in enumerate(member.facts.get("history", ()), 1)
    ]
    types = {"fold": "int64", "seed": "int64", "step": "int64"} | dict.fromkeys(MEASURES, float)
    return pd.DataFrame(rows, columns=list(types)).astype(types)
