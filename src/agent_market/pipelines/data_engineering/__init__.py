"""Market data: `params:market` in; `candles`, `data_quality`, `funding_rates` and `market_snapshot` out."""

from agent_market.pipelines.data_engineering.pipeline import create_pipeline

__all__ = ["create_pipeline"]
