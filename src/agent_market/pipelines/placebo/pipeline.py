"""Wiring of placebo."""

from kedro.pipeline import Node, Pipeline

from agent_market.pipelines.placebo.nodes import certify_placebo


def create_pipeline(**kwargs: object) -> Pipeline:
    """One node: it runs the other pipelines many times, in memory."""
    return Pipeline(
        [
            Node(
                certify_placebo,
                ["candles", "funding_rates", "market_snapshot", "parameters", "factor_library"],
                "placebo_certificate",
                name="certify_placebo",
            )
        ],
        namespace="placebo",
        prefix_datasets_with_namespace=False,
    )
