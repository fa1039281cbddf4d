"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real candles and reference numbers; tests that need it skip where there is none."""
    folder = Path(os.environ.get("AGENT_MARKET_SHARED", PROJECT.parent / "shared"))
    if not (folder / "market").is_dir():
        pytest.skip(f"no real candles: {folder}/market does not exist (set AGENT_MARKET_SHARED)")
    return folder
