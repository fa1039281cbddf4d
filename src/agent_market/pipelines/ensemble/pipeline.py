"""Wiring of ensemble."""

from kedro.pipeline import Node, Pipeline

from agent_market.configured import members_of
from agent_market.pipelines.ensemble.nodes import blend, score_ensemble
from agent_market.pipelines.training import explain, for_model, training_pipeline

OF_MEMBERS = ("model", "predictions", "validation", "metrics")


def create_pipeline(**kwargs: object) -> Pipeline:
    """All ensembles of the `models` parameters."""
    return training_pipeline("ensemble", ensemble_nodes)


def ensemble_nodes(name: str) -> list[Node]:
    """Blend, explain and score one ensemble; its datasets are called `<name>.*`."""
    members = members_of(name)
    model, predictions, validation, metrics = ([f"{member}.{what}" for member in members] for what in OF_MEMBERS)
    return [
        Node(
            for_model(blend, name, members=tuple(members)),
            ["labels", "folds", "params:options", "params:training", *model, *predictions, *validation],
            ["model", "predictions", "fits", "weights"],
            name="blend",
        ),
        Node(explain, "model", "importance", name="explain"),
        Node(
            score_ensemble,
            ["model", "predictions", "labels", "fits", "weights", "params:options", "params:training", *metrics],
            "metrics",
            name="score",
        ),
    ]
