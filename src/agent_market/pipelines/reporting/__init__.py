"""What came out, for people and for the next run: `leaderboard`, figures, `report` and `feedback` out."""

from agent_market.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
