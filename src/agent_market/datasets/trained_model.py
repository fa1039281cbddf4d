"""A trained model as a folder: `adapter.json` says what it is, the library writes the rest in its own format."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kedro_datasets._typing import JSONPreview

from agent_market.adapters import get_adapter
from agent_market.datasets.folder import FolderDataset
from agent_market.learning.trained import FoldModel, TrainedModel

FACTS = "adapter.json"
PREPROCESSING = "preprocessing.skops"


class TrainedModelDataset(FolderDataset):
    """Folder of a walk-forward model: `adapter.json` and one folder `fold_00`, … per fold; nothing is pickled.

    It is written beside its place and moved there whole, so that a crash leaves no half of a model behind.
    """

    CONTENTS = FACTS

    def load(self) -> TrainedModel:
        """The model with all its folds."""
        folder = Path(self._get_load_path())
        facts = json.loads((folder / FACTS).read_text())
        adapter = get_adapter(facts["adapter"])
        folds = tuple(_load_fold(adapter, part, folder / _name(part["fold"])) for part in facts["folds"])
        return TrainedModel.from_description(facts, folds)

    def save(self, data: TrainedModel) -> None:
        """Write the model's folder."""
        target = Path(self._get_save_path())
        draft = target.with_name(f".{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for part in data.folds:
            folder = draft / _name(part.fold)
            folder.mkdir()
            data.adapter.save(part.model, folder)
            if part.preprocessing is not None:
                from agent_market.learning.preprocessing import save_preprocessing

                save_preprocessing(part.preprocessing, folder / PREPROCESSING)
        facts = data.describe() | {"agent_market": version("agent_market")}
        (draft / FACTS).write_text(json.dumps(facts, indent=2))
        if target.exists():  # only without versions
            shutil.rmtree(target)
        draft.rename(target)

    def preview(self) -> JSONPreview:
        """The facts of the model, for kedro-viz."""
        return JSONPreview((Path(self._get_load_path()) / FACTS).read_text())


def _load_fold(adapter: Any, facts: dict[str, Any], folder: Path) -> FoldModel:
    preprocessing = None
    if facts["preprocessing"]:
        from agent_market.learning.preprocessing import load_preprocessing

        preprocessing = load_preprocessing(folder / PREPROCESSING)
    return FoldModel(facts["fold"], adapter.load(folder), preprocessing, facts["target_scale"])


def _name(fold: int) -> str:
    return f"fold_{fold:02d}"
