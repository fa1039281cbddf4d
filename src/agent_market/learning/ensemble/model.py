"""A blend with the fitted models that it blends: what predicts, is stored, and trades like any other model."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent_market.adapters import ModelOptions, get_adapter, parse_model_options
from agent_market.learning.ensemble.blend import Blend
from agent_market.learning.model_folder import load_fold, save_fold
from agent_market.learning.samples import Samples
from agent_market.learning.trained import FoldModel

FACTS = "blend.json"
RANKS = "ranks.npy"


@dataclass(frozen=True)
class Member:
    """A model of one fold; `kind` is what it predicts."""

    name: str
    options: ModelOptions
    kind: str
    part: FoldModel

    def said(self, samples: Samples) -> np.ndarray:
        """Predictions (n,) of the samples, measured from where they say nothing."""
        predictions = self.part.predict(get_adapter(self.options.adapter), samples.tensor, samples.rows)
        return from_nothing(predictions, self.kind)


@dataclass(frozen=True)
class Ensemble:
    """The members of one fold, and their blend."""

    members: tuple[Member, ...]
    blend: Blend

    @property
    def lookback(self) -> int:
        """Candles that a prediction of the most far-sighted member sees, its own included."""
        return max(getattr(member.options, "lookback", 1) for member in self.members)


def from_nothing(predictions: np.ndarray, kind: str) -> np.ndarray:
    """Predictions as distances from where a model says nothing: 0.5 of a probability, 0 of all else."""
    return predictions - 0.5 if kind == "probability" else predictions


def predict(model: Ensemble, samples: Samples) -> np.ndarray:
    """The blended score (n,); members without a weight are not asked."""
    weights, said = model.blend.weights, np.full((len(samples), len(model.members)), np.nan)
    for number, member in enumerate(model.members):
        if weights[number]:
            said[:, number] = member.said(samples)
    return model.blend.combine(said)


def save(model: Ensemble, folder: Path) -> None:
    """Write `blend.json`, for rank_mean `ranks.npy`, and a folder per member in its library's own format."""
    blend = model.blend
    facts = {
        "weights": blend.weights.tolist(),
        "scale": blend.scale.tolist(),
        "choices": blend.choices,
        "fell_back": blend.fell_back,
        "members": [
            {
                "name": member.name,
                "kind": member.kind,
                "options": member.options.model_dump(mode="json"),
                "fold": member.part.fold,
                "target_scale": member.part.target_scale,
                "preprocessing": member.part.preprocessing is not None,
            }
            for member in model.members
        ],
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=2))
    if blend.ranks is not None:
        np.save(folder / RANKS, blend.ranks, allow_pickle=False)
    for member in model.members:
        save_fold(get_adapter(member.options.adapter), member.part, folder / member.name)


def load(folder: Path) -> Ensemble:
    """Read what `save` wrote."""
    facts = json.loads((folder / FACTS).read_text())
    members = []
    for member in facts["members"]:
        options = parse_model_options(member["options"])
        part = load_fold(get_adapter(options.adapter), member, folder / member["name"])
        members.append(Member(member["name"], options, member["kind"], part))
    ranks = np.load(folder / RANKS, allow_pickle=False) if (folder / RANKS).is_file() else None
    blend = Blend(np.array(facts["weights"]), np.array(facts["scale"]), ranks, facts["choices"], facts["fell_back"])
    return Ensemble(tuple(members), blend)


def importance(model: Ensemble) -> np.ndarray:
    """Share of each feature (n_features,): the members' own, by weight; of members that do not say, nothing."""
    total: np.ndarray | float = 0.0
    for weight, member in zip(model.blend.weights, model.members, strict=True):
        adapter = get_adapter(member.options.adapter)
        if weight and hasattr(adapter, "importance"):
            share = np.asarray(adapter.importance(member.part.model), float)
            total = total + weight * (share / share.sum() if share.sum() > 0 else share)
    return total
