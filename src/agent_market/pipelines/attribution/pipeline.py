"""Wiring of attribution."""

from kedro.pipeline import Node, Pipeline

from agent_market.configured import explained_models
from agent_market.pipelines.attribution.nodes import attribute, compare_features, compare_predictions, trace_learning


def create_pipeline(**kwargs: object) -> Pipeline:
    """Attribution of all models that look at features, each in its namespace, and the drift of the features."""
    shared = {"features", "factors", "folds"}
    models = [
        Pipeline(model_nodes(), namespace=name, inputs=shared, parameters={"params:attribution", "params:training"})
        for name in explained_models()
    ]
    drift = Node(compare_features, ["features", "folds"], "feature_drift", name="compare_features")
    return Pipeline([*models, drift], namespace="attribution", prefix_datasets_with_namespace=False)


def model_nodes() -> list[Node]:
    """Describe one model; its datasets are called `<name>.*`."""
    return [
        Node(
            attribute,
            ["model", "features", "factors", "folds", "params:attribution", "params:training"],
            "attribution",
            name="attribute",
        ),
        Node(trace_learning, "model", "learning_curve", name="trace_learning"),
        Node(
            compare_predictions,
            ["model", "features", "predictions", "folds"],
            "prediction_drift",
            name="compare_predictions",
        ),
    ]
