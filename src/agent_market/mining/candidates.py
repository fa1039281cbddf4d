"""Factors on their way to the library, and those that fell by the wayside, each with a reason code."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import pandas as pd

from agent_market.errors import FactorError
from agent_market.factors.checks import check
from agent_market.factors.expression import Names, parse
from agent_market.factors.identity import key, rank_key, shape_key
from agent_market.factors.operators import OPERATORS
from agent_market.factors.tokens import reason
from agent_market.factors.tree import Call, Node, size, walk
from agent_market.mining.options import GateOptions

Arm = Literal["genetic", "zoo", "llm", "control"]

REASONS = {
    "parse": "cannot be read",
    "empty": "holds no expression",
    "constant": "says the same on all candles",
    "units": "depends on the unit of price or volume: it does not compare among pairs",
    "too_complex": "has too many parts",
    "look_back": "looks back too far",
    "too_few_pairs": "compares among pairs, of which there are too few",
    "duplicate": "ranks the candles as another candidate of this round does",
    "in_library": "ranks the candles as a factor of the library does",
    "tested_before": "was tested on this gate segment in an earlier round",
    "coverage": "says nothing at too many dates",
    "not_significant": "foretold too little on the search segment",
    "search_t": "is no better on the search segment than the best of so many trials is by luck",
    "unstable": "changes its sign among thirds of the search segment or among pairs",
    "turnover": "exchanges too much of a portfolio that follows it",
    "costs": "a portfolio that follows it does not bear the costs",
    "redundant": "gains at the same times as a better candidate, or has the values of a factor of the library",
    "quota": "was not among the best that one round may test",
    "gate": "did not hold on the gate segment",
}
"""Why a candidate was rejected."""

CATEGORIES = ("trend", "momentum", "mean_reversion", "volatility", "volume", "candle_shape", "calendar", "other")

MAX_HYPOTHESIS = 600


@dataclass(frozen=True)
class Candidate:
    """A proposed factor; `expression` and the keys are filled in when it has been read."""

    id: str
    arm: Arm
    text: str
    name: str = ""
    hypothesis: str = ""
    category: str = "other"
    expression: str = ""
    key: str = ""
    rank_key: str = ""
    shape_key: str = ""

    @property
    def tree(self) -> Node:
        """The tree of the expression."""
        return parse(self.expression)

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Reject:
    """A candidate that goes no further: at which step, the code of `REASONS`, and what there is to say."""

    candidate: Candidate
    step: str
    code: str
    detail: str = ""


Split = tuple[list[Candidate], list[Reject]]


def from_dicts(rows: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """Candidates as `as_dict` wrote them."""
    names = {field.name for field in fields(Candidate)}
    return [Candidate(**{name: value for name, value in row.items() if name in names}) for row in rows]


def rejects_table(rejects: Iterable[Reject]) -> pd.DataFrame:
    """One row per reject: id, arm, name, text, expression, shape_key, step, code, detail."""
    rows = [
        {name: getattr(reject.candidate, name) for name in ("id", "arm", "name", "text", "expression", "shape_key")}
        | {"step": reject.step, "code": reject.code, "detail": reject.detail}
        for reject in rejects
    ]
    columns = ["id", "arm", "name", "text", "expression", "shape_key", "step", "code", "detail"]
    return pd.DataFrame(rows, columns=columns, dtype="str")


def parse_candidates(candidates: Iterable[Candidate], library: Names) -> Split:
    """Those that can be read, in canonical form; the texts are read by the factor language and never run."""
    good, bad = [], []
    for candidate in candidates:
        try:
            tree = parse(candidate.text, library=library)
            checked = check(candidate.text, library=library)
        except FactorError as error:
            bad.append(Reject(candidate, "parse", _unreadable(candidate.text, reason(error)), reason(error)))
            continue
        keys = {"key": checked.key, "rank_key": rank_key(tree), "shape_key": shape_key(tree)}
        good.append(replace(candidate, expression=checked.canonical, **keys))
    return good, bad


def _unreadable(text: str, why: str) -> str:
    if not text.strip():
        return "empty"
    return "constant" if "is a constant" in why or "is constant" in why else "parse"


def check_candidates(candidates: Iterable[Candidate], options: GateOptions, n_pairs: int, cross_section: int) -> Split:
    """Those that are comparable among pairs, and within the limits of size and look-back."""
    good, bad = [], []
    for candidate in candidates:
        problem = _problem(candidate, options, n_pairs, cross_section)
        if problem:
            bad.append(Reject(candidate, "check", *problem))
        else:
            good.append(candidate)
    return good, bad


def _problem(candidate: Candidate, options: GateOptions, n_pairs: int, cross_section: int) -> tuple[str, str] | None:
    tree = candidate.tree
    if (parts := size(tree)) > options.max_parts:
        return "too_complex", f"{parts} parts, at most {options.max_parts}"
    try:
        checked = check(candidate.expression, strict=True)
    except FactorError as error:
        return "units", reason(error)
    if checked.look_back > options.max_look_back:
        return "look_back", f"{checked.look_back} candles, at most {options.max_look_back}"
    if n_pairs < cross_section and has_cross_section(tree):
        return "too_few_pairs", f"{n_pairs} pairs, at least {cross_section}"
    return None


def has_cross_section(tree: Node) -> bool:
    """Whether some part compares among pairs."""
    return any(isinstance(node, Call) and OPERATORS[node.operator].kind == "cross-section" for node in walk(tree))


def deduplicate(candidates: Iterable[Candidate], library: Names, tested: Iterable[str]) -> Split:
    """One candidate for each `rank_key`, the first; none that the library has or an earlier round tested.

    `library` gives the expressions of the library by name, `tested` the rank keys that the gate segment has judged.
    """
    seen = {rank_key(text): f"@{name}" for name, text in library.items()}
    known, judged = set(seen), set(tested)
    good, bad = [], []
    for candidate in candidates:
        if candidate.rank_key in known:
            bad.append(Reject(candidate, "deduplicate", "in_library", seen[candidate.rank_key]))
        elif candidate.rank_key in judged:
            bad.append(Reject(candidate, "deduplicate", "tested_before"))
        elif candidate.rank_key in seen:
            bad.append(Reject(candidate, "deduplicate", "duplicate", seen[candidate.rank_key]))
        else:
            seen[candidate.rank_key] = candidate.id
            good.append(candidate)
    return good, bad


def clean_name(text: object) -> str:
    """A name that a factor may have, made of whatever was given; "" if nothing of it can be used."""
    name = re.sub(r"[^a-z0-9]+", "_", str(text)[:200].lower()).strip("_")[:32].strip("_")
    return name if name and name[0].isalpha() else f"f_{name}"[:32] if name else ""


def candidate_of(tree: Node, text: str, *, id: str, arm: Arm, name: str = "") -> Candidate:
    """A candidate of a tree that is known to be good."""
    return Candidate(id, arm, text, name, "", "other", text, key(tree), rank_key(tree), shape_key(tree))
