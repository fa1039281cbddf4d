"""Policies that learned to trade: features, candles and folds in; `<model>.model`, `.predictions`, `.gate`, … out."""

from agent_market.pipelines.rl_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
