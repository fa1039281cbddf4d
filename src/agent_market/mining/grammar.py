"""Random expressions in which units fit: what the genetic search is made of.

Each rule makes a value of one kind out of values of other kinds. Prices and their differences share a kind, since both
are in units of price; only what is pure can be the whole of a factor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agent_market.factors.checks import PURE, unit_of
from agent_market.factors.tree import Call, Field, Node, Number, build

Kind = Literal["pure", "price", "spread", "volume", "flag"]

PRICE_UNIT, VOLUME_UNIT = (1.0, 0.0), (0.0, 1.0)

Rule = tuple[float, str, tuple[str, ...]]  # weight, operator, kinds of the arguments

RULES: dict[Kind, tuple[Rule, ...]] = {
    "price": (
        (1.0, "ts_mean", ("price", "window")),
        (1.0, "ema", ("price", "window")),
        (0.7, "ts_min", ("price", "window")),
        (0.7, "ts_max", ("price", "window")),
        (0.7, "delay", ("price", "lag")),
        (1.0, "maximum", ("price", "price")),
        (1.0, "minimum", ("price", "price")),
    ),
    "spread": (
        (4.0, "sub", ("price", "price")),
        (1.0, "delta", ("price", "lag")),
        (0.6, "ts_std", ("price", "window")),
        (0.8, "ts_mean", ("spread", "window")),
        (1.0, "add", ("spread", "spread")),
        (1.0, "sub", ("spread", "spread")),
        (0.4, "abs", ("spread",)),
    ),
    "volume": (
        (1.0, "ts_mean", ("volume", "window")),
        (0.6, "ema", ("volume", "window")),
        (0.6, "delay", ("volume", "lag")),
        (0.6, "ts_max", ("volume", "window")),
        (0.4, "ts_std", ("volume", "window")),
    ),
    "flag": (
        (1.0, "gt", ("pure", "zero")),
        (0.6, "gt", ("price", "price")),
        (0.6, "gt", ("volume", "volume")),
    ),
    "pure": (
        (3.0, "div", ("spread", "price")),
        (3.0, "div", ("spread", "spread")),
        (1.5, "div", ("volume", "volume")),
        (1.5, "pct_change", ("price", "lag")),
        (1.0, "ts_zscore", ("price", "window")),
        (0.7, "ts_zscore", ("volume", "window")),
        (0.7, "ts_zscore", ("pure", "window")),
        (0.7, "ts_rank", ("price", "window")),
        (0.5, "ts_rank", ("pure", "window")),
        (0.7, "ts_corr", ("price", "volume", "window")),
        (0.4, "ts_corr", ("pure", "pure", "window")),
        (1.0, "ts_mean", ("pure", "window")),
        (0.8, "ema", ("pure", "window")),
        (0.6, "ts_std", ("pure", "window")),
        (0.3, "ts_skew", ("pure", "window")),
        (0.6, "delta", ("pure", "lag")),
        (0.4, "delay", ("pure", "lag")),
        (0.8, "mul", ("pure", "pure")),
        (0.8, "sub", ("pure", "pure")),
        (0.6, "add", ("pure", "pure")),
        (0.3, "abs", ("pure",)),
        (0.3, "tanh", ("pure",)),
        (0.4, "where", ("flag", "pure", "pure")),
    ),
}

ACROSS: tuple[Rule, ...] = ((0.5, "cs_rank", ("pure",)), (0.5, "cs_demean", ("pure",)))
"""Rules for markets with pairs enough to compare."""

LEAVES: dict[Kind, tuple[str, ...]] = {
    "price": ("open", "high", "low", "close"),
    "volume": ("volume",),
}

SMALLEST = {"ts_std": 2, "ts_zscore": 2, "ts_corr": 2, "ts_skew": 3}
"""Windows below this have no meaning."""


@dataclass(frozen=True)
class Grammar:
    """Draws expressions; windows and lags are those given."""

    windows: tuple[int, ...]
    lags: tuple[int, ...]
    across: bool

    def draw(self, rng: np.random.Generator, kind: str = "pure", depth: int = 4) -> Node:
        """A random value of a kind, of about `depth` levels at most."""
        if kind in ("window", "lag"):
            return Number(float(rng.choice(self.windows if kind == "window" else self.lags)))
        if kind == "zero":
            return Number(0.0)
        if kind in LEAVES and (depth <= 1 or rng.random() < 0.6):
            return Field(str(rng.choice(LEAVES[kind])))
        operator, kinds = self._rule(rng, kind, depth)
        arguments = [self.draw(rng, part, depth - 1) for part in kinds]
        return build(operator, *self._fitting(operator, arguments))

    def window(self, rng: np.random.Generator, call: Call) -> Call:
        """The same call with another window or lag."""
        *series, last = call.arguments
        values = self.lags if call.operator in ("delay", "delta", "pct_change") else self.windows
        others = [value for value in values if value != last.value] or list(values)
        return build(call.operator, *self._fitting(call.operator, [*series, Number(float(rng.choice(others)))]))

    def like(self, rng: np.random.Generator, node: Node, depth: int) -> Node:
        """A random value in the unit of a part of an expression."""
        unit = unit_of(node)
        if unit == PRICE_UNIT:
            return self.draw(rng, str(rng.choice(["price", "spread"])), depth)
        return self.draw(rng, "volume" if unit == VOLUME_UNIT else "pure", depth)

    def _rule(self, rng: np.random.Generator, kind: str, depth: int) -> tuple[str, tuple[str, ...]]:
        rules = RULES[kind] + (ACROSS if kind == "pure" and self.across else ())
        if depth <= 2:  # what ends soon
            rules = tuple(rule for rule in rules if not {"spread", "pure", "flag"} & set(rule[2])) or rules
        weights = np.array([rule[0] for rule in rules])
        _, operator, kinds = rules[int(rng.choice(len(rules), p=weights / weights.sum()))]
        return operator, kinds

    @staticmethod
    def _fitting(operator: str, arguments: Sequence[Node]) -> Sequence[Node]:
        least = SMALLEST.get(operator, 1)
        last = arguments[-1]
        if isinstance(last, Number) and last.value < least and operator in SMALLEST:
            return [*arguments[:-1], Number(float(least))]
        return arguments


def places(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node]]:
    """Each part that is a series, with the way to it from the root."""
    yield path, node
    if isinstance(node, Call):
        for number, argument in enumerate(node.arguments):
            if not isinstance(argument, Number):
                yield from places(argument, (*path, number))


def put(node: Node, path: tuple[int, ...], part: Node) -> Node:
    """The tree with another part in that place."""
    if not path:
        return part
    arguments = list(node.arguments)
    arguments[path[0]] = put(arguments[path[0]], path[1:], part)
    return build(node.operator, *arguments)


def is_pure(node: Node) -> bool:
    """Whether the value has no unit."""
    return unit_of(node) == PURE


def is_tidy(node: Node) -> bool:
    """Whether no operator meets the same part twice, as in x - x or maximum(x, x)."""
    if not isinstance(node, Call):
        return True
    series = [argument for argument in node.arguments if not isinstance(argument, Number)]
    return len(set(series)) == len(series) and all(map(is_tidy, series))
