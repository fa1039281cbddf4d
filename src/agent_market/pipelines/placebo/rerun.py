"""The configured pipeline once more, in memory: the same nodes in the same order, on other candles or features."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from kedro.framework.project import configure_project, find_pipelines
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from agent_market.configured import configured_as
from agent_market.factors.store import FeatureStream
from agent_market.parameters import Parameters
from agent_market.pipelines.training import AnyModelOptions

PREFIX = "params:"
START = {"stored_features": None, "factor_library": None}
"""What a run without any stored dataset starts from."""

ON_DEMAND = ("factor_mining", "placebo")
"""Pipelines that are no part of a run: what they make is given, or there is none."""


def nodes_for(parameters: Mapping[str, Any], wanted: Collection[str], given: Collection[str]) -> list[Node]:
    """The project's nodes, in order, that make the `wanted` datasets from the `given` ones and the parameters.

    `parameters` is the whole tree, as in `conf`; pipelines are built for the models that it names.
    """
    configure_project("agent_market")
    with configured_as(dict(parameters)):
        pipelines = find_pipelines(raise_errors=True)
    whole: Pipeline = sum((part for name, part in pipelines.items() if name not in ON_DEMAND), Pipeline([]))
    missing, chosen = set(wanted) - set(given), []
    for node in reversed(whole.nodes):
        if missing & set(node.outputs):
            chosen.append(node)
            missing |= {name for name in node.inputs if not name.startswith(PREFIX)} - set(given)
    made = {name for node in chosen for name in node.outputs}
    if unknown := missing - made:
        raise LookupError(f"no node makes {', '.join(sorted(unknown))}, and they were not given")
    return chosen[::-1]


def run_nodes(
    nodes: list[Node], parameters: Parameters, given: Mapping[str, Any], wanted: Collection[str]
) -> dict[str, Any]:
    """What the nodes made of the `wanted` datasets; each other one is let go after its last use."""
    values = dict(given)
    last_use = {name: number for number, node in enumerate(nodes) for name in node.inputs}
    for number, node in enumerate(nodes):
        inputs = {
            name: _parameter(name, parameters) if name.startswith(PREFIX) else values[name] for name in node.inputs
        }
        for name, value in node.run(inputs).items():
            values[name] = _as_table(value) if isinstance(value, FeatureStream) else value
        for name in set(node.inputs) & set(values):
            if last_use[name] == number and name not in wanted:
                del values[name]
    return {name: values[name] for name in wanted}


def _parameter(name: str, parameters: Parameters) -> Any:
    """The typed block that a node asks for; options of a model in the wrapper that training nodes take."""
    path = name.removeprefix(PREFIX).split(".")
    value: Any = parameters
    for part in path:
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return AnyModelOptions(value) if path[0] == "models" and len(path) == 2 else value


def _as_table(stream: FeatureStream) -> pd.DataFrame:
    """All pairs of a stream in one table, as the stored dataset gives it."""
    pairs, parts = zip(*((pair, rows.drop(columns="pair")) for pair, rows in stream), strict=True)
    names = sorted(set(pairs))
    codes = np.repeat([names.index(pair) for pair in pairs], [len(part) for part in parts])
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "pair", pd.Categorical.from_codes(codes, names))
    return table
