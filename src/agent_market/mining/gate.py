"""Who may enter the library: nominees of the search segment, tested once on the gate segment.

1. Nominees are better on the search segment than the best of all trials counted so far is by luck, stable among
   thirds and pairs, no too busy portfolio, earn something before costs, and are not what the library has. Of those
   that gain at the same times only the best stays; few are tested.
2. Each is tested one-sided on the gate segment, with the sign of the search segment, one observation per block. False
   discoveries among nominees are controlled (Benjamini & Hochberg 1995) at what the round may spend of q.

The search's own p values are not used to accept: after an adaptive search they are not valid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from agent_market.factors.expression import Names, parse
from agent_market.mining.arena import Arena
from agent_market.mining.candidates import Candidate, Reject
from agent_market.mining.options import GateOptions
from agent_market.mining.scoring import Scored
from agent_market.mining.statistics import (
    block_means,
    false_discovery,
    gain_correlations,
    measure,
    one_sided,
    required_t,
    spent,
    value_correlations,
)

RESULT_COLUMNS = (
    *("id", "arm", "name", "expression", "sign", "search_ic", "search_t", "required_t"),
    *("gate_ic", "gate_t", "gate_p", "gate_blocks", "turnover", "break_even", "cluster", "arms", "deflated"),
    *("passed", "round"),
)


@dataclass(frozen=True)
class Judgement:
    """One row of `results` per nominee, the accepted candidates, the rejects, and what the round may spend."""

    results: pd.DataFrame
    accepted: list[Candidate]
    rejects: list[Reject]
    q: float
    required_t: float


def judge(
    scored: Scored, search: Arena, gate: Arena, library: Names, *, round_number: int, trials_before: int = 0
) -> Judgement:
    """Nominate on the search segment and test on the gate segment.

    `library` gives the expressions of accepted factors, `trials_before` the trials of earlier rounds.
    """
    options = search.options.gate
    q = spent(options.q, round_number)
    least = required_t(options.search_t, trials_before + len(scored.candidates))
    nominees, rejects = nominate(scored, search, library, least)
    results = _test(nominees, gate, q=q, least=least).assign(round=round_number)
    results["deflated"] = _deflated(nominees, scored, search, trials_before)
    accepted = [nominee.candidate for nominee, passed in zip(nominees, results["passed"], strict=True) if passed]
    failed = [nominee.candidate for nominee, passed in zip(nominees, results["passed"], strict=True) if not passed]
    return Judgement(results, accepted, rejects + [Reject(candidate, "gate", "gate") for candidate in failed], q, least)


@dataclass(frozen=True)
class Nominee:
    """A candidate that stands for all that gain at the same times; `row` is its row of the trials."""

    candidate: Candidate
    row: pd.Series
    cluster: tuple[str, ...]  # ids of those it stands for
    arms: tuple[str, ...]  # who proposed those


def nominate(scored: Scored, search: Arena, library: Names, least: float) -> tuple[list[Nominee], list[Reject]]:
    """The representatives that are tested, best first, and why others are not; the gate segment is not looked at.

    `least` is the |t| that is required on the search segment.
    """
    options = search.options.gate
    rejects, left = [], []
    for number, (candidate, row) in enumerate(zip(scored.candidates, scored.trials.to_dict("records"), strict=True)):
        problem = _problem(row, options, least)
        if problem:
            rejects.append(Reject(candidate, "gate", *problem))
        else:
            left.append(number)
    left, known = _without_library(scored, left, search, library)
    rejects += known
    order = sorted(left, key=lambda number: (-abs(scored.trials["t"].iloc[number]), scored.candidates[number].id))
    correlations = gain_correlations(scored.gains[order], search.options.block)
    heads: list[int] = []  # places in `order`
    members: dict[int, list[str]] = {}
    for place, number in enumerate(order):
        close = [head for head in heads if abs(correlations[place, head]) >= options.max_cluster]
        if close:
            head = max(close, key=lambda head: abs(correlations[place, head]))
            members[head].append(scored.candidates[number].id)
            detail = f"{scored.candidates[order[head]].id}, correlation {correlations[place, head]:+.2f}"
            rejects.append(Reject(scored.candidates[number], "gate", "redundant", detail))
        elif len(heads) < options.max_nominees:
            heads.append(place)
            members[place] = []
        else:
            rejects.append(Reject(scored.candidates[number], "gate", "quota"))
    arm = {candidate.id: candidate.arm for candidate in scored.candidates}
    nominees = []
    for head in heads:
        number, cluster = order[head], tuple(members[head])
        arms = tuple(dict.fromkeys(arm[id] for id in cluster))
        nominees.append(Nominee(scored.candidates[number], scored.trials.iloc[number], cluster, arms))
    return nominees, rejects


def _problem(row: dict, options: GateOptions, least: float) -> tuple[str, str] | None:
    if abs(row["t"]) < options.nominate_t:
        return "not_significant", f"|t| {abs(row['t']):.2f}, at least {options.nominate_t:g}"
    if abs(row["t"]) < least:
        return "search_t", f"|t| {abs(row['t']):.2f}, at least {least:.2f} after so many trials"
    if row["thirds"] < options.min_thirds or row["pairs"] < options.min_pairs:
        return "unstable", f"{row['thirds']} of 3 thirds and {row['pairs']:.0%} of the pairs have the sign of the whole"
    if row["turnover"] > options.max_turnover:
        return "turnover", f"{row['turnover']:.2f} per candle, at most {options.max_turnover:g}"
    if row["break_even"] <= options.min_break_even:
        return "costs", f"bears {row['break_even']:.5f} per side, more than {options.min_break_even:g} is asked for"
    return None


def _without_library(
    scored: Scored, left: Sequence[int], search: Arena, library: Names
) -> tuple[list[int], list[Reject]]:
    """The candidates whose values differ from those of every factor of the library."""
    trees = [scored.candidates[number].tree for number in left]
    table = value_correlations(search, trees, [parse(text) for text in library.values()])
    kept, rejects = [], []
    for number, row in zip(left, table, strict=True):
        nearest = int(np.argmax(np.abs(row))) if row.size else -1
        if row.size and abs(row[nearest]) >= search.options.gate.max_library:
            detail = f"@{list(library)[nearest]}, correlation {row[nearest]:+.2f}"
            rejects.append(Reject(scored.candidates[number], "gate", "redundant", detail))
        else:
            kept.append(number)
    return kept, rejects


def _test(nominees: Sequence[Nominee], gate: Arena, *, q: float, least: float) -> pd.DataFrame:
    """The nominees on the gate segment: one row each, `code` empty for those that pass."""
    if not nominees:
        return pd.DataFrame(columns=list(RESULT_COLUMNS))
    gains = gate.gains([nominee.candidate.tree for nominee in nominees])
    figures = measure(gate, gains)
    signs = np.array([np.sign(nominee.row["t"]) for nominee in nominees])
    p = np.array([one_sided(t, two, sign) for t, two, sign in zip(figures["t"], figures["p"], signs, strict=True)])
    found = false_discovery(p, q)
    rows = []
    for number, nominee in enumerate(nominees):
        rows.append(
            {
                **{name: getattr(nominee.candidate, name) for name in ("id", "arm", "name", "expression")},
                "sign": float(signs[number]),
                "search_ic": float(nominee.row["ic"]),
                "search_t": float(nominee.row["t"]),
                "required_t": least,
                "gate_ic": float(figures["ic"].iloc[number]),
                "gate_t": float(figures["t"].iloc[number]),
                "gate_p": float(p[number]),
                "gate_blocks": int(figures["blocks"].iloc[number]),
                "turnover": float(nominee.row["turnover"]),
                "break_even": float(nominee.row["break_even"]),
                "cluster": len(nominee.cluster) + 1,
                "arms": ", ".join(sorted({nominee.candidate.arm, *nominee.arms})),
                "deflated": np.nan,
                "passed": bool(found[number]),
            }
        )
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def _deflated(nominees: Sequence[Nominee], scored: Scored, search: Arena, trials_before: int) -> list[float]:
    """Of each nominee the chance that its gains on the search segment are not the best of all trials by luck."""
    places = {candidate.id: number for number, candidate in enumerate(scored.candidates)}
    trials = trials_before + len(scored.candidates)
    found = []
    for nominee in nominees:
        gains = scored.gains[[places[nominee.candidate.id]]]
        found.append(deflated(np.sign(nominee.row["t"]) * block_means(gains, search.options.block)[0], trials))
    return found


def deflated(blocks: np.ndarray, trials: int) -> float:
    """The chance, 0..1, that a series' ratio of mean to deviation is not the best of `trials` by luck.

    The deflated Sharpe ratio (Bailey & López de Prado 2014) of gains by block, with the deviation that the ratio of as
    many blocks has over trials of nothing, 1 / sqrt(blocks): that over the trials themselves would grow with what is
    true among them. Blocks are taken as independent.
    """
    own = blocks[np.isfinite(blocks)]
    deviation = float(own.std(ddof=1)) if own.size > 2 else 0.0
    if deviation <= 0:
        return 0.0
    ratio = float(own.mean()) / deviation
    scaled = (own - own.mean()) / own.std()
    error = np.sqrt(max(1e-12, 1 - (scaled**3).mean() * ratio + ((scaled**4).mean() - 1) / 4 * ratio**2))
    luck = required_t(0.0, trials) / np.sqrt(own.size)
    return float(ndtr((ratio - luck) * np.sqrt(own.size - 1) / error))
