"""What trained models rest on, after the fact: `<model>.attribution`, `<model>.prediction_drift`, `feature_drift` out.

Only reporting reads what comes out: nothing learns from it.
"""

from agent_market.pipelines.attribution.pipeline import create_pipeline

__all__ = ["create_pipeline"]
