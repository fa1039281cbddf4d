"""The ledger of factor mining."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from agent_market.mining.ledger import append, read_ledger


class LedgerDataset(AbstractDataset[dict[str, Any], list[dict[str, Any]]]):
    """An append-only file: `load` gives all records, `save` adds one. It has no versions: there is one for all runs."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        return read_ledger(self._path)

    def save(self, data: dict[str, Any]) -> None:
        """Add one record."""
        append(self._path, data)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
