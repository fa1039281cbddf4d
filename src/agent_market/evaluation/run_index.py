"""One page over all runs: what was tried, what came out, and how that changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent_market.evaluation.formatting import format_interval, format_value
from agent_market.evaluation.leaderboard import LEADERBOARD_COLUMNS
from agent_market.evaluation.sections import template

METRICS = ("sharpe", "alpha_sharpe", "rank_ic", "total_return", "max_drawdown", "dsr", "turnover", "trades")
"""What is shown of each model of a run: columns of the leaderboard, and of the verdict `alpha_sharpe`."""
TITLES = {"alpha_sharpe": "Alpha Sharpe"}
FORMATS = {"alpha_sharpe": "ratio"}
INTERVALS = {"sharpe": ("sharpe_low", "sharpe_high"), "rank_ic": ("rank_ic_low", "rank_ic_high")}


def render_run_index(runs: Sequence[Mapping[str, Any]], *, title: str = "agent_market runs") -> str:
    """The page as HTML, newest run first; it makes no network request and needs no other file.

    Args:
        runs: oldest first: `version`, `data` (as of `build_feedback`; None where it could not be read), `beside` (where
            the run's report lies, seen from the page; None if it is gone).
        title: of the page.
    """
    known = [run for run in runs if run["data"] is not None]
    rows = [row for run in reversed(known) for row in _rows(run)]
    return template("runs.html.j2").render(
        title=title,
        rows=rows,
        n_runs=len(known),
        claims=sum(run["data"]["verdict"]["claim"] for run in known),
        unreadable=[{"version": run["version"], "why": run["unreadable"]} for run in runs if run["data"] is None],
        models=sorted({row["model"] for row in rows}),
        markets=sorted({row["market"] for row in rows}),
        first=rows[-1]["date"] if rows else "",
        last=rows[0]["date"] if rows else "",
        metrics=[
            {
                "name": name,
                "title": TITLES.get(name) or LEADERBOARD_COLUMNS[name].title,
                "meaning": LEADERBOARD_COLUMNS[name].meaning if name in LEADERBOARD_COLUMNS else "see the report",
                "interval": name in (*INTERVALS, "alpha_sharpe"),
            }
            for name in METRICS
        ],
    )


def _rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per model of a run, in the order of its leaderboard; the first is marked as the run's best."""
    data, version = run["data"], run["version"]
    market = data["run"]["market"]
    shared = {
        "version": version,
        "when": version[:16].replace("T", " ").replace(".", ":"),
        "date": version[:10],
        "report": run["beside"],
        "market": f"{market['source']}, {market['timeframe']}, {len(market['pairs'])} pairs",
        "span": f"{market['first_candle'][:10]} to {market['last_candle'][:10]}",
        "n_models": len(data["models"]),
    }
    models = sorted(data["models"].items(), key=lambda item: _rank(item[1]))
    return [
        shared | {"model": name, "best": at == 0, "edge": found["verdict"]["claim"], "cells": _cells(found)}
        for at, (name, found) in enumerate(models)
    ]


def _rank(found: Mapping[str, Any]) -> tuple[bool, float]:
    sharpe = found["metrics"].get("sharpe")
    return (not found["verdict"]["claim"], -sharpe if sharpe is not None else float("inf"))


def _cells(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = found["metrics"] | {"alpha_sharpe": found["verdict"]["alpha_sharpe"]}
    cells = []
    for name in METRICS:
        kind = FORMATS.get(name) or LEADERBOARD_COLUMNS[name].format
        value = values.get(name)  # an older run may not have it
        low, high = (values.get(end) for end in INTERVALS.get(name, (None, None)))
        if name == "alpha_sharpe":
            low, high = found["verdict"]["alpha_sharpe_ci"]
        cells.append(
            {
                "value": "" if value is None else f"{value:.6g}",
                "low": "" if low is None else f"{low:.6g}",
                "high": "" if high is None else f"{high:.6g}",
                "text": format_value(value, kind),
                "interval": format_interval(low, high, kind),
            }
        )
    return cells
