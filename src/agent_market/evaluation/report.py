"""One HTML page that tells a trader what came out of a run, readable with no network."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.evaluation.formatting import (
    flatten,
    format_interval,
    format_probability,
    format_value,
    leaderboard_cells,
    table_cells,
)
from agent_market.evaluation.leaderboard import LEADERBOARD_COLUMNS
from agent_market.evaluation.policies import gate_sentences, gate_table, interval_table
from agent_market.evaluation.verdict import ALPHA_SHARPE, RANK_IC, overall_verdict

if TYPE_CHECKING:
    import jinja2
    import plotly.graph_objects as go

FOLDED_FACTS = ("parameters", "versions")
"""Parts of the run's facts that are shown folded: long, and wanted by few."""

GLOSSARY = {
    "Edge after costs": "RankIC and alpha Sharpe ratio both lie above zero, each with an interval corrected for the "
    "number of models compared.",
    "Alpha Sharpe ratio": "annualised Sharpe ratio of the daily net returns less beta times buy-and-hold's: what is "
    "left when the market's own movement is taken out.",
    "Beta": "how far the strategy's daily returns move with buy-and-hold's (slope of a regression).",
    "P(alpha > 0)": "share of resamples of the days (stationary bootstrap) in which the alpha was positive.",
    "Go-live gate": "what a policy must have shown out of sample before it may be exported: gains net of costs and of "
    "raised costs, in most test windows and on most seeds, a drawdown within limits, and timing that beats the same "
    "positions shifted in time.",
    "Interval [low, high]": "the range that would cover the true value in 95 % of such samples, or in more where a "
    "correction for several models is named.",
    "Net of costs": "after the fees and the slippage named under “What was run”.",
    "Always flat": "the benchmark of not trading.",
    "Buy and hold": "equal shares of all pairs, bought at the start of the test span and kept.",
    "Quantile spread": "mean return of the pairs with the highest predictions less that of the lowest, before costs.",
}


def render_report(
    *,
    leaderboard: pd.DataFrame,
    verdicts: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
    figures: Mapping[str, "go.Figure"],
    quality: pd.DataFrame | None = None,
    engines: pd.DataFrame | None = None,
    gates: pd.DataFrame | None = None,
    intervals: pd.DataFrame | None = None,
    caveats: Sequence[str] = (),
    title: str = "agent_market report",
) -> str:
    """The whole report as one HTML page that makes no network request; below 8 MB with Plotly inlined once.

    Args:
        leaderboard: as of `build_leaderboard`.
        verdicts: as of `edge_verdict`.
        run: what was run: plain values, and parts (dicts or tables) such as market, costs, folds, parameters,
            versions; shown in this order.
        figures: name → figure, shown in this order.
        quality: the data-quality table, one row per pair.
        engines: the embedded backtest beside freqtrade, one row per model.
        gates: the checks of each policy's go-live gate: model, check, value, limit, passed; None without policies.
        intervals: what each policy's test windows and seeds brought, as of `account_policy`, with its model.
        caveats: sentences, as of `run_caveats`.
        title: of the page.
    """
    from plotly.offline import get_plotlyjs

    return _template().render(
        title=title,
        verdict=overall_verdict(verdicts),
        reasons=[_reason(model, verdicts[model]) for model in leaderboard["model"] if model in verdicts],
        reason_level=format_value(1.0 - next((v["level"] for v in verdicts.values()), 0.05), "percent"),
        caveats=list(caveats),
        leaderboard=leaderboard_cells(leaderboard),
        facts=_facts(run),
        quality=None if quality is None else table_cells(quality),
        engines=None if engines is None else table_cells(engines),
        gates=None if gates is None else table_cells(gate_table(gates)),
        gate_sentences=[] if gates is None else gate_sentences(gates),
        intervals=None if intervals is None else table_cells(interval_table(intervals)),
        figures=[{"name": name, "json": _script_json(figure)} for name, figure in figures.items()],
        glossary=_glossary(),
        plotlyjs=get_plotlyjs(),
    )


@functools.cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("agent_market.evaluation", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _reason(model: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table that explains the answer."""
    failed = verdict["failed"]
    return {
        "model": model,
        "claim": verdict["claim"],
        "sentence": verdict["sentence"],
        "rank_ic": format_value(verdict["rank_ic"], "coefficient"),
        "rank_ic_interval": format_interval(*verdict["ic_ci"], "coefficient"),
        "rank_ic_passes": RANK_IC not in failed,
        "alpha_sharpe": format_value(verdict["alpha_sharpe"], "ratio"),
        "alpha_sharpe_interval": format_interval(*verdict["alpha_sharpe_ci"], "ratio"),
        "alpha_sharpe_passes": ALPHA_SHARPE not in failed,
        "alpha": format_value(verdict["alpha"], "percent"),
        "beta": format_value(verdict["beta"], "ratio"),
        "probability": format_probability(verdict["probability"]),
    }


def _facts(run: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in run.items() if not isinstance(value, Mapping | pd.DataFrame)}
    parts = []
    for name, part in run.items():
        if isinstance(part, pd.DataFrame):
            parts.append({"name": name, "folded": len(part) > 12, "table": table_cells(part), "rows": None})
        elif isinstance(part, Mapping):
            parts.append({"name": name, "folded": name in FOLDED_FACTS, "table": None, "rows": flatten(dict(part))})
    return {"plain": flatten(plain), "parts": parts}


def _glossary() -> dict[str, str]:
    columns = {c.title: c.meaning for c in LEADERBOARD_COLUMNS.values()}
    return dict(sorted((columns | GLOSSARY).items(), key=lambda item: item[0].lower()))


def _script_json(figure: "go.Figure") -> str:
    """A figure as JSON that cannot end the script element it stands in."""
    text = json.dumps(json.loads(figure.to_json()), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
