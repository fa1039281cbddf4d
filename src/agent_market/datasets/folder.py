"""What datasets share that are stored as a folder."""

import glob
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version


class FolderDataset(AbstractVersionedDataset[Any, Any]):
    """A versioned folder on the local disk, which is there when the file `CONTENTS` is in it."""

    CONTENTS: ClassVar[str]

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version, exists_function=self._is_whole, glob_function=glob.glob)
        self.metadata = metadata

    @classmethod
    def _is_whole(cls, path: str) -> bool:
        return (Path(path) / cls.CONTENTS).is_file()

    def _exists(self) -> bool:
        try:
            return self._is_whole(str(self._get_load_path()))
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}
