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


TOGETHER = ("adapters/stable_baselines3", "adapters/torch", "evaluation", "live")
"""Folders whose tests share what takes long to make: each folder stays in one process of tests."""

FIRST = "test_project.py"
"""Takes longest of all that stays together: begun last, it would run alone in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal tests out to the processes of `-n`: by file, or by folder."""
    for item in items:
        file = item.path.relative_to(PROJECT / "tests").as_posix()
        group = next((folder for folder in TOGETHER if file.startswith(folder + "/")), file)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.path.name != FIRST)
