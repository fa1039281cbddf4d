"""A folder of HTML pages that tell a trader what came out of a run, readable with no network.

`index.html` compares the models, `models/<model>.html` tells all about one, and `plotly.js` draws for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.evaluation.formatting import (
    flatten,
    format_interval,
    format_probability,
    format_value,
    leaderboard_cells,
    model_merits,
    table_cells,
)
from agent_market.evaluation.leaderboard import LEADERBOARD_COLUMNS
from agent_market.evaluation.policies import gate_sentences, gate_table, interval_table
from agent_market.evaluation.sections import Section, figure_views, page_names, section_views, template
from agent_market.evaluation.verdict import ALPHA_SHARPE, RANK_IC, overall_verdict

if TYPE_CHECKING:
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
    certificate: Mapping[str, Any] | None = None,
    sections: Sequence[Section] = (),
    model_sections: Mapping[str, Sequence[Section | Mapping[str, Any]]] | None = None,
    model_doubts: Mapping[str, Sequence[str]] | None = None,
    runs_page: str | None = None,
    title: str = "agent_market report",
) -> dict[str, str]:
    """The whole report as files of one folder, path → text; no page makes a network request.

    Plotly's source is 4.5 MB and stands beside the pages once. With series bucketed, as figures here have them, the
    whole folder stays below 8 MB.

    Args:
        leaderboard: as of `build_leaderboard`.
        verdicts: as of `edge_verdict`; each model in it has a page.
        run: what was run: plain values, and parts (dicts or tables) such as market, costs, folds, parameters,
            versions; shown in this order.
        figures: heading → figure of all models beside one another, shown in this order.
        quality: the data-quality table, one row per pair.
        engines: the embedded backtest beside freqtrade, one row per model.
        gates: the checks of each policy's go-live gate: model, check, value, limit, passed; None without policies.
        intervals: what each policy's test windows and seeds brought, as of `account_policy`, with its model.
        caveats: sentences, as of `run_caveats`.
        certificate: of the placebo run for this data, with which the report leads: `sentence` and `passed`; None where
            it has not been run.
        sections: further parts of the index page, below its figures.
        model_sections: model → the parts of its page, also as of `section_views`.
        model_doubts: model → why its claim (or the lack of one) may be wrong, before the run's caveats.
        runs_page: where the index of all runs lies, seen from the report's folder.
        title: of the pages.
    """
    pages = page_names([model for model in leaderboard["model"] if model in verdicts])
    common = {
        "title": title,
        "certificate": certificate,
        "reason_level": format_value(1.0 - next((v["level"] for v in verdicts.values()), 0.05), "percent"),
        "glossary": _glossary(),
    }
    views = section_views(sections)
    index = template("report.html.j2").render(
        **common,
        verdict=overall_verdict(verdicts),
        reasons=[_reason(model, verdicts[model]) | {"page": page} for model, page in pages.items()],
        caveats=list(caveats),
        leaderboard=leaderboard_cells(leaderboard),
        pages=pages,
        facts=_facts(run),
        quality=None if quality is None else table_cells(quality),
        engines=None if engines is None else table_cells(engines),
        gates=None if gates is None else table_cells(gate_table(gates)),
        gate_sentences=[] if gates is None else gate_sentences(gates),
        intervals=None if intervals is None else table_cells(interval_table(intervals)),
        figures=figure_views(figures),
        sections=views,
        has_figures=bool(figures) or any(view["figures"] for view in views),
        runs_page=runs_page,
    )
    files = {"index.html": index}
    rows = leaderboard.set_index("model")
    options = run.get("parameters", {}).get("models", {})
    for model, page in pages.items():
        files[page] = _model_page(
            common,
            _reason(model, verdicts[model]),
            row=rows.loc[model],
            doubts=[*(model_doubts or {}).get(model, ()), *caveats],
            sections=section_views((model_sections or {}).get(model, ())),
            options=flatten(dict(options.get(model, {}))),
        )
    if any("plotly.js" in page for page in files.values()):
        from plotly.offline import get_plotlyjs

        files["plotly.js"] = get_plotlyjs()
    return files


def _model_page(
    common: Mapping[str, Any],
    reason: Mapping[str, Any],
    *,
    row: pd.Series,
    doubts: Sequence[str],
    sections: list[dict[str, Any]],
    options: Mapping[str, str],
) -> str:
    return template("model.html.j2").render(
        **common,
        model=reason["model"],
        reason=reason,
        doubts=doubts,
        merits=model_merits(row),
        sections=sections,
        options=options,
        has_figures=any(section["figures"] for section in sections),
    )


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
