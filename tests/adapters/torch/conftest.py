"""A small panel whose label is foretold by the last candles of one feature."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from agent_market.adapters.torch import Options, fit
from agent_market.learning.samples import FeatureTensor, Samples

N_PAIRS, N_CANDLES = 3, 400

TINY = {"hidden": 8, "lookback": 8, "chunk": 32, "batch_size": 128, "epochs": 3, "seeds": 1, "learning_rate": 0.01}


@pytest.fixture(scope="session")
def panel() -> Samples:
    """Three pairs of 400 candles, the second with a hole; y is the mean of feature 0 over four candles, and noise."""
    return make_panel()


@pytest.fixture(scope="session")
def train(panel) -> Samples:
    """The first 300 candles of each pair."""
    return some(panel, 0, 300)


@pytest.fixture(scope="session")
def valid(panel) -> Samples:
    """The last 90 candles of each pair."""
    return some(panel, 310, N_CANDLES)


@pytest.fixture(scope="session")
def fit_tiny(train, valid) -> Callable:
    """Fit a small network; keyword arguments are those of `fit`, or options."""

    def fit_tiny(network: str = "lstm", **changes):
        arguments = {"train": train, "valid": valid, "report": lambda progress: None}
        arguments |= {name: changes.pop(name) for name in (*arguments, "init", "checkpoint") if name in changes}
        samples = arguments.pop("train"), arguments.pop("valid")
        return fit(*samples, tiny_options(network, **changes), **arguments)

    return fit_tiny


@pytest.fixture(scope="session")
def tiny() -> Callable:
    """Options of a small network."""
    return tiny_options


def tiny_options(network: str = "lstm", **changes) -> Options:
    defaults = TINY if network in ("mlp", "lstm", "gru", "tcn", "transformer") else TINY | {"hidden": None}
    return Options.model_validate({**defaults, "network": network} | changes)


def make_panel(seed: int = 0, n_features: int = 4) -> Samples:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N_PAIRS, N_CANDLES, n_features)).astype(np.float32)
    dates = pd.date_range("2024-01-01", periods=N_CANDLES, freq="h", tz="UTC")
    keep = np.ones((N_PAIRS, N_CANDLES), bool)
    keep[1, 150:160] = False
    signal = np.stack([np.convolve(x, np.full(4, 0.5))[:N_CANDLES] for x in values[..., 0]])
    y = signal + rng.normal(size=signal.shape)
    features = pd.DataFrame(values[keep], columns=[f"f{i}" for i in range(n_features)])
    features.insert(0, "date", pd.DatetimeIndex(np.tile(dates, N_PAIRS))[keep.ravel()].as_unit("ms"))
    pairs = np.repeat([f"{name}/USDT" for name in ("AA", "BB", "CC")], keep.sum(1))
    features.insert(0, "pair", pd.Categorical(pairs))
    tensor = FeatureTensor.from_frame(features, timeframe="1h")
    return Samples(tensor, np.arange(len(features)), y[keep][:, None] / y.std())


def some(panel: Samples, first: int, stop: int) -> Samples:
    candle = (panel.tensor.date - panel.tensor.date.min()) // pd.Timedelta("1h")
    rows = np.flatnonzero((candle >= first) & (candle < stop))
    return Samples(panel.tensor, rows, panel.y[rows])
