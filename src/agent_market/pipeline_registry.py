"""The project's pipelines: one per folder of `pipelines`, in `__default__` all but those that run on demand."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from agent_market.configured import remember_what_was_built

ON_DEMAND = ("factor_mining", "placebo", "robustness")
"""Pipelines that run only when they are named; each round of factor_mining is counted."""


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines by name."""
    pipelines = find_pipelines(raise_errors=True)
    remember_what_was_built()
    pipelines["__default__"] = sum(part for name, part in pipelines.items() if name not in ON_DEMAND)
    return pipelines
