"""A small market, and policies trained on it for a few steps."""

from collections.abc import Callable

import pytest

from agent_market.adapters.stable_baselines3 import fit
from agent_market.learning.samples import Samples
from policies import make_panel, some, tiny_options


@pytest.fixture(scope="session")
def panel() -> Samples:
    """Two pairs of 320 hourly candles, the second with a hole; feature 0 foretells the next return."""
    return make_panel()


@pytest.fixture(scope="session")
def train(panel) -> Samples:
    """The first 200 candles of each pair."""
    return some(panel, 0, 200)


@pytest.fixture(scope="session")
def valid(panel) -> Samples:
    """The last 100 candles of each pair."""
    return some(panel, 220, 320)


@pytest.fixture(scope="session")
def fit_tiny(train, valid) -> Callable:
    """Train a small policy; keyword arguments are those of `fit`, or options."""

    def fit_tiny(algorithm: str = "ppo", **changes):
        arguments = {"train": train, "valid": valid, "report": lambda progress: None}
        arguments |= {name: changes.pop(name) for name in (*arguments, "init", "checkpoint") if name in changes}
        samples = arguments.pop("train"), arguments.pop("valid")
        return fit(*samples, tiny_options(algorithm, **changes), **arguments)

    return fit_tiny
