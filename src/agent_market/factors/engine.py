"""Computes a batch of factors on candles; what several factors have in common is computed once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

import numpy as np
import pandas as pd

from agent_market.errors import FactorError
from agent_market.factors.expression import parse
from agent_market.factors.operators import INTEGERS, MIN_LIVE_PAIRS, OPERATORS
from agent_market.factors.panel import Panel, build_panel
from agent_market.factors.tree import Call, Field, Node, Number, candles_needed, to_text, walk

_MODULES = {
    "element-wise": "agent_market.factors.element_wise",
    "time-series": "agent_market.factors.time_series",
    "cross-section": "agent_market.factors.cross_section",
    "calendar": "agent_market.factors.calendar",
}


def compute_factors(
    candles: pd.DataFrame,
    factors: Mapping[str, str],
    *,
    timeframe: str,
    max_gap: int = 0,
    check: bool = True,
) -> pd.DataFrame:
    """The value of each factor at the close of each candle: `pair`, `date` and one float32 column per factor.

    Rows are those of `candles` (sorted by pair and date), columns are in the order of `factors` (name to
    expression). A value reads candles up to its own date only, of its own pair except for `cs_` operators,
    and is NaN until its windows are full; a window reaches neither over two pairs nor over more than
    `max_gap` missing candles.

    A factor that is NaN or constant on all rows is a FactorError, unless it reads the calendar alone (the
    hour of daily candles is constant by nature). `check=False` skips this, for the few candles of a live
    update.
    """
    trees = {name: _parse_named(name, text) for name, text in factors.items()}
    panel = build_panel(candles, timeframe, max_gap)
    columns = {name: candles[name].reset_index(drop=True) for name in ("pair", "date")}
    for name, values in _evaluate(panel, trees):
        if check:
            _check_informative(name, trees[name], values, panel)
        columns[name] = values
    return pd.DataFrame(columns, copy=False)


def _parse_named(name: str, text: str) -> Node:
    try:
        return parse(text)
    except FactorError as error:
        raise FactorError(f"factor {name!r}: {error}") from None


def _evaluate(panel: Panel, trees: Mapping[str, Node]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, float32 values) per factor; a part that several share is kept until its last use only."""
    parts = {node for tree in trees.values() for node in walk(tree)}
    uses = Counter(argument for node in parts if isinstance(node, Call) for argument in node.arguments)
    uses.update(trees.values())
    known: dict[Node, np.ndarray | float] = {}

    def take(node: Node) -> np.ndarray | float:
        if node not in known:
            known[node] = _compute(panel, node, take)
        uses[node] -= 1
        return known[node] if uses[node] else known.pop(node)

    for name, tree in trees.items():
        with np.errstate(over="ignore"):
            values = np.asarray(take(tree), dtype=np.float32)
        yield name, np.where(np.isinf(values), np.float32(np.nan), values)


def _compute(panel: Panel, node: Node, take: Callable[[Node], np.ndarray | float]) -> np.ndarray | float:
    """The value of one part, given a way to get at its arguments; an overflow becomes NaN."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Field):
        return panel.field(node.name)
    operator = OPERATORS[node.operator]
    kernel = getattr(import_module(_MODULES[operator.kind]), operator.kernel)
    arguments = [
        int(argument.value) if parameter in INTEGERS else take(argument)
        for parameter, argument in zip(operator.parameters, node.arguments, strict=True)
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        values = kernel(*arguments) if operator.kind == "element-wise" else kernel(panel, *arguments)
    return np.where(np.isinf(values), np.nan, values)


def _check_informative(name: str, tree: Node, values: np.ndarray, panel: Panel) -> None:
    """Raise if a factor that reads the market says the same, or nothing, on all rows."""
    if not any(isinstance(node, Field) for node in walk(tree)):
        return
    known = values[~np.isnan(values)]
    if known.size and known.min() < known.max():
        return
    state = f"constant ({known[0]:g})" if known.size else "NaN"
    raise FactorError(
        f"factor {name!r} is {state} on all {len(values)} rows: {to_text(tree)} looks back "
        f"{candles_needed(tree)} candles, and the longest unbroken stretch of the {panel.n_pairs} pair(s) "
        f"holds {panel.longest_segment}; {_remedy(tree, panel)}"
    )


def _remedy(tree: Node, panel: Panel) -> str:
    kinds = {OPERATORS[node.operator].kind for node in walk(tree) if isinstance(node, Call)}
    if "cross-section" in kinds and panel.n_pairs < MIN_LIVE_PAIRS:
        return (
            f"cs_ operators need {MIN_LIVE_PAIRS} pairs at a date: give more market.pairs, or choose "
            "features.factor_set=single_pair"
        )
    if candles_needed(tree) > panel.longest_segment:
        return "use more candles, shorter windows, or allow longer gaps with features.max_gap"
    return "change or drop the factor in features.factors or the file of features.factor_set"
