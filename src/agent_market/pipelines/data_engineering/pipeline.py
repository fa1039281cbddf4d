"""Wiring of data_engineering."""

from kedro.pipeline import Node, Pipeline

from agent_market.pipelines.data_engineering.nodes import clean_candles, fetch_candles, load_funding, snapshot_market


def create_pipeline(**kwargs: object) -> Pipeline:
    """From the configured source to clean candles."""
    return Pipeline(
        [
            Node(fetch_candles, "params:market", "raw_candles", name="fetch_candles"),
            Node(
                clean_candles,
                ["raw_candles", "params:market"],
                ["candles", "data_quality"],
                name="clean_candles",
            ),
            Node(load_funding, ["candles", "params:market"], "funding_rates", name="load_funding"),
            Node(
                snapshot_market,
                ["candles", "params:market", "params:backtest"],
                "market_snapshot",
                name="snapshot_market",
            ),
        ],
        namespace="data_engineering",
        prefix_datasets_with_namespace=False,
    )
