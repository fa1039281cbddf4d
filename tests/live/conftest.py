"""A market with a signal in it, and models trained on it."""

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import pandas as pd
import pytest

from agent_market.market import load_candles
from agent_market.market.options import MarketOptions
from traded_models import walked


@pytest.fixture(scope="session")
def market() -> MarketOptions:
    return MarketOptions(n_pairs=4, n_candles=24 * 60, signal_strength=0.2)


@pytest.fixture(scope="session")
def raw(market) -> pd.DataFrame:
    """Candles with a short and a long hole, and a pair that is listed late."""
    candles = load_candles(market)
    pairs = sorted(candles["pair"].unique())
    of_pair = {pair: candles["date"][candles["pair"] == pair].reset_index(drop=True) for pair in pairs}
    holes = (
        (candles["pair"] == pairs[0]) & candles["date"].between(of_pair[pairs[0]][1100], of_pair[pairs[0]][1104])
        | (candles["pair"] == pairs[1]) & candles["date"].between(of_pair[pairs[1]][1150], of_pair[pairs[1]][1200])
        | (candles["pair"] == pairs[3]) & (candles["date"] < of_pair[pairs[3]][1000])
    )
    return candles[~holes].reset_index(drop=True)


@pytest.fixture(scope="session")
def chain_of(raw, market) -> Callable[[str], SimpleNamespace]:
    """The pipeline's way from the raw candles to predictions, of a model of `traded_models`; walked once each."""
    return cache(lambda model: walked(raw, market, model))


@pytest.fixture(scope="session", params=["ridge", "trees"])
def chain(request, chain_of) -> SimpleNamespace:
    """That of a linear model and of one made of trees."""
    return chain_of(request.param)


@pytest.fixture(scope="session")
def policy(chain_of) -> SimpleNamespace:
    """That to the positions of a policy that was trained for a moment."""
    return chain_of("policy")


@pytest.fixture(scope="session", params=["ridge", "trees", "policy"])
def any_chain(request, chain_of) -> SimpleNamespace:
    """Each of them."""
    return chain_of(request.param)
