"""The page of a round: which factors were accepted, on what evidence, and how many were tried."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.evaluation.sections import Section, Table, section_views, template
from agent_market.mining.candidates import REASONS
from agent_market.mining.ledger import Past
from agent_market.mining.options import MiningOptions
from agent_market.mining.segments import Segments
from agent_market.mining.statistics import spent

if TYPE_CHECKING:
    import plotly.graph_objects as go

ARMS = ("genetic", "zoo", "llm", "control")


def describe_arms(
    proposed: Sequence[Mapping[str, Any]], trials: pd.DataFrame, rejects: pd.DataFrame, results: pd.DataFrame
) -> pd.DataFrame:
    """One row per arm that proposed something: what it proposed, what became of it, and its best |t|.

    `alone` counts accepted ideas that no other arm had.
    """
    rows = []
    for arm in ARMS:
        own = results[results["arm"] == arm]
        passed = own[own["passed"].astype(bool)]
        t = trials.loc[trials["arm"] == arm, "t"].abs()
        count = sum(candidate["arm"] == arm for candidate in proposed)
        if count:
            rows.append(
                {
                    "arm": arm,
                    "proposed": count,
                    "unreadable": int(((rejects["arm"] == arm) & (rejects["step"] == "parse")).sum()),
                    "trials": len(t),
                    "significant": int((t >= 2).sum()),
                    "best_t": round(float(t.max()), 2) if len(t) else 0.0,
                    "nominated": len(own),
                    "accepted": len(passed),
                    "alone": int((passed["arms"] == arm).sum()),
                }
            )
    columns = ["arm", "proposed", "unreadable", "trials", "significant", "best_t", "nominated", "accepted", "alone"]
    return pd.DataFrame(rows, columns=columns)


def did_it_add(arms: pd.DataFrame, results: pd.DataFrame) -> str:
    """Whether the language model added anything to what a genetic search of as many trials finds, as a sentence."""
    rows = {row["arm"]: row for row in arms.to_dict("records")}
    if "llm" not in rows:
        return "The language model was not asked."
    llm, control = rows["llm"], rows.get("control", {"trials": 0, "accepted": 0, "best_t": 0.0})
    passed = results[results["passed"].astype(bool)]
    ideas = [set(text.split(", ")) for text in passed["arms"]]
    own = sum("llm" in who and not who & {"control", "genetic"} for who in ideas)
    both = sum("llm" in who and bool(who & {"control", "genetic"}) for who in ideas)
    others = sum("llm" not in who for who in ideas)
    verdict = (
        f"The language model added {own} accepted idea{'s' * (own != 1)} that no genetic search had"
        if own
        else "The language model added nothing that a genetic search did not find as well"
    )
    return (
        f"{verdict}; {both} were found by both, {others} without it. Of {llm['trials']} trials its best |t| was "
        f"{llm['best_t']:.2f}; the control arm had {control['best_t']:.2f} in {control['trials']} trials."
    )


def headline(results: pd.DataFrame, trials_round: int, trials_total: int) -> str:
    """What came out, as a sentence."""
    accepted = int(results["passed"].astype(bool).sum())
    tried = f"{trials_round} factors were tried in this round, {trials_total} on this gate segment so far"
    if not accepted:
        return f"No factor was accepted: none of {len(results)} nominees held on the gate segment. {tried}."
    return f"{accepted} of {len(results)} nominees held on the gate segment and were accepted. {tried}."


def render_page(
    *,
    results: pd.DataFrame,
    trials: pd.DataFrame,
    rejects: pd.DataFrame,
    arms: pd.DataFrame,
    library: Mapping[str, Any],
    dialogue: Mapping[str, Any],
    backtest: Mapping[str, Any],
    withheld: Sequence[str],
    segments: Segments,
    past: Past,
    options: MiningOptions,
    costs: float,
    figures: Mapping[str, "go.Figure"],
    cross_section: bool,
) -> dict[str, str]:
    """The page and Plotly's source, path → text; whatever a language model wrote is escaped.

    `past` is what the ledger knew before this round, `costs` the configured ones per side, fraction.
    """
    from plotly.offline import get_plotlyjs

    total = len(set(past.trials) | set(trials["rank_key"]))
    sections = [
        _accepted(results, library, costs),
        _tried(arms, rejects, dialogue, figures),
        _nominees(results, figures),
        _run(segments, past, options, backtest, withheld, cross_section),
    ]
    page = template("mining.html.j2").render(
        title="agent_market: factor mining",
        sentence=headline(results, len(trials), total),
        claim=bool(results["passed"].astype(bool).any()),
        added=did_it_add(arms, results),
        q=f"{100 * options.gate.q:g}",
        sections=section_views(sections),
        reasons=REASONS,
    )
    return {"index.html": page, "plotly.js": get_plotlyjs()}


def _accepted(results: pd.DataFrame, library: Mapping[str, Any], costs: float) -> Section:
    rounds = set(results["round"]) if len(results) else set()
    rows = []
    for name, facts in (library.get("factors") or {}).items():
        search, gate = facts["search"], facts["gate"]
        rows.append(
            {
                "factor": f"@{name}",
                "new": facts["round"] in rounds and facts["rank_key"] in _keys(results, library),
                "expression": facts["expression"],
                "by": facts["arm"],
                "search_IC": _figure(search["ic"], 4),
                "search_t": _figure(search["t"], 1),
                "gate_IC": _figure(gate["ic"], 4),
                "gate_t": _figure(gate["t"], 1),
                "gate_p": f"{gate['p']:.2g}",
                "turnover": _figure(search["turnover"], 3),
                "break_even": f"{100 * search['break_even']:.3f} %",
                "pays_alone": bool(search["break_even"] > costs),
                "look_back": facts["look_back"],
                "hypothesis": facts["hypothesis"] or "none: it was found by search",
            }
        )
    note = (
        "IC is the rank correlation with the return over the horizon. Turnover is the share of a portfolio that "
        "follows the factor which is exchanged per candle; break even is the cost per side at which that portfolio "
        f"earns nothing, pays alone whether that is above the configured {100 * costs:g} %. Use a factor as @name in "
        "features.factors, or all of them with features.mined."
    )
    text = [note] if rows else ["The library is empty."]
    return Section("Library", text, tables=[Table(pd.DataFrame(rows))] if rows else [])


def _keys(results: pd.DataFrame, library: Mapping[str, Any]) -> set[str]:
    """Rank keys of library factors whose expression, or its negative, passed in this round."""
    from agent_market.factors.identity import rank_key

    passed = results.loc[results["passed"].astype(bool), "expression"]
    return {rank_key(text) for text in passed}


def _tried(
    arms: pd.DataFrame, rejects: pd.DataFrame, dialogue: Mapping[str, Any], figures: Mapping[str, "go.Figure"]
) -> Section:
    codes = rejects.groupby(["step", "code"], sort=False).size().reset_index(name="factors")
    codes["meaning"] = codes["code"].map(REASONS)
    text = ["Everything that was evaluated counts: the more is tried, the better the best of it looks by luck."]
    if dialogue.get("end"):
        spent_on = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in dialogue["spent"].items())
        text.append(f"The language model: {dialogue['end']}; spent: {spent_on}.")
    tables = [
        Table(arms, "By arm", "alone: accepted ideas that no other arm proposed."),
        Table(codes, "Rejected, step by step"),
    ]
    shown = {name: figure for name, figure in figures.items() if name == "All trials on the search segment"}
    return Section("How many were tried", text, shown, tables)


def _nominees(results: pd.DataFrame, figures: Mapping[str, "go.Figure"]) -> Section:
    columns = ["expression", "arms", "search_ic", "search_t", "required_t", "deflated", "gate_ic", "gate_t", "gate_p"]
    table = results[[*columns, "gate_blocks", "cluster", "passed"]].copy()
    digits = {"search_ic": 4, "search_t": 2, "required_t": 2, "deflated": 3, "gate_ic": 4, "gate_t": 2, "gate_p": 5}
    table = table.round({name: places for name, places in digits.items() if len(table)})
    note = (
        "One row for each idea: the best of those that gain at the same times (cluster counts them). deflated is the "
        "chance that the search's result is not the best of all trials by luck (deflated Sharpe ratio); gate p is "
        "one-sided."
    )
    shown = {name: figure for name, figure in figures.items() if name == "Gains of the nominees"}
    text = ["Tested once on the gate segment; thick lines are that segment."] if len(results) else ["There were none."]
    return Section("Nominees", text, shown, [Table(table, "", note)] if len(table) else [])


def _run(
    segments: Segments,
    past: Past,
    options: MiningOptions,
    backtest: Mapping[str, Any],
    withheld: Sequence[str],
    cross_section: bool,
) -> Section:
    number = past.rounds + 1
    dates = pd.DataFrame(
        [
            {"segment": part.name, "from": f"{part.start:%Y-%m-%d %H:%M}", "until": f"{part.end:%Y-%m-%d %H:%M}"}
            for part in (segments.search, segments.gate, segments.vault)
        ]
    )
    left = options.gate.q - sum(spent(options.gate.q, r) for r in range(1, number + 1))
    judged = "across pairs at each date" if cross_section else "pair by pair over time"
    text = [
        f"Round {number} on this gate segment; it could spend {spent(options.gate.q, number):.4f} of q = "
        f"{options.gate.q:g}, {left:.4f} are left for later rounds. The vault was opened {past.openings} times.",
        f"Factors are judged {judged}, over {options.horizon} candles, in blocks of {options.block} candles.",
        *(f"Not heard of mining.feedback: {reason}." for reason in withheld),
    ]
    tables = [Table(dates, "Segments", "Between them lie horizon + 1 candles that belong to none.")]
    if backtest:
        facts = pd.DataFrame([{"figure": name, "value": value} for name, value in backtest.items()]).astype(
            {"value": str}
        )
        note = (
            "After costs, by the embedded engine, on the data the factors were found on: how they trade, not whether "
            "they will."
        )
        tables.append(Table(facts, "Backtest of the library's mean on the search segment", note))
    return Section("What was run", text, tables=tables)


def _figure(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}" if digits != 3 else f"{value:.3f}"
