"""Answers that are kept, so that a run can be repeated bit for bit, without a key and without a network."""

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cassettes:
    """A folder of one file per request: the messages, the answer, and what it took; no headers, no credentials."""

    folder: Path

    def key(self, question: dict[str, Any]) -> str:
        """The name of a request; how JSON was asked for is no part of it."""
        return sha256(json.dumps(question, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]

    def load(self, key: str) -> dict[str, Any] | None:
        """What was kept of a request, or None."""
        path = self.folder / f"{key}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def keep(self, key: str, content: dict[str, Any]) -> None:
        """Keep an answer, or how asking ended; the file is there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{key}.draft"
        draft.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(draft, self.folder / f"{key}.json")
