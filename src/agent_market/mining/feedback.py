"""What a round gives to the next one, and what may be heard of an earlier run.

What is given out stems from the search segment, and from the gate only whether and why. What is taken in is looked at
twice: figures of a backtest are told to a language model only if the backtest ended within the search segment, and
factors are heard of only if they were searched on no later candles. A miner that is told how its factors did in the
test period is steered by it, and the test is none any more.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from agent_market.errors import ParameterError
from agent_market.mining.candidates import REASONS
from agent_market.mining.segments import Segment

SCHEMA_VERSION = 1
KIND = "factor_mining"
MAX_ROWS = 20

BACKTEST_KEYS = (
    *("profit_total", "profit_total_abs", "profit_factor", "trades", "profit_mean_pct", "winrate", "max_drawdown_abs"),
    *("holding_avg", "wins", "losses"),
)
"""Keys of the older tool's `latest_backtest_summary.json`, as it was published."""

TOLD = {
    "profit_total": "total return",
    "profit_total_pct": "total return in percent",
    "profit_factor": "profit factor",
    "trades": "trades",
    "winrate": "share of winning trades",
    "max_drawdown_abs": "largest loss from a peak, in the stake currency",
    "sharpe": "Sharpe ratio",
}
"""Figures of a backtest that may be told, and how."""


@dataclass(frozen=True)
class Heard:
    """Lines that a prompt may hold, what was held back, with the reason, and the expressions that the lines name.

    `accepted` are canonical expressions, `rejected` such with their code of `REASONS`; neither has a figure.
    """

    lines: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


def build_feedback(
    *,
    round_number: int,
    search: Segment,
    trials_total: int,
    q_left: float,
    trials: pd.DataFrame,
    rejects: pd.DataFrame,
    accepted: Mapping[str, Mapping[str, Any]],
    backtest: Mapping[str, Any],
    arms: Mapping[str, Any],
) -> dict[str, Any]:
    """`mining_feedback.json`: accepted factors, rejected ideas by reason, unreadable texts, a backtest on the search
    segment, and hints. JSON-ready; no figure of gate or vault is in it."""
    unread = rejects[rejects["code"] == "parse"]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "round": round_number,
        "search": {"until": search.end.isoformat()},
        "trials_total": trials_total,
        "q_left": q_left,
        "arms": dict(arms),
        "accepted": [
            {"name": name, "expression": facts["expression"], "category": facts["category"], "search": facts["search"]}
            for name, facts in accepted.items()
        ],
        "rejected": _ideas(rejects, trials),
        "parse_errors": [
            {"text": row.text[:200], "error": row.detail[:300]} for row in unread.head(MAX_ROWS).itertuples(index=False)
        ],
        "backtest": dict(backtest),
        "hints": _hints(trials, accepted),
    }


def _ideas(rejects: pd.DataFrame, trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Rejected shapes with their reason, those with the most variants first; the strongest variant stands for each."""
    known = rejects[rejects["expression"] != ""]
    t = trials.set_index("id")["t"].abs() if len(trials) else pd.Series(dtype=float)
    rows = []
    for (_, code), group in known.groupby(["shape_key", "code"], sort=False):
        strength = group["id"].map(t).fillna(0.0).to_numpy()
        best = group.iloc[int(strength.argmax())]
        rows.append({"shape": best["expression"], "n": len(group), "reason": code})
    rows.sort(key=lambda row: (-row["n"], row["shape"]))
    return rows[:MAX_ROWS]


def _hints(trials: pd.DataFrame, accepted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Categories that were tried often without any success."""
    taken = {facts["category"] for facts in accepted.values()}
    counts = trials.loc[trials["category"] != "other", "category"].value_counts(sort=False)
    return [
        f"{category} is exhausted ({count} tried, 0 accepted)"
        for category, count in sorted(counts.items())
        if count >= 10 and category not in taken
    ]


def older_summary(trades: pd.DataFrame, *, starting_balance: float, max_drawdown: float) -> dict[str, Any]:
    """A backtest under the keys of the older tool's `latest_backtest_summary.json`; None for what is not defined.

    `trades` has freqtrade's columns, `max_drawdown` is in the stake currency, `holding_avg` a text such as 1:42:00.
    """
    profit, ratio = trades["profit_abs"].astype(float), trades["profit_ratio"].astype(float)
    wins, losses = int((profit > 0).sum()), int((profit < 0).sum())
    lost = float(-profit[profit < 0].sum())
    held = (trades["close_date"] - trades["open_date"]).mean() if len(trades) else None
    return {
        "profit_total": float(profit.sum() / starting_balance),
        "profit_total_abs": float(profit.sum()),
        "profit_factor": float(profit[profit > 0].sum() / lost) if lost > 0 else None,
        "trades": len(trades),
        "profit_mean_pct": float(ratio.mean()) if len(trades) else None,  # a fraction, in spite of its name
        "winrate": wins / len(trades) if len(trades) else None,
        "max_drawdown_abs": float(max_drawdown),
        "holding_avg": str(held.round("s").to_pytimedelta()) if held is not None else None,
        "wins": wins,
        "losses": losses,
    }


def read_feedback(path: str | None, search: Segment) -> Heard:
    """What a file of an earlier run may tell: of this pipeline, of reporting (`feedback.json`), or of the older tool.

    A file of this pipeline also names expressions, with reasons.

    Raises:
        ParameterError: The file cannot be read, or is none of the three.
    """
    if path is None:
        return Heard()
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"mining.feedback: {path} cannot be read: {error}") from None
    if isinstance(content, dict) and content.get("kind") == KIND:
        return heard_of(content, search)
    if isinstance(content, dict) and isinstance(content.get("models"), dict) and "run" in content:
        return _of_reporting(content, search)
    if isinstance(content, dict) and "trades" in content and {"profit_total", "profit_total_pct"} & set(content):
        return _of_older_tool(content, search)
    found = sorted(content)[:8] if isinstance(content, dict) else type(content).__name__
    raise ParameterError(
        f"mining.feedback: {path} is neither a mining_feedback.json, a feedback.json nor a "
        f"latest_backtest_summary.json; it holds {found}"
    )


def heard_of(content: Mapping[str, Any], search: Segment) -> Heard:
    """What a `mining_feedback.json` tells; of its texts only what is an expression or a reason code."""
    accepted = [_expression(row.get("expression")) for row in _objects(content.get("accepted"))[:MAX_ROWS]]
    rejected = [
        (_expression(row.get("shape")), row["reason"])
        for row in _objects(content.get("rejected"))[:MAX_ROWS]
        if isinstance(row.get("reason"), str) and row["reason"] in REASONS
    ]
    accepted, rejected = [text for text in accepted if text], [row for row in rejected if row[0]]
    searched = content.get("search")
    problem = _too_late(searched.get("until") if isinstance(searched, dict) else None, search)
    late = (f"its factors may not be heard of: the search {problem}",) if problem and (accepted or rejected) else ()
    if late:
        accepted, rejected = [], []
    backtest = content.get("backtest")
    told, withheld = _backtest(backtest if isinstance(backtest, dict) else {}, search)
    lines = (*(f"accepted: {text}" for text in accepted), *(f"rejected, {why}: {text}" for text, why in rejected))
    return Heard(lines + told, late + withheld, tuple(accepted), tuple(rejected))


def _of_reporting(content: Mapping[str, Any], search: Segment) -> Heard:
    learning = content["run"].get("learning", {}) if isinstance(content["run"], dict) else {}
    until = learning.get("tested_until") if isinstance(learning, dict) else None
    models = [model for model in content["models"].values() if isinstance(model, dict)]
    figures = [model.get("metrics") for model in models]
    best = max(
        (row for row in figures if isinstance(row, dict) and isinstance(row.get("sharpe"), int | float)),
        key=lambda row: row["sharpe"],
        default={},
    )
    renamed = {"profit_total": best.get("total_return"), "trades": best.get("trades"), "sharpe": best.get("sharpe")}
    told, withheld = _backtest({**renamed, "winrate": best.get("win_rate"), "until": until}, search)
    return Heard(told, withheld)


def _of_older_tool(content: Mapping[str, Any], search: Segment) -> Heard:
    """Both writers of the older tool: `profit_total` and `profit_total_pct`, with or without a `backtest_timerange`."""
    timerange = re.fullmatch(r"\d*-(\d{8})", str(content.get("backtest_timerange")))
    until = f"{timerange[1][:4]}-{timerange[1][4:6]}-{timerange[1][6:]}" if timerange else None
    told, withheld = _backtest({**content, "until": until}, search)
    return Heard(told, withheld)


def _backtest(figures: Mapping[str, Any], search: Segment) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines of a backtest that ended within the search segment; else why there are none."""
    numbers = {name: figures.get(name) for name in TOLD}
    numbers = {
        name: value for name, value in numbers.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if not numbers:
        return (), ()
    problem = _too_late(figures.get("until"), search)
    if problem:
        return (), (f"the backtest {problem}",)
    told = (f"backtest, {TOLD[name]}: {value:.4g}" for name, value in numbers.items())
    return tuple(told), ()


def _too_late(until: Any, search: Segment) -> str:
    """What is wrong with a date up to which something saw candles; "" if it lies within the search segment."""
    text = str(until)
    is_date = re.match(r"\d{4}-\d{2}-\d{2}", text)  # pandas would read almost anything as some date
    end = pd.to_datetime(text, utc=True, errors="coerce") if is_date else pd.NaT
    if pd.isna(end):
        return "does not say until when it went: what it found may be of the gate segment"
    if end > search.end:
        return f"went until {end:%Y-%m-%d}, beyond the search segment ({search.end:%Y-%m-%d})"
    return ""


def _objects(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _expression(text: Any) -> str:
    """An expression of a file in canonical form; "" for anything else, which is not passed on."""
    from agent_market.errors import FactorError
    from agent_market.factors.expression import canonical

    try:
        return canonical(text)
    except FactorError:
        return ""
