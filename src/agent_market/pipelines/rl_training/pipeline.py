"""Wiring of rl_training."""

from kedro.pipeline import Node, Pipeline

from agent_market.pipelines.rl_training.nodes import score_policy, train_policy
from agent_market.pipelines.training import chosen_options, explain, for_model, training_pipeline, validation_nodes
from agent_market.pipelines.tuning import tuning_nodes


def create_pipeline(**kwargs: object) -> Pipeline:
    """All models of the `models` parameters whose adapter belongs to this stage."""
    return training_pipeline("rl_training", policy_nodes)


def policy_nodes(name: str) -> list[Node]:
    """Train and judge, explain and score one policy; its datasets are called `<name>.*`."""
    return [
        *tuning_nodes(name),
        Node(
            for_model(train_policy, name),
            [
                "features",
                "factors",
                "labels",
                "folds",
                "candles",
                "funding_rates",
                chosen_options(name),
                "params:training",
                "params:market",
                "params:backtest",
                "params:gate",
            ],
            ["model", "predictions", "fits", "intervals", "gate"],
            name="train",
        ),
        Node(explain, "model", "importance", name="explain"),
        Node(
            score_policy,
            ["predictions", "labels", "fits", "gate", chosen_options(name), "params:training"],
            "metrics",
            name="score",
        ),
        *validation_nodes(name),
    ]
