"""What this pipeline claims where there is nothing to find: `candles` in, `placebo_certificate` out.

It runs on demand only (`kedro run --pipelines placebo`), on the candles that an earlier run stored.
"""

from agent_market.pipelines.placebo.pipeline import create_pipeline

__all__ = ["create_pipeline"]
