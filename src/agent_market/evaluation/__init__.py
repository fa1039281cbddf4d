"""What predictions and backtests are worth: metrics, their errors, a verdict, figures and the report."""

from agent_market.evaluation.caveats import mined_caveat, run_caveats
from agent_market.evaluation.certificate import certificate_section
from agent_market.evaluation.evidence import alpha_returns, weigh_evidence
from agent_market.evaluation.feedback import build_feedback
from agent_market.evaluation.figures import (
    equity_figure,
    ic_decay_figure,
    ic_figure,
    importance_figure,
    importance_shares,
    monthly_figure,
    quantile_figure,
)
from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.leaderboard import BENCHMARKS, LEADERBOARD_COLUMNS, build_leaderboard
from agent_market.evaluation.luck import luck_section
from agent_market.evaluation.metrics import (
    daily_returns,
    monthly_returns,
    trading_metrics,
)
from agent_market.evaluation.model_page import ModelResults, model_doubts, model_sections
from agent_market.evaluation.overfitting import overfitting_probability
from agent_market.evaluation.placebo import certificate_for, certify, claims_of
from agent_market.evaluation.policies import gate_sentences, gate_table, interval_table
from agent_market.evaluation.prediction import (
    fold_ic,
    ic_decay,
    ic_series,
    prediction_metrics,
    quantile_returns,
)
from agent_market.evaluation.regimes import market_regimes
from agent_market.evaluation.report import render_report
from agent_market.evaluation.run_index import render_run_index
from agent_market.evaluation.sections import Section, Table, section_views
from agent_market.evaluation.sharpe import (
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
)
from agent_market.evaluation.significance import (
    mean_interval,
    newey_west,
    optimal_block_length,
    overlap_lags,
    stationary_bootstrap,
)
from agent_market.evaluation.slices import slice_performance
from agent_market.evaluation.stability import profit_by_part, stability_metrics
from agent_market.evaluation.superiority import superiority_test
from agent_market.evaluation.verdict import edge_verdict, overall_verdict

__all__ = [
    "BENCHMARKS",
    "LEADERBOARD_COLUMNS",
    "ModelResults",
    "Section",
    "Table",
    "alpha_returns",
    "build_feedback",
    "build_leaderboard",
    "certificate_for",
    "certificate_section",
    "certify",
    "claims_of",
    "daily_returns",
    "deflated_sharpe",
    "edge_verdict",
    "equity_figure",
    "expected_best_sharpe",
    "fold_ic",
    "gate_sentences",
    "gate_table",
    "ic_decay",
    "ic_decay_figure",
    "ic_figure",
    "ic_series",
    "importance_figure",
    "importance_shares",
    "interval_table",
    "luck_section",
    "market_regimes",
    "mean_interval",
    "mined_caveat",
    "minimum_track_record",
    "model_doubts",
    "model_sections",
    "monthly_figure",
    "monthly_returns",
    "newey_west",
    "optimal_block_length",
    "overall_verdict",
    "overfitting_probability",
    "overlap_lags",
    "prediction_metrics",
    "probabilistic_sharpe",
    "profit_by_part",
    "quantile_figure",
    "quantile_returns",
    "render_report",
    "render_run_index",
    "run_caveats",
    "section_views",
    "slice_performance",
    "stability_metrics",
    "stationary_bootstrap",
    "superiority_test",
    "to_jsonable",
    "trading_metrics",
    "weigh_evidence",
]
