"""Candidates on the search segment: what each of them foretold there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.mining.arena import BATCH, Arena, Gains
from agent_market.mining.candidates import Candidate, Reject
from agent_market.mining.statistics import measure, trading_figures

KEPT = ("id", "arm", "name", "text", "hypothesis", "category", "expression", "key", "rank_key", "shape_key")
TRADING = ("turnover", "gross", "break_even")


@dataclass(frozen=True)
class Scored:
    """Candidates that have values, their figures on a segment (one row each), and their gains by date."""

    candidates: list[Candidate]
    trials: pd.DataFrame
    gains: np.ndarray  # float64 (n_candidates, n_dates)


def score(candidates: Sequence[Candidate], arena: Arena) -> tuple[Scored, list[Reject]]:
    """Figures of each candidate on the arena's segment; those without enough values are rejected.

    Trading figures are computed of candidates with |t| of `gate.nominate_t` or more; NaN for others.
    """
    gate = arena.options.gate
    trees = [candidate.tree for candidate in candidates]
    gains = arena.gains(trees) if trees else Gains(np.empty((0, len(arena.dates))), np.empty(0), np.empty((0, 0)))
    figures = measure(arena, gains)
    enough = (figures["coverage"] >= gate.min_coverage).to_numpy(dtype=bool)
    rejects = [
        Reject(candidate, "score", "coverage", f"at {coverage:.0%} of the dates, at least {gate.min_coverage:.0%}")
        for candidate, coverage, ok in zip(candidates, figures["coverage"], enough, strict=True)
        if not ok
    ]
    kept = [candidate for candidate, ok in zip(candidates, enough, strict=True) if ok]
    figures = figures[enough].reset_index(drop=True)
    who = pd.DataFrame([{name: getattr(c, name) for name in KEPT} for c in kept], columns=list(KEPT), dtype="str")
    earned = _trading(kept, figures["t"].to_numpy(), arena)
    trials = pd.concat([who, figures, earned], axis=1)
    return Scored(kept, trials, gains.by_date[enough]), rejects


def _trading(candidates: list[Candidate], t: np.ndarray, arena: Arena) -> pd.DataFrame:
    """Trading figures of candidates that are worth them."""
    table = pd.DataFrame(np.nan, index=range(len(candidates)), columns=list(TRADING))
    worth = np.flatnonzero(np.abs(t) >= arena.options.gate.nominate_t)
    for start in range(0, len(worth), BATCH):
        part = worth[start : start + BATCH]
        for number, values in zip(part, arena.values([candidates[i].tree for i in part]), strict=True):
            table.loc[number] = trading_figures(arena, values, float(np.sign(t[number])))
    return table
