"""The ledger of factor mining."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from agent_market.errors import DataError
from agent_market.mining.ledger import append, fingerprint_of, read_ledger


class LedgerDataset(AbstractDataset[dict[str, Any], list[dict[str, Any]]]):
    """An append-only file: `load` gives its records, `save` adds one. It has no versions: there is one for all runs.

    `upto` is the number of records that `load` gives, None for all: who sets it sees the book as it stood then, however
    many lines were added since. It does not touch what `save` does.
    """

    upto: int | None

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata
        self.upto = None

    def load(self) -> list[dict[str, Any]]:
        """The records, oldest first.

        Raises:
            DataError: The book was edited or cut off, or has fewer records than `upto`.
        """
        records = read_ledger(self._path)
        if self.upto is None:
            return records
        if not 0 <= self.upto <= len(records):
            raise DataError(
                f"{self._path}: {len(records)} records found, and the first {self.upto} are asked for: lines are "
                "missing. Restore the ledger from a backup"
            )
        return records[: self.upto]

    def save(self, data: dict[str, Any]) -> None:
        """Add one record, unless it stands there already."""
        append(self._path, data)

    def fingerprint(self) -> str:
        """32 hex digits of what `load` would give: equal for the same records."""
        return fingerprint_of(self.load())

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
