"""Wiring of factor_mining."""

from kedro.pipeline import Node, Pipeline

from agent_market.pipelines.factor_mining.nodes import (
    check_candidates,
    deduplicate_candidates,
    give_mining_feedback,
    judge_candidates,
    list_arms,
    list_rejects,
    parse_candidates,
    plot_mining,
    propose_candidates,
    score_candidates,
    trace_nominees,
    trade_library,
    update_library,
    write_mining_report,
)

OPTIONS = ["params:mining", "params:market"]
LIBRARY = "stored_factor_library"
REJECTS = ("parse_rejects", "check_rejects", "duplicate_rejects", "score_rejects", "gate_rejects")


def create_pipeline(**kwargs: object) -> Pipeline:
    """Propose, parse, check, deduplicate, score, gate, library; what falls by the wayside is kept with its reason."""
    return Pipeline([*_steps(), *_facts()], namespace="factor_mining", prefix_datasets_with_namespace=False)


def _steps() -> list[Node]:
    return [
        Node(
            propose_candidates,
            ["candles", "mining_ledger", LIBRARY, "llm_key", *OPTIONS],
            ["proposed_candidates", "llm_dialogue", "mining_ledger_before"],
            name="propose_candidates",
        ),
        Node(
            parse_candidates,
            ["proposed_candidates", LIBRARY],
            ["parsed_candidates", "parse_rejects"],
            name="parse_candidates",
        ),
        Node(
            check_candidates,
            ["parsed_candidates", "candles", "params:mining"],
            ["checked_candidates", "check_rejects"],
            name="check_candidates",
        ),
        Node(
            deduplicate_candidates,
            ["checked_candidates", "candles", "mining_ledger_before", LIBRARY, *OPTIONS],
            ["distinct_candidates", "duplicate_rejects"],
            name="deduplicate_candidates",
        ),
        Node(
            score_candidates,
            ["distinct_candidates", "candles", *OPTIONS],
            ["factor_trials", "score_rejects"],
            name="score_candidates",
        ),
        Node(
            judge_candidates,
            ["factor_trials", "candles", "mining_ledger_before", LIBRARY, *OPTIONS],
            ["gate_results", "gate_rejects", "mining_ledger_entry"],
            name="judge_candidates",
        ),
        Node(
            update_library,
            ["gate_results", "factor_trials", LIBRARY, "candles", *OPTIONS],
            "factor_library",
            name="update_library",
        ),
    ]


def _facts() -> list[Node]:
    return [
        Node(list_rejects, list(REJECTS), "mining_rejects", name="list_rejects"),
        Node(
            list_arms,
            ["proposed_candidates", "factor_trials", "mining_rejects", "gate_results"],
            "mining_arms",
            name="list_arms",
        ),
        Node(
            trade_library,
            ["factor_library", "candles", "market_snapshot", "funding_rates", "params:backtest", *OPTIONS],
            ["mining_backtest", "latest_backtest_summary"],
            name="trade_library",
        ),
        Node(
            give_mining_feedback,
            [
                "factor_trials",
                "mining_rejects",
                "factor_library",
                "mining_arms",
                "mining_backtest",
                "candles",
                "mining_ledger_before",
                *OPTIONS,
            ],
            "mining_feedback",
            name="give_mining_feedback",
        ),
        Node(trace_nominees, ["gate_results", "candles", *OPTIONS], "nominee_gains", name="trace_nominees"),
        Node(
            plot_mining,
            ["nominee_gains", "factor_trials", "mining_ledger_before", "candles", *OPTIONS],
            ["mining_gains_figure", "mining_trials_figure"],
            name="plot_mining",
        ),
        Node(
            write_mining_report,
            [
                "gate_results",
                "factor_trials",
                "mining_rejects",
                "mining_arms",
                "factor_library",
                "llm_dialogue",
                "mining_backtest",
                "candles",
                "mining_ledger_before",
                *OPTIONS,
                "params:backtest",
                "mining_gains_figure",
                "mining_trials_figure",
            ],
            "mining_report",
            name="write_mining_report",
        ),
    ]
