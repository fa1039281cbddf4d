"""Networks, also of sequences: features, labels and folds in; `<model>.model`, `.predictions`, … out."""

from agent_market.pipelines.dl_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
