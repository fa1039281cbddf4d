"""Wiring of dl_training."""

from kedro.pipeline import Pipeline

from agent_market.pipelines.training import training_pipeline


def create_pipeline(**kwargs: object) -> Pipeline:
    """All models of the `models` parameters whose adapter belongs to this stage."""
    return training_pipeline("dl_training")
