"""The library: factors that passed the gate, with what is known of them; other expressions name them `@name`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.factors.expression import canonical, look_back
from agent_market.factors.sources import bad_name
from agent_market.mining.candidates import clean_name

SCHEMA_VERSION = 1


def names_of(library: Mapping[str, Any] | None) -> dict[str, str]:
    """The expression of each factor of a stored library by name; none of no library."""
    if not library:
        return {}
    if library.get("schema_version") != SCHEMA_VERSION or not isinstance(library.get("factors"), dict):
        raise DataError(
            f"factor_library: schema_version {library.get('schema_version')!r} found, {SCHEMA_VERSION} expected; mine "
            "again with this version of the project"
        )
    return {name: facts["expression"] for name, facts in library["factors"].items()}


def extend(
    library: Mapping[str, Any] | None, results: pd.DataFrame, trials: pd.DataFrame, *, horizon: int, seen_until: str
) -> dict[str, Any]:
    """The library with the accepted factors of a round, best first; all are turned so that high values foretell rises.

    `results` are the gate's, `trials` the figures on the search segment; `seen_until` is the date at which the gate
    segment ends. A name that is taken gets a number.
    """
    names_of(library)
    factors = dict(library["factors"]) if library else {}
    by_id = trials.set_index("id")
    for row in results[results["passed"].astype(bool)].to_dict("records"):
        trial = by_id.loc[row["id"]]
        expression = row["expression"] if row["sign"] > 0 else canonical(f"-({row['expression']})")
        name = _free_name(row["name"] or f"{row['arm']}_{trial['key'][:8]}", factors)
        factors[name] = {
            "expression": expression,
            "arm": row["arm"],
            "category": trial["category"],
            "hypothesis": trial["hypothesis"],
            "round": int(row["round"]),
            "horizon": horizon,
            "seen_until": seen_until,
            "look_back": look_back(expression),
            "key": trial["key"],
            "rank_key": trial["rank_key"],
            "search": {
                "ic": abs(row["search_ic"]),
                "t": abs(row["search_t"]),
                "turnover": row["turnover"],
                "break_even": row["break_even"],
            },
            "gate": {"ic": row["sign"] * row["gate_ic"], "t": row["sign"] * row["gate_t"], "p": row["gate_p"]},
        }
    return {"schema_version": SCHEMA_VERSION, "factors": factors}


def _free_name(wanted: str, taken: Mapping[str, Any]) -> str:
    base = clean_name(wanted)
    if not base or bad_name(base):
        base = f"mined_{base}".rstrip("_")
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def combined(values: np.ndarray) -> np.ndarray:
    """One score of several factors: the mean of their values in units of their own deviation, (n, n_rows) to (n_rows,).

    Deviations are of the rows that are given, so that only rows of the past may be given.
    """
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / count
    centred = np.where(known, values - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    scaled = np.divide(centred, deviation, out=np.zeros(centred.shape), where=deviation > 0)
    return np.where(known.any(axis=0), np.clip(scaled, -4, 4).mean(axis=0), np.nan)
