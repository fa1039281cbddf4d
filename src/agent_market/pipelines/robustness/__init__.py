"""How much results hang on one course of time: features, labels and candles in; `<model>.paths`, `path_metrics` out.

It runs on demand only (`kedro run --pipelines robustness`), on what an earlier run stored. Models are trained on what
lies before and after each test window: this is a robustness study, not a track record, and none of them is kept.
"""

from agent_market.pipelines.robustness.pipeline import create_pipeline

__all__ = ["create_pipeline"]
