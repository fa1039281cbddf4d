"""A panel table as a folder of Parquet files, one per pair: it may be larger than memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DatasetError, Version
from kedro.utils import load_obj
from kedro_datasets._typing import TablePreview

from agent_market.datasets.folder import FolderDataset
from agent_market.factors.panel_folder import CONTENTS, StoredFiles, StoredPanel, parts_of, storable, write_panel

Parts = Iterable[tuple[str, pd.DataFrame]]


class PanelDataset(FolderDataset):
    """A table keyed by (pair, date): saved whole or pair by pair as it is made, loaded whole or as a lazy handle.

    `save` takes a table, or (pair, rows) one after the other. `load` gives a table, equal to what Parquet in one file
    gives; with `load_args: {lazy: true}` a `StoredPanel`, which reads what it is asked for; with `optional: true` None
    where nothing is stored yet. `columns` and `pairs` among the `load_args` restrict what a table holds. `schema` is
    the dotted path of a class whose `validate(table)` raises; it sees each part as it is written.

    The folder is written beside its place and moved there whole, so that a crash leaves no half of a table behind.
    """

    CONTENTS = CONTENTS

    def __init__(
        self,
        *,
        filepath: str,
        schema: str | None = None,
        load_args: dict[str, Any] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._schema = schema
        self._load_args = {"lazy": False, "optional": False, "columns": None, "pairs": None} | (load_args or {})
        if unknown := set(self._load_args) - {"lazy", "optional", "columns", "pairs"}:
            raise DatasetError(f"unknown load_args {sorted(unknown)}; known are lazy, optional, columns and pairs")

    def load(self) -> pd.DataFrame | StoredPanel | None:
        """The table, or a handle to it."""
        if self._load_args["optional"] and not self._exists():
            return None
        panel = self.open()
        if self._load_args["lazy"]:
            return panel
        return panel.to_pandas(self._load_args["columns"], self._load_args["pairs"])

    def open(self) -> StoredPanel:
        """A handle to the table, whatever the `load_args` are."""
        return StoredPanel.open(Path(self._get_load_path()))

    def save(self, data: pd.DataFrame | Parts) -> None:
        """Write the table's folder."""
        target = Path(self._get_save_path())
        parts = _Checked(parts_of(data) if isinstance(data, pd.DataFrame) else data, self._schema)
        try:
            write_panel(target, parts)
        except BaseException:
            if self._version and target.parent.is_dir() and not any(target.parent.iterdir()):
                target.parent.rmdir()  # the version that did not come to be
            raise

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows, for kedro-viz."""
        panel = self.open()
        return panel.read(panel.pairs[0], stop=nrows).to_dict(orient="split")

    def _describe(self) -> dict[str, Any]:
        return super()._describe() | {"load_args": self._load_args}


class _Checked:
    """Parts of a table, each checked by the schema on its way."""

    def __init__(self, parts: Parts, schema: str | None) -> None:
        self._parts = parts
        self._schema = load_obj(schema) if schema else None

    def __iter__(self) -> Iterator[tuple[str, pd.DataFrame | StoredFiles]]:
        for pair, rows in storable(self._parts):
            if self._schema is not None and isinstance(rows, pd.DataFrame):
                self._schema.validate(rows)
            yield pair, rows

    @property
    def facts(self) -> Any:
        return getattr(self._parts, "facts", {})
