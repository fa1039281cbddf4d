"""Wiring of backtest."""

from kedro.pipeline import Node, Pipeline

from agent_market.configured import all_models
from agent_market.pipelines.backtest.nodes import (
    compare_engines,
    make_positions,
    run_freqtrade,
    simulate,
    simulate_gross,
    sweep_costs,
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Positions, trades and equity of all configured models."""
    predictions = {name: f"{name}.predictions" for name in all_models()}
    market = ["candles", "funding_rates", "market_snapshot", "params:backtest", "params:market"]
    return Pipeline(
        [
            Node(
                make_positions,
                {
                    "backtest": "params:backtest",
                    "market": "params:market",
                    "folds": "folds",
                    "candles": "candles",
                    **predictions,
                },
                "positions",
                name="make_positions",
            ),
            Node(simulate, ["positions", *market], ["trades", "equity"], name="simulate"),
            Node(sweep_costs, ["positions", *market], ["cost_curve", "break_even_costs"], name="sweep_costs"),
            Node(simulate_gross, ["positions", *market], "gross_equity", name="simulate_gross"),
            Node(
                run_freqtrade,
                ["positions", *market, "params:training"],
                ["freqtrade_trades", "freqtrade_metrics", "freqtrade_archive"],
                name="run_freqtrade",
            ),
            Node(
                compare_engines,
                ["trades", "freqtrade_trades", "freqtrade_metrics", "params:backtest"],
                "engine_comparison",
                name="compare_engines",
            ),
        ],
        namespace="backtest",
        prefix_datasets_with_namespace=False,
    )
