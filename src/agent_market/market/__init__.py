"""Candles and funding rates from a simulated market, freqtrade's files or an exchange, cleaned and counted."""

from agent_market.market.candles import clean_candles, contiguous_segments, load_candles
from agent_market.market.datadir import read_datadir
from agent_market.market.exchange import stored_markets
from agent_market.market.funding import load_funding
from agent_market.market.options import MarketOptions
from agent_market.market.outside import state_of_source
from agent_market.market.simulated import optimal_expectation, planted_expectation, simulate, simulated_pairs

__all__ = [
    "MarketOptions",
    "clean_candles",
    "contiguous_segments",
    "load_candles",
    "load_funding",
    "optimal_expectation",
    "planted_expectation",
    "read_datadir",
    "simulate",
    "simulated_pairs",
    "state_of_source",
    "stored_markets",
]
