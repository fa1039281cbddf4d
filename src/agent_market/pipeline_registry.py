"""The project's pipelines: one per folder of `pipelines`, in `__default__` all but those that run on demand."""

import re
from difflib import get_close_matches
from pkgutil import iter_modules

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from agent_market import pipelines as package
from agent_market.configured import remember_what_was_built
from agent_market.errors import ParameterError

ON_DEMAND = ("factor_mining", "placebo", "robustness")
"""Pipelines that run only when they are named; each round of factor_mining is counted."""


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines by name: all, or those that a run names, of which Kedro knows; ParameterError if one does not exist."""
    try:
        pipelines = find_pipelines(raise_errors=True)
    except ImportError as error:
        unknown = re.search(rf"'{package.__name__}\.(.*)' module", str(error))
        if error.__cause__ is not None or unknown is None:  # there is one, which cannot be imported
            raise
        names = [module.name for module in iter_modules(package.__path__) if module.ispkg]
        close = get_close_matches(unknown[1], names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise ParameterError(f"--pipelines: there is no pipeline {unknown[1]!r}; {hint}") from error
    remember_what_was_built()
    pipelines["__default__"] = sum(part for name, part in pipelines.items() if name not in ON_DEMAND)
    return pipelines
