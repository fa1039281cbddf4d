"""A trained model as a folder: `adapter.json` says what it is, the library writes the rest in its own format."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent_market.adapters import get_adapter
from agent_market.learning.trained import FoldModel, TrainedModel

FACTS = "adapter.json"
PREPROCESSING = "preprocessing.skops"


def save_model(model: TrainedModel, folder: Path) -> None:
    """Write `adapter.json` and one folder `fold_00`, … per fold into a new folder; nothing is pickled."""
    folder.mkdir(parents=True)
    for part in model.folds:
        save_fold(model.adapter, part, folder / _name(part.fold))
    facts = model.describe() | {"agent_market": version("agent_market")}
    (folder / FACTS).write_text(json.dumps(facts, indent=2))


def load_model(folder: Path) -> TrainedModel:
    """The model with all its folds."""
    facts = json.loads((folder / FACTS).read_text())
    adapter = get_adapter(facts["adapter"])
    folds = tuple(load_fold(adapter, part, folder / _name(part["fold"])) for part in facts["folds"])
    return TrainedModel.from_description(facts, folds)


def save_fold(adapter: Any, part: FoldModel, folder: Path) -> None:
    """Write the fitted parts of one fold into a new folder."""
    folder.mkdir()
    adapter.save(part.model, folder)
    if part.preprocessing is not None:
        from agent_market.learning.preprocessing import save_preprocessing

        save_preprocessing(part.preprocessing, folder / PREPROCESSING)


def load_fold(adapter: Any, facts: dict[str, Any], folder: Path) -> FoldModel:
    """The fitted parts of the fold that `facts` describe."""
    preprocessing = None
    if facts["preprocessing"]:
        from agent_market.learning.preprocessing import load_preprocessing

        preprocessing = load_preprocessing(folder / PREPROCESSING)
    return FoldModel(facts["fold"], adapter.load(folder), preprocessing, facts["target_scale"])


def _name(fold: int) -> str:
    return f"fold_{fold:02d}"
