"""The part of the report that shows what the same pipeline claims where there is nothing to find."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from agent_market.evaluation.formatting import MISSING, format_spread, format_value
from agent_market.evaluation.placebo import WORLDS
from agent_market.evaluation.sections import Section, Table


def certificate_section(certificate: Mapping[str, Any]) -> Section:
    """Each claim's false-positive rate, and what the models' figures were, of a certificate as of `certify`."""
    worlds = certificate["worlds"]
    return Section(
        title="Where there is nothing to find",
        text=[
            "The same pipeline on "
            + " and on ".join(f"{part['runs']} {WORLDS[world]}" for world, part in worlds.items())
            + ": in how many runs any of the certified models made each claim, with the exact 95 % interval of that "
            "share. Claims without a promise are what a report would say that does not count what was tried."
        ],
        tables=[
            Table(_claims(worlds), title="False claims"),
            Table(
                _figures(worlds),
                title="What the models showed there",
                note="Mean and deviation over the runs, to be compared with what they show in this report.",
            ),
        ],
    )


def _claims(worlds: Mapping[str, Any]) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    for world, part in worlds.items():
        for name, found in part["claims"].items():
            row = rows.setdefault(name, {"claim": found["title"]})
            row[f"{world}: promised"] = MISSING if found["promise"] is None else f"≤ {100 * found['promise']:g} %"
            row[f"{world}: made"] = _rate(found, part["runs"]) + (" – too often" if found["too_often"] else "")
    return pd.DataFrame(list(rows.values()))


def _figures(worlds: Mapping[str, Any]) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    for world, part in worlds.items():
        for model, found in part["figures"].items():
            row = rows.setdefault(model, {"model": model})
            row[f"{world}: RankIC"] = format_spread(found["rank_ic_mean"], found["rank_ic_std"])
            mean, deviation = (format_value(found[f"alpha_sharpe_{how}"], "ratio") for how in ("mean", "std"))
            row[f"{world}: alpha Sharpe"] = mean if deviation == MISSING else f"{mean} ± {deviation}"
    return pd.DataFrame(list(rows.values()))


def _rate(found: Mapping[str, Any], runs: int) -> str:
    return f"{found['count']} of {runs} [{100 * found['low']:.1f}, {100 * found['high']:.1f}] %"
