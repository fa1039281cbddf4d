"""Environments in which an agent trades by the backtest's rules: one episode, many at once, or a whole portfolio.

`TradingEnv` and `PortfolioEnv` need Gymnasium, which is imported only when one of them is asked for.
"""

from typing import Any

from agent_market.trading.env.arrays import EpisodeMarket, build_market
from agent_market.trading.env.core import Steps, TradingCore
from agent_market.trading.env.options import EnvOptions
from agent_market.trading.env.table import Path, action_table, evaluate_table

__all__ = [
    "EnvOptions",
    "EpisodeMarket",
    "Path",
    "PortfolioEnv",
    "Steps",
    "TradingCore",
    "TradingEnv",
    "action_table",
    "build_market",
    "evaluate_table",
]


def __getattr__(name: str) -> Any:
    if name == "TradingEnv":
        from agent_market.trading.env.single import TradingEnv

        return TradingEnv
    if name == "PortfolioEnv":
        from agent_market.trading.env.portfolio import PortfolioEnv

        return PortfolioEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
