"""Tables of the report about policies: what each test window and seed brought, and what the go-live gate says."""

from math import expm1

import pandas as pd

from agent_market.evaluation.formatting import format_value

VOTE = "ensemble"
"""The name, among the seeds, of their vote."""


def interval_table(intervals: pd.DataFrame) -> pd.DataFrame:
    """One row per policy and test window, as text: the market, the vote of the seeds, and each seed alone.

    `intervals` have model, fold, start, end, seed, net, net_raised_costs, drawdown, exposure, entries and market, as of
    `account_policy`. Returns are compounded, net of costs, and a mean over the pairs.
    """
    rows = []
    for (model, fold), part in intervals.groupby(["model", "fold"], sort=False):
        vote = part[part["seed"] == VOTE].iloc[0]
        seeds = part[part["seed"] != VOTE].sort_values("seed")
        rows.append(
            {
                "model": model,
                "window": str(fold),
                "from": format_value(vote["start"]),
                "until": format_value(vote["end"]),
                "market": _grown(vote["market"]),
                "policy": _grown(vote["net"]),
                "at raised costs": _grown(vote["net_raised_costs"]),
                "each seed alone": ", ".join(_grown(net) for net in seeds["net"]),
                "drawdown": format_value(-vote["drawdown"], "percent"),
                "exposure": format_value(vote["exposure"], "percent"),
                "entries": str(vote["entries"]),
            }
        )
    return pd.DataFrame(rows)


def gate_table(checks: pd.DataFrame) -> pd.DataFrame:
    """One row per policy and check of the gate, as text: what was found, what is asked for, and whether it passed."""
    shown = checks.assign(
        found=checks["value"].map(lambda value: f"{value:.4g}"), passed=checks["passed"].map(format_value)
    )
    return shown[["model", "check", "found", "limit", "passed"]]


def gate_sentences(checks: pd.DataFrame) -> list[str]:
    """For each policy whether it may be exported."""
    said = []
    for model, part in checks.groupby("model", sort=False):
        failed = part.loc[~part["passed"], "check"].tolist()
        said.append(
            f"{model} passes, and may be exported."
            if not failed
            else f"{model} does not pass ({'; '.join(failed)}), and is exported only if forced."
        )
    return said


def _grown(log_return: float) -> str:
    return format_value(expm1(log_return), "percent")
