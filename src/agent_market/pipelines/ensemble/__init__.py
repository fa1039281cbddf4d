"""Models made of trained ones: their predictions in; `<ensemble>.model`, `.predictions`, `.weights`, … out."""

from agent_market.pipelines.ensemble.pipeline import create_pipeline

__all__ = ["create_pipeline"]
