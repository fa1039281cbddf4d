"""Names of pairs."""

import difflib
from collections.abc import Iterable

from agent_market.errors import ParameterError


def unknown_pair(pair: str, known: Iterable[str], where: str) -> ParameterError:
    """The error for a pair that is not there, with the nearest names."""
    known = sorted(known)
    near = difflib.get_close_matches(pair, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {shorten(known)}."
    return ParameterError(f"market.pairs asks for {pair!r}, which {where} does not have; {hint}")


def shorten(names: Iterable[str], most: int = 10) -> str:
    """At most so many names, comma separated, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
