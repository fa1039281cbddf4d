"""Where fits keep what they need to resume, and how long."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class CheckpointPlace:
    """The folders of one model's fits, `<root>/fold_<k>-<key>`; a fit of another key resumes nothing of them."""

    root: Path
    key: str

    @classmethod
    def of(cls, root: Path, facts: Mapping[str, Any]) -> Self:
        """The place of fits that `facts` determine: data, options, code; JSON-ready."""
        text = json.dumps(facts, sort_keys=True)
        return cls(root, hashlib.blake2b(text.encode(), digest_size=8).hexdigest())

    def folder(self, fold: int) -> Path:
        """The folder of one fold's fit; the adapter makes it."""
        return self.root / f"fold_{fold:02d}-{self.key}"

    def clear(self, folds: Iterable[int]) -> None:
        """Delete what the fits of these folds left, and the root where nothing of other fits is in it."""
        for fold in folds:
            if (folder := self.folder(fold)).exists():
                shutil.rmtree(folder)
        if self.root.exists() and not any(self.root.iterdir()):
            self.root.rmdir()
