"""A trained model as a folder."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

    def code_of(self, path: Path) -> list[str]:
        """Adapters whose code works on this model, and on its members if it is made of others."""
        facts = (json.loads(file.read_text(encoding="utf-8")) for file in (path / FACTS, *path.glob("fold_*/*.json")))
        return sorted({name for fact in facts for name in _adapters_in(fact)})

    def stand_ins(self, path: Path) -> dict[str, bytes]:
        """What makes two models equal: not the state of the whole package when they were fitted."""
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        facts.get("fingerprint", {}).pop("code", None)
        return {FACTS: json.dumps(facts, sort_keys=True).encode()}

    def preview(self) -> JSONPreview:
        """The facts of the model, for kedro-viz."""
        return JSONPreview((Path(self._get_load_path()) / FACTS).read_text())


def _adapters_in(facts: Any) -> Iterator[str]:
    if isinstance(facts, dict):
        yield from (value for name, value in facts.items() if name == "adapter" and isinstance(value, str))
        facts = list(facts.values())
    if isinstance(facts, list):
        for part in facts:
            yield from _adapters_in(part)
