"""Small markets with and without a signal, and what was mined on them."""

import pandas as pd
import pytest

from agent_market.market import MarketOptions, clean_candles, simulate
from agent_market.mining.arena import Arena, build_arena
from agent_market.mining.options import MiningOptions
from agent_market.mining.segments import cut

SMALL = {
    "arms": {"genetic": 60, "zoo": 10},
    "genetic": {"population": 20, "windows": [3, 6, 12, 24, 48], "lags": [1, 2, 6]},
    "gate": {"min_blocks": 20},
}
"""Enough for everything to happen in a second."""


def small(**changes) -> MiningOptions:
    """Options for a small market."""
    return MiningOptions.model_validate({**SMALL, **changes})


def market(strength: float = 0.0, *, seed: int = 1, n_pairs: int = 6, n_candles: int = 4000) -> MarketOptions:
    """A small simulated market."""
    return MarketOptions(signal_strength=strength, seed=seed, n_pairs=n_pairs, n_candles=n_candles)


def candles_of(options: MarketOptions) -> pd.DataFrame:
    """Its candles."""
    return clean_candles(simulate(options), options)[0]


def arena_of(candles: pd.DataFrame, options: MiningOptions) -> Arena:
    """The arena of its search segment."""
    return build_arena(candles, cut(candles, options, timeframe="1h").search, options, timeframe="1h")


@pytest.fixture(scope="session")
def planted() -> pd.DataFrame:
    """Candles of a market whose wicks foretell the next candles clearly."""
    return candles_of(market(0.1))


@pytest.fixture(scope="session")
def placebo() -> pd.DataFrame:
    """Candles of the same market without the signal."""
    return candles_of(market(0.0))
