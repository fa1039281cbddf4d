"""Candles from a simulated market or from freqtrade's files, cleaned and counted."""

from agent_market.market.candles import clean_candles, contiguous_segments, load_candles
from agent_market.market.datadir import read_datadir
from agent_market.market.options import MarketOptions
from agent_market.market.simulated import planted_expectation, simulate, simulated_pairs

__all__ = [
    "MarketOptions",
    "clean_candles",
    "contiguous_segments",
    "load_candles",
    "planted_expectation",
    "read_datadir",
    "simulate",
    "simulated_pairs",
]
