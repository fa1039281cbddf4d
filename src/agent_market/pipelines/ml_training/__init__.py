"""Models that learn from single rows: features, labels and folds in; `<model>.model`, `.predictions`, … out."""

from agent_market.pipelines.ml_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
