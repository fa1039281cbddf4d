"""JSON that need not be there yet."""

from typing import Any

from kedro_datasets.json import JSONDataset


class OptionalJSONDataset(JSONDataset):
    """A JSON file; None where none was stored yet."""

    OPTIONAL = True

    def load(self) -> Any:
        """What is stored, or None."""
        return super().load() if self.exists() else None
