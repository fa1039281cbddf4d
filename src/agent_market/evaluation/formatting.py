"""Values as people read them in the report."""

import math
from typing import Any

import pandas as pd

from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.leaderboard import LEADERBOARD_COLUMNS, Format

MISSING = "–"
_WITH_INTERVAL = {"sharpe": ("sharpe_low", "sharpe_high"), "rank_ic": ("rank_ic_low", "rank_ic_high")}
_INTERVAL_ENDS = {end for ends in _WITH_INTERVAL.values() for end in ends}
_SPREAD = {"rank_ic_seed_std", "n_seeds"}
"""Columns that stand in the cell of `rank_ic_seed_mean`."""


def format_value(value: Any, kind: Format | None = None) -> str:
    """One cell: a fraction as percent, a coefficient with four digits, a flag as yes or no, a gap as a dash."""
    value = to_jsonable(value)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value, kind)
    if isinstance(value, list):
        return ", ".join(format_value(item) for item in value)
    return value[:16].replace("T", " ") if _is_date(value) else str(value)


def format_interval(low: float | None, high: float | None, kind: Format) -> str:
    """`[low, high]`, or nothing where there is no interval."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    unit = " %" if kind == "percent" else ""
    low_text, high_text = (format_value(end, kind).removesuffix(" %") for end in (low, high))
    return f"[{low_text}, {high_text}]{unit}"


def format_spread(mean: float | None, deviation: float | None) -> str:
    """`0.0340 ± 0.0040`, or a dash where there is none."""
    if to_jsonable(mean) is None or to_jsonable(deviation) is None:
        return format_value(mean, "coefficient")
    return f"{format_value(mean, 'coefficient')} ± {format_value(deviation, 'coefficient')}"


def leaderboard_cells(leaderboard: pd.DataFrame) -> dict[str, Any]:
    """The leaderboard for the report: titles, meanings and rows of text; columns without any value are left out."""
    hidden = _INTERVAL_ENDS | _SPREAD
    names = [n for n in LEADERBOARD_COLUMNS if n not in hidden and leaderboard[n].notna().any()]
    rows = []
    for _, row in leaderboard.iterrows():
        cells = []
        for name in names:
            kind = LEADERBOARD_COLUMNS[name].format
            ends = _WITH_INTERVAL.get(name)
            interval = format_interval(row[ends[0]], row[ends[1]], kind) if ends else ""
            text = format_value(row[name], kind)
            if name == "rank_ic_seed_mean":
                text, interval = format_spread(row[name], row["rank_ic_seed_std"]), _over_seeds(row["n_seeds"])
            cells.append({"text": text, "interval": interval, "flag": kind == "flag"})
        rows.append({"cells": cells, "edge": bool(row["edge"]) if pd.notna(row["edge"]) else False})
    columns = [LEADERBOARD_COLUMNS[name] for name in names]
    return {"columns": columns, "rows": rows}


MERITS: dict[str, tuple[str, ...]] = {
    "Account": (
        "total_return", "annual_return", "sharpe", "sortino", "calmar", "max_drawdown", "exposure", "turnover",
    ),
    "Predictions": ("rank_ic", "rank_ic_t", "rank_ic_seed_mean", "ic", "r2_oos", "hit_rate"),
    "Luck": ("dsr", "alpha_dsr", "min_track_days", "trials", "months_positive", "return_without_best_pair"),
    "Trades": ("trades", "win_rate", "profit_factor", "break_even_cost", "freqtrade_trades", "freqtrade_total_return",
               "engines_agree"),
}  # fmt: skip
"""Columns of the leaderboard that a model's own page shows, by subject."""


def model_merits(row: pd.Series) -> dict[str, dict[str, str]]:
    """One model's figures on the leaderboard by subject, name → text; those without a value are left out."""
    merits = {}
    for subject, names in MERITS.items():
        known = [name for name in names if name in row and pd.notna(row[name])]
        merits[subject] = {LEADERBOARD_COLUMNS[name].title: _with_interval(row, name) for name in known}
    return {subject: values for subject, values in merits.items() if values}


def _with_interval(row: pd.Series, name: str) -> str:
    kind = LEADERBOARD_COLUMNS[name].format
    text = format_value(row[name], kind)
    if name == "rank_ic_seed_mean":
        return f"{format_spread(row[name], row['rank_ic_seed_std'])} {_over_seeds(row['n_seeds'])}"
    ends = _WITH_INTERVAL.get(name)
    return f"{text} {format_interval(row[ends[0]], row[ends[1]], kind)}".rstrip() if ends else text


def table_cells(table: pd.DataFrame) -> dict[str, Any]:
    """Any table as titles and rows of text, numbers marked for aligning."""
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    columns = [_column_texts(table.iloc[:, at]) for at in range(table.shape[1])]
    rows = [
        [{"text": text, "numeric": n} for text, n in zip(row, numeric, strict=True)]
        for row in zip(*columns, strict=True)
    ]
    titles = [{"text": str(n).replace("_", " "), "numeric": k} for n, k in zip(table.columns, numeric, strict=True)]
    return {"titles": titles, "rows": rows}


def _column_texts(column: pd.Series) -> list[str]:
    """The cells of a column; floats that need four decimals or fewer have the same number of them."""
    texts = [format_value(value) for value in column]
    if not pd.api.types.is_float_dtype(column):
        return texts
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    if decimals > 4 or any("e" in text for text in texts):
        return texts
    return [
        text if text == MISSING else _signed(f"{value:.{decimals}f}") for text, value in zip(texts, column, strict=True)
    ]


def flatten(facts: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested facts as dotted names and text: `{"a": {"b": 1}}` becomes `{"a.b": "1"}`."""
    flat: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = format_value(value)
    return flat


def format_probability(value: float | None) -> str:
    """A chance as percent, never as certain as 0 % or 100 %: it comes from a finite number of resamples."""
    if value is None:
        return MISSING
    return "> 99.9 %" if value > 0.999 else "< 0.1 %" if value < 0.001 else f"{100.0 * value:.1f} %"


def _over_seeds(count: Any) -> str:
    return "" if pd.isna(count) else f"over {int(count)} seeds"


def _number(value: float, kind: Format | None) -> str:
    if kind == "percent":
        small = 0.0 < abs(value) < 0.001
        return _signed(f"{100.0 * value:,.{3 if small else 1}f}") + " %"
    if kind == "cost":
        return f"{100.0 * value:.3f} %"
    if kind == "ratio":
        return _signed(f"{value:,.2f}")
    if kind == "coefficient":
        return _signed(f"{value:.4f}")
    if kind == "count" or isinstance(value, int):
        return f"{int(value)}" if abs(value) < 10_000 else f"{int(value):,}"
    return _signed(f"{value:.6g}")


def _signed(text: str) -> str:
    """The number with a true minus sign, and none before a rounded zero."""
    return text.replace("-", "−" if text.strip("-0.,") else "")


def _is_date(text: str) -> bool:
    return len(text) >= 19 and text[4:5] == "-" and text[10:11] == "T"
