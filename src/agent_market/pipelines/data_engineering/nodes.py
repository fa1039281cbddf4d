"""Nodes of data_engineering."""

from typing import Any

import pandas as pd

from agent_market import market as candle_sources
from agent_market.flow.outside import reads_outside
from agent_market.market.options import MarketOptions
from agent_market.trading.markets import select_markets, snapshot_markets
from agent_market.trading.options import BacktestOptions


@reads_outside(candle_sources.state_of_source)
def fetch_candles(market: MarketOptions) -> pd.DataFrame:
    """Candles as the source that `market.source` names has them, nothing mended."""
    return candle_sources.load_candles(market)


def clean_candles(raw_candles: pd.DataFrame, market: MarketOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candles on a regular grid, and the table of what was found wrong with them, one row per pair."""
    return candle_sources.clean_candles(raw_candles, market)


@reads_outside(candle_sources.state_of_source)
def load_funding(candles: pd.DataFrame, market: MarketOptions) -> pd.DataFrame:
    """What holders of futures pay each other while there are candles; empty for spot."""
    return candle_sources.load_funding(candles, market)


@reads_outside(candle_sources.state_of_source)
def snapshot_market(candles: pd.DataFrame, market: MarketOptions, backtest: BacktestOptions) -> dict[str, Any]:
    """Precision, limits and fees of each pair, so that a backtest can be repeated without the exchange."""
    if market.source == "exchange":
        return select_markets(candle_sources.stored_markets(market), list(market.pairs), fee=None)
    return snapshot_markets(candles, fee=backtest.fee, trading_mode=market.trading_mode)
