"""A credential for a node, which no file of a run ever holds."""

import os
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from agent_market.configured import credentials
from agent_market.mining.llm.secret import Secret


class CredentialDataset(AbstractDataset[Secret, Secret]):
    """The key of a service: from an environment variable, or else from `credentials.yml`; empty if it is in neither."""

    def __init__(self, *, service: str, variable: str, metadata: dict[str, Any] | None = None) -> None:
        self._service, self._variable = service, variable
        self.metadata = metadata

    def load(self) -> Secret:
        """The key, wrapped so that it does not show itself."""
        block = credentials().get(self._service) or {}
        if not isinstance(block, dict) or set(block) - {"api_key"}:
            raise DatasetError(f"credentials.yml: {self._service} must be of the form {{api_key: …}}")
        return Secret(os.environ.get(self._variable) or block.get("api_key"))

    def save(self, data: Secret) -> None:
        """Refuse: credentials are not stored."""
        raise DatasetError("credentials are not stored")

    def _describe(self) -> dict[str, Any]:
        return {"service": self._service, "variable": self._variable}
