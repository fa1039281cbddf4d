"""A trained model as a folder."""

import json
import shutil
from pathlib import Path

from kedro_datasets._typing import JSONPreview

from agent_market.datasets.folder import FolderDataset
from agent_market.learning.model_folder import FACTS, load_model, save_model
from agent_market.learning.trained import TrainedModel


class TrainedModelDataset(FolderDataset):
    """Folder of a walk-forward model: `adapter.json` and one folder `fold_00`, … per fold; nothing is pickled.

    It is written beside its place and moved there whole, so that a crash leaves no half of a model behind.
    """

    CONTENTS = FACTS

    def load(self) -> TrainedModel:
        """The model with all its folds."""
        return load_model(Path(self._get_load_path()))

    def save(self, data: TrainedModel) -> None:
        """Write the model's folder."""
        target = Path(self._get_save_path())
        draft = target.with_name(f".{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        save_model(data, draft)
        if target.exists():  # only without versions
            shutil.rmtree(target)
        draft.rename(target)

    def stand_ins(self, path: Path) -> dict[str, bytes]:
        """What makes two models equal: not the state of the whole package when they were fitted."""
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        facts.get("fingerprint", {}).pop("code", None)
        return {FACTS: json.dumps(facts, sort_keys=True).encode()}

    def preview(self) -> JSONPreview:
        """The facts of the model, for kedro-viz."""
        return JSONPreview((Path(self._get_load_path()) / FACTS).read_text())
