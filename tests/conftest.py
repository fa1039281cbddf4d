"""Fixtures that all tests share, and how tests are dealt out to processes."""

import os
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a process of tests per processor: threads of numpy's products of matrices would wait for one another,
    # spinning.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real candles and reference numbers; tests that need it skip where there is none."""
    folder = Path(os.environ.get("AGENT_MARKET_SHARED", PROJECT.parent / "shared"))
    if not (folder / "market").is_dir():
        pytest.skip(f"no real candles: {folder}/market does not exist (set AGENT_MARKET_SHARED)")
    return folder


TOGETHER = ("adapters/stable_baselines3", "adapters/torch", "evaluation", "live")
"""Folders whose tests share what takes long to make: each folder stays in one process of tests, as each other file."""

FIRST = ("test_project.py", "live", "evaluation", "test_bad_input.py", "adapters/torch")
"""What takes longest: begun last, it would run alone in the end."""


def group_of(nodeid: str) -> str:
    """The file of a test, or the folder of `TOGETHER` that it is in, below the folder of tests."""
    file = nodeid.split("::")[0].removeprefix("tests/")
    return next((folder for folder in TOGETHER if file.startswith(folder + "/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal tests out to the processes of `-n` by group."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    place = {group: at for at, group in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(group_of(item.nodeid), len(FIRST)))
