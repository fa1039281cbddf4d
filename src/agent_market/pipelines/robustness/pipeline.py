"""Wiring of robustness."""

from kedro.pipeline import Node, Pipeline

from agent_market.configured import cross_validated
from agent_market.pipelines.robustness.nodes import (
    cross_validate_model,
    make_splits,
    measure_paths,
    plot_paths,
    summarize_paths,
)
from agent_market.pipelines.training import for_model, model_pipeline

TABLES = ["features", "labels", "candles", "funding_rates", "market_snapshot"]
BLOCKS = ["params:options", "params:training", "params:market", "params:backtest"]


def create_pipeline(**kwargs: object) -> Pipeline:
    """Splits, the paths of each model, and what they came to."""
    models = cross_validated()
    calendar = ["candles", "params:cross_validation", "params:folds", "params:labels", "params:market"]
    return Pipeline(
        [
            Node(make_splits, calendar, "splits", name="make_splits"),
            *(model_pipeline(model, _of_model(model)) for model in models),
            Node(measure_paths, {model: f"{model}.path_metrics" for model in models}, "paths", name="measure_paths"),
            Node(
                summarize_paths,
                ["paths", "params:cross_validation", "params:tuning"],
                "path_summary",
                name="summarize_paths",
            ),
            Node(plot_paths, "paths", "path_figure", name="plot_paths"),
        ],
        namespace="robustness",
        prefix_datasets_with_namespace=False,
    )


def _of_model(name: str) -> list[Node]:
    return [
        Node(
            for_model(cross_validate_model, name),
            ["splits", *TABLES, *BLOCKS],
            ["path_predictions", "path_metrics"],
            name="cross_validate",
        )
    ]
