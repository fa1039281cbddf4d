"""What predictions and backtests are worth: metrics, their errors, a verdict, figures and the report."""

from agent_market.evaluation.caveats import run_caveats
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
from agent_market.evaluation.metrics import (
    daily_returns,
    monthly_returns,
    trading_metrics,
)
from agent_market.evaluation.policies import gate_sentences, gate_table, interval_table
from agent_market.evaluation.prediction import (
    fold_ic,
    ic_decay,
    ic_series,
    prediction_metrics,
    quantile_returns,
)
from agent_market.evaluation.report import render_report
from agent_market.evaluation.significance import (
    mean_interval,
    newey_west,
    optimal_block_length,
    overlap_lags,
    stationary_bootstrap,
)
from agent_market.evaluation.verdict import edge_verdict, overall_verdict

__all__ = [
    "BENCHMARKS",
    "LEADERBOARD_COLUMNS",
    "build_feedback",
    "build_leaderboard",
    "daily_returns",
    "edge_verdict",
    "equity_figure",
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
    "mean_interval",
    "monthly_figure",
    "monthly_returns",
    "newey_west",
    "optimal_block_length",
    "overall_verdict",
    "overlap_lags",
    "prediction_metrics",
    "quantile_figure",
    "quantile_returns",
    "render_report",
    "run_caveats",
    "stationary_bootstrap",
    "to_jsonable",
    "trading_metrics",
]
