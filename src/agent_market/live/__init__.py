"""From a trained model to live trading: the folder that freqtrade runs, and the strategies that it loads from there.

`strategy`, `freqai_model` and `freqai_strategy` import freqtrade; nothing else here does before it is needed.
"""

from agent_market.live.export import export_user_data, strategy_name
from agent_market.live.signals import LiveSignals
from agent_market.live.traded import TradedModel, load_traded_model, save_traded_model

__all__ = [
    "LiveSignals",
    "TradedModel",
    "export_user_data",
    "load_traded_model",
    "save_traded_model",
    "strategy_name",
]
