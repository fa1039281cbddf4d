"""Wiring of feature_store."""

from kedro.pipeline import Node, Pipeline

from agent_market.configured import scores_features
from agent_market.pipelines.feature_store.nodes import (
    build_features,
    build_labels,
    make_folds,
    score_features,
    select_factors,
    write_scores,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Factors, labels and the calendar that all models share; scores of the features where they are asked for."""
    return Pipeline(
        [
            Node(select_factors, ["params:features", "factor_library"], "factors", name="select_factors"),
            Node(
                build_features,
                ["candles", "factors", "stored_features", "params:features", "params:market"],
                "features",
                name="build_features",
            ),
            Node(
                build_labels,
                ["candles", "params:labels", "params:market", "params:training"],
                "labels",
                name="build_labels",
            ),
            Node(make_folds, ["candles", "params:folds", "params:market"], "folds", name="make_folds"),
            *(_scoring() if scores_features() else []),
        ],
        namespace="feature_store",
        prefix_datasets_with_namespace=False,
    )


def _scoring() -> list[Node]:
    options = ["params:training", "params:selection", "params:market"]
    return [
        Node(
            score_features,
            ["features", "labels", "folds", *options],
            ["feature_scores", "feature_scores_by_fold"],
            name="score_features",
        ),
        Node(write_scores, ["feature_scores", "factors", "labels", *options], "freqai_features", name="write_scores"),
    ]
