"""New factors: `candles` in; `factor_library`, `mining_report`, `mining_feedback` and a line in the ledger out."""

from agent_market.pipelines.factor_mining.pipeline import create_pipeline

__all__ = ["create_pipeline"]
