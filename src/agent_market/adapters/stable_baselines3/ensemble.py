"""Policies that differ in their seed, and the position that they vote for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agent_market.adapters.stable_baselines3.following import follow
from agent_market.adapters.stable_baselines3.options import Options
from agent_market.adapters.stable_baselines3.policy import Policy
from agent_market.errors import ModelError

if TYPE_CHECKING:
    from agent_market.learning.samples import Samples


@dataclass(frozen=True)
class Member:
    """A trained policy; `facts` tell how it came about: `seed`, `best_update`, and `history` of its evaluations."""

    policy: Policy
    facts: dict[str, Any]


@dataclass(frozen=True)
class Ensemble:
    """What `fit` gives; all of it is numpy."""

    options: Options
    n_features: int
    members: tuple[Member, ...]


def member_positions(model: Ensemble, samples: "Samples") -> np.ndarray:
    """The position that each member takes at each row (n_members, n).

    Raises:
        ModelError: The rows have other features than those of the training, or features that are not finite.
    """
    tensor = samples.tensor
    n_features = tensor.values.shape[1]
    if n_features != model.n_features:
        raise ModelError(f"the policies were trained on {model.n_features} features and are asked about {n_features}")
    known = np.isfinite(tensor.values[samples.rows]).all(axis=1)
    if not known.all():
        raise ModelError(
            f"{int((~known).sum())} of {len(known)} rows have features that are missing or infinite; add impute to the "
            "model's preprocessing"
        )
    return np.stack(
        [
            follow(member.policy, tensor.values, tensor.segment_start, samples.rows, model.options.env)
            for member in model.members
        ]
    )


def vote(positions: np.ndarray) -> np.ndarray:
    """The median over the members' positions (n_members, n).

    Of an even number the one of the two middle ones that is nearer to flat; flat where they are of two sides.
    """
    ranked = np.sort(positions, axis=0)
    lower, upper = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return np.where(lower * upper < 0.0, 0.0, np.where(np.abs(lower) <= np.abs(upper), lower, upper))


def first_weights(model: Ensemble) -> np.ndarray:
    """Mean absolute weight of each feature in the first layers (n_features,), over candles of the window and seeds."""
    sizes = []
    for member in model.members:
        form = member.policy.form
        weight = member.policy.tensors[form.lstm[0][0] if form.lstm else form.layers[0].weight]
        of_features = np.abs(weight[:, :-1]).mean(axis=0)  # the last input is the position
        sizes.append(of_features.reshape(model.options.env.window, model.n_features).mean(axis=0))
    return np.mean(sizes, axis=0)
