"""What the genetic search makes of earlier rounds, of what they found on the search segment.

Factors of the library hold their niche: whoever gains at the same times gets no children, since the gate would refuse
it as redundant. Shapes that were refused for being known get none, either. Near misses live in the first generation,
and so do variations of what was accepted. All texts are taken for untrusted: what the factor language does not read
and check is not used.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent_market.errors import FactorError
from agent_market.factors.checks import check
from agent_market.factors.expression import Names, parse
from agent_market.factors.identity import rank_key, shape_key
from agent_market.factors.tree import Node
from agent_market.mining.candidates import has_cross_section
from agent_market.mining.feedback import Heard

NEAR = ("quota", "costs", "turnover", "unstable", "search_t", "not_significant")
"""Reasons of near misses, the nearest first; each is found on the search segment."""

KNOWN = ("redundant", "duplicate", "in_library", "tested_before", "gate")
"""Reasons that end a shape; failing at the gate is one, since a variant would be a second draw on the same data."""


@dataclass(frozen=True)
class Recalled:
    """What a search starts from; nothing by default."""

    taken: tuple[Node, ...] = ()  # factors of the library
    avoided: frozenset[str] = frozenset()  # shape keys
    near: tuple[Node, ...] = ()  # near misses, the nearest first
    accepted: tuple[Node, ...] = ()  # what was accepted, to be varied


def recall(library: Names, heard: Heard, *, is_cross_section: bool) -> Recalled:
    """What may be used of a library's expressions and of an earlier run's feedback.

    `is_cross_section` says whether there are pairs enough to compare; without, what compares among pairs is left out.
    """
    avoided = {shape_key(tree) for tree in _read(text for text, why in heard.rejected if why in KNOWN)}
    ordered = [text for reason in NEAR for text, why in heard.rejected if why == reason]
    return Recalled(
        taken=_distinct(library.values(), is_cross_section),
        avoided=frozenset(avoided),
        near=tuple(tree for tree in _distinct(ordered, is_cross_section) if shape_key(tree) not in avoided),
        accepted=_distinct([*library.values(), *heard.accepted], is_cross_section),
    )


def _read(texts: Iterable[str]) -> list[Node]:
    """The trees of those texts that the factor language reads."""
    trees = []
    for text in texts:
        try:
            trees.append(parse(check(text).canonical))
        except FactorError:  # somebody's text: it is not used
            continue
    return trees


def _distinct(texts: Iterable[str], is_cross_section: bool) -> tuple[Node, ...]:
    """Those that can be computed here, one for all that rank the candles alike."""
    found: dict[str, Node] = {}
    for tree in _read(texts):
        if is_cross_section or not has_cross_section(tree):
            found.setdefault(rank_key(tree), tree)
    return tuple(found.values())
