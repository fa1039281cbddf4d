"""All versions of a dataset at once."""

import json
import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError


class JSONHistoryDataset(AbstractDataset[Any, list[dict[str, Any]]]):
    """All stored versions of a versioned JSON dataset, oldest first; it cannot be saved.

    Each is a dict of `version`, `data`, and `beside`: where the version of another dataset lies that was made in the
    same run, as a path from the folder that both are in, or None if it is not there. Of a file that a crash left behind
    `data` is None and `unreadable` says why, so that one bad run does not hide the others.

    Args:
        filepath: of the versioned dataset.
        beside: of the other dataset, and what to look for in it, such as `data/report` and `index.html`.
        contents: a file that must be in the other one.
        metadata: for plugins.
    """

    def __init__(
        self,
        *,
        filepath: str,
        beside: str | None = None,
        contents: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath, self._contents = Path(filepath), contents
        self._beside = Path(beside) if beside else None
        self.metadata = metadata

    def load(self) -> list[dict[str, Any]]:
        """All versions."""
        if not self._filepath.is_dir():
            return []
        files = (folder / self._filepath.name for folder in sorted(self._filepath.iterdir()))
        return [self._read(file) for file in files if file.is_file()]

    def save(self, data: Any) -> None:
        """Refuse: versions are written by the dataset that they are of."""
        raise DatasetError(f"a history is read only; save the versions of {self._filepath} through their own dataset")

    def _read(self, file: Path) -> dict[str, Any]:
        version = file.parent.name
        found: dict[str, Any] = {"version": version, "data": None, "beside": self._beside_version(version)}
        try:
            return found | {"data": json.loads(file.read_text(encoding="utf-8"))}
        except ValueError as error:
            return found | {"unreadable": str(error)}

    def _beside_version(self, version: str) -> str | None:
        if self._beside is None:
            return None
        path = self._beside / version / self._beside.name
        path = path / self._contents if self._contents else path
        return Path(os.path.relpath(path, self._filepath.parent)).as_posix() if path.exists() else None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "beside": str(self._beside)}

    def _exists(self) -> bool:
        return self._filepath.is_dir()
