"""Who watches the fits of this process: a progress bar, or nobody."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_market.adapters import Progress

Watcher = Callable[[str, int, "Progress"], None]
"""Called with model, fold and progress, from whichever thread fits; a progress of step = steps is the fit's last."""

_watchers: dict[Watcher, int] = {}


def watch(watcher: Watcher) -> None:
    """Let `watcher` know how fits go."""
    _watchers[watcher] = os.getpid()


def unwatch(watcher: Watcher) -> None:
    """Let it know no more."""
    _watchers.pop(watcher, None)


def tell(model: str, fold: int, progress: "Progress") -> bool:
    """Whether anybody watched; a process that was forked from one with a bar has none of its own."""
    here = [watcher for watcher, process in list(_watchers.items()) if process == os.getpid()]
    for watcher in here:
        watcher(model, fold, progress)
    return bool(here)
