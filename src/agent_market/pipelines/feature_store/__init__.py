"""What models learn from: `candles` in; `factors`, `features`, `labels` and `folds` out, `feature_scores` on demand."""

from agent_market.pipelines.feature_store.pipeline import create_pipeline

__all__ = ["create_pipeline"]
