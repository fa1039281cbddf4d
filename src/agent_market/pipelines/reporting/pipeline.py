"""Wiring of reporting."""

from kedro.pipeline import Node, Pipeline

from agent_market.configured import all_models, explained_models, is_compared, is_tuned, models_of
from agent_market.pipelines.reporting.figures import (
    plot_equity,
    plot_ic,
    plot_ic_decay,
    plot_importance,
    plot_months,
    plot_quantiles,
)
from agent_market.pipelines.reporting.nodes import (
    check_certificate,
    describe_run,
    give_feedback,
    index_runs,
    judge_models,
    list_gate_checks,
    measure_stability,
    measure_trading,
    rank_models,
    stack_intervals,
    weigh_evidence,
    write_report,
)
from agent_market.pipelines.reporting.pages import fill_page, find_regimes
from agent_market.pipelines.training import for_model

FIGURES = ("equity_figure", "ic_figure", "ic_decay_figure", "quantile_figure", "importance_figure", "monthly_figure")


def page_node(model: str) -> Node:
    """What fills the page of one model."""
    of_model = {what: f"{model}.{what}" for what in ("predictions", "metrics", "importance")}
    if model in explained_models():
        described = ("attribution", "prediction_drift", "learning_curve")
        of_model |= {"feature_drift": "feature_drift"} | {what: f"{model}.{what}" for what in described}
    if is_tuned(model):
        of_model |= {what: f"{model}.{what}" for what in ("slice_figure", "option_figure")}
    shared = (
        "labels", "equity", "gross_equity", "trades", "cost_curve", "folds", "verdicts", "significance", "regimes",
    )  # fmt: skip
    inputs = {name: name for name in shared} | {name: f"params:{name}" for name in ("backtest", "market", "training")}
    return Node(
        for_model(fill_page, model),
        inputs | of_model,
        [f"{model}.slices", f"{model}.page"],
        name=f"fill_page_of_{model}",
    )


def create_pipeline(**kwargs: object) -> Pipeline:
    """Metrics, verdicts, leaderboard, figures and the report of all configured models."""
    models = all_models()
    predictions, metrics, importance = (
        {name: f"{name}.{what}" for name in models} for what in ("predictions", "metrics", "importance")
    )
    gates, intervals = ({name: f"{name}.{what}" for name in models_of("rl_training")} for what in ("gate", "intervals"))
    by_prediction = {"labels": "labels", "training": "params:training", **predictions}
    account = ["equity", "params:backtest"]
    return Pipeline(
        [
            Node(
                measure_trading,
                ["equity", "trades", "params:backtest", "params:market"],
                "trading_metrics",
                name="measure_trading",
            ),
            Node(
                judge_models,
                {
                    "equity": "equity",
                    "labels": "labels",
                    "backtest": "params:backtest",
                    "market": "params:market",
                    "training": "params:training",
                    **predictions,
                },
                "verdicts",
                name="judge_models",
            ),
            Node(
                weigh_evidence,
                {"equity": "equity", "backtest": "params:backtest", **metrics},
                "significance",
                name="weigh_evidence",
            ),
            Node(
                measure_stability,
                ["trades", "equity", "folds", "params:backtest"],
                "stability",
                name="measure_stability",
            ),
            Node(
                rank_models,
                {
                    "trading_metrics": "trading_metrics",
                    "verdicts": "verdicts",
                    "significance": "significance",
                    "stability": "stability",
                    "break_even_costs": "break_even_costs",
                    "freqtrade_metrics": "freqtrade_metrics",
                    "engine_comparison": "engine_comparison",
                    **metrics,
                },
                "leaderboard",
                name="rank_models",
            ),
            Node(list_gate_checks, gates or None, "gate_checks", name="list_gate_checks"),
            Node(stack_intervals, intervals or None, "policy_intervals", name="stack_intervals"),
            Node(plot_equity, account, "equity_figure", name="plot_equity"),
            Node(plot_ic, by_prediction, "ic_figure", name="plot_ic"),
            Node(plot_ic_decay, {"labels": "labels", **predictions}, "ic_decay_figure", name="plot_ic_decay"),
            Node(plot_quantiles, by_prediction, "quantile_figure", name="plot_quantiles"),
            Node(plot_importance, importance, "importance_figure", name="plot_importance"),
            Node(plot_months, [*account, "leaderboard"], "monthly_figure", name="plot_months"),
            Node(
                check_certificate,
                ["candles", "placebo_certificate", "parameters"],
                "certificate",
                name="check_certificate",
            ),
            Node(
                describe_run,
                [
                    "candles",
                    "folds",
                    "factors",
                    "verdicts",
                    "trading_metrics",
                    "engine_comparison",
                    "certificate",
                    "factor_library",
                    "params:market",
                    "params:features",
                    "params:labels",
                    "params:training",
                    "params:models",
                    "params:backtest",
                    *(f"{model}.tuning_gain" for model in models if is_compared(model)),
                ],
                "run_facts",
                name="describe_run",
            ),
            Node(find_regimes, ["candles", "params:market"], "regimes", name="find_regimes"),
            *(page_node(model) for model in models),
            Node(
                write_report,
                [
                    "leaderboard",
                    "verdicts",
                    "run_facts",
                    "data_quality",
                    "engine_comparison",
                    "gate_checks",
                    "policy_intervals",
                    "significance",
                    "stability",
                    "break_even_costs",
                    "certificate",
                    *FIGURES,
                    *(f"{model}.page" for model in models),
                ],
                "report",
                name="write_report",
            ),
            Node(
                give_feedback,
                {"leaderboard": "leaderboard", "verdicts": "verdicts", "run_facts": "run_facts", **importance},
                "feedback",
                name="give_feedback",
            ),
            Node(index_runs, ["run_history", "feedback", "report"], "run_index", name="index_runs"),
        ],
        namespace="reporting",
        prefix_datasets_with_namespace=False,
    )
