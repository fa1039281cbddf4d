"""From the trees of a batch of factors to the programs that the compiled machine runs.

All factors become one graph in which equal parts stand once. Operators that are others in disguise are written out
(`delta(x, 1)` is `x - delay(x, 1)`). Windowed operators on the same series that share their work (`ts_mean`, `ts_std`,
`slope`, … of any window) become one task. What the machine does not know (cross-sections, the calendar) splits the
graph into stages: each stage is one program, whose results such operators then read whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from agent_market.errors import FactorError
from agent_market.factors.operators import GUARD, LITERALS, OPERATORS
from agent_market.factors.tree import Field, Node, Number

Rules = Literal["sane", "qlib"]

EMA_REACH = 16
"""Candles per unit of span over which `ema` runs: what is older weighs less than exp(-32), about 1e-14."""

# The windowed operators that share one task, in the order of the registers that the kernels fill.
FAMILIES = {
    "moments": ("ts_sum", "ts_mean", "ts_var", "ts_std", "slope", "rsquare", "resi", "decay_linear"),
    "comoments": ("ts_corr", "ts_cov", "ts_beta", "ts_resid"),
    "shapes": ("ts_skew", "ts_kurt"),
    "products": ("ts_product",),
    "largest": ("ts_max", "ts_argmax"),
    "smallest": ("ts_min", "ts_argmin"),
    "order": ("ts_rank", "ts_quantile"),
    "deviation": ("ts_mad",),
    "exponential": ("ema",),
}
FAMILY = {operator: family for family, operators in FAMILIES.items() for operator in operators}

LOG_FLOAT32 = "log of float32"
"""numpy's logarithm of float32, as Qlib computes it: its last bit is numpy's own."""

_COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not"})


@dataclass(frozen=True, slots=True)
class Part:
    """One node of the graph: an operator, the numbers of its arguments, and its literal numbers."""

    operator: str
    arguments: tuple[int, ...] = ()
    literals: tuple[float, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether it is a constant."""
        return self.operator == "number"

    @property
    def window(self) -> int:
        """The lag, window or span."""
        return int(self.literals[0])


@dataclass
class Graph:
    """The parts of a batch, arguments before what uses them, and the part of each factor.

    `kinds` has the type that each part has in Qlib: float32, float64, bool or number.
    """

    rules: Rules
    elements: frozenset[str]
    columns: frozenset[str]
    parts: list[Part] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    factors: dict[str, int] = field(default_factory=dict)
    _index: dict[Part, int] = field(default_factory=dict)

    def add(self, operator: str, *arguments: int, literals: Iterable[float] = ()) -> int:
        """The number of a part, which is made if it is not there."""
        part = Part(operator, arguments, tuple(literals))
        if part not in self._index:
            self._index[part] = len(self.parts)
            self.parts.append(part)
            self.kinds.append(self._kind(part))
        return self._index[part]

    def number(self, value: float) -> int:
        """The part that is a constant."""
        return self.add("number", literals=(value,))

    def read(self, node: Node) -> int:
        """The part of a tree."""
        if isinstance(node, Number):
            return self.number(node.value)
        if isinstance(node, Field):
            return self._field(node.name)
        parameters = OPERATORS[node.operator].parameters
        named = list(zip(parameters, node.arguments, strict=True))
        series = [self.read(argument) for parameter, argument in named if parameter not in LITERALS]
        literals = [argument.value for parameter, argument in named if parameter in LITERALS]
        return self._call(node.operator, series, literals)

    def _field(self, name: str) -> int:
        if name not in self.columns and name == "vwap":
            if self.rules == "qlib":
                raise FactorError(
                    "the candles have no column vwap, which Qlib's rules do not make up: give the candles one, leave "
                    "the factors of vwap out, or use features.compat=sane, where (high + low + close) / 3 stands in"
                )
            high, low, close = (self._field(name) for name in ("high", "low", "close"))
            return self.add("div", self.add("add", self.add("add", high, low), close), self.number(3.0))
        return self.add(f"field {name}")

    def _call(self, operator: str, series: list[int], literals: list[float]) -> int:
        """The part of one operator, written out if it is others in disguise."""
        if operator in ("delta", "pct_change", "log_ret"):
            past = self.add("delay", *series, literals=literals)
            if operator == "delta":
                return self.add("sub", *series, past)
            ratio = self.add("div", *series, past)
            return self.add("log", ratio) if operator == "log_ret" else self.add("add", ratio, self.number(-1.0))
        if operator == "mfi":
            return self._money_flow_index(*series, literals=literals)
        if operator == "ts_known":
            return self.add("ts_sum", self.add("known", *series), literals=literals)
        if operator == "ts_count":
            return self.add("ts_sum", self.add("ne", *series, self.number(0.0)), literals=literals)
        if operator == "ts_median":
            return self.add("ts_quantile", *series, literals=[*literals, 0.5])
        if operator == "ts_zscore":
            deviation = self.add("sub", *series, self.add("ts_mean", *series, literals=literals))
            return self.add("div", deviation, self.add("ts_std", *series, literals=literals))
        if operator == "log" and self.rules == "qlib" and self.kinds[series[0]] == "float32":
            operator = LOG_FLOAT32
        if operator == "div" and self.rules == "sane":
            series = [series[0], self._unguarded(series[1])]
        return self.add(operator, *series, literals=literals)

    def _money_flow_index(self, high: int, low: int, close: int, volume: int, literals: list[float]) -> int:
        """The share of the traded value that came with a rising typical price, in percent."""
        price = self.add("div", self.add("add", self.add("add", high, low), close), self.number(3.0))
        change = self.add("sub", price, self.add("delay", price, literals=(1.0,)))
        flow = self.add("mul", self.add("mul", self.add("sign", change), price), volume)
        rising = self.add("ts_sum", self.add("maximum", flow, self.number(0.0)), literals=literals)
        share = self.add("div", rising, self.add("ts_sum", self.add("abs", flow), literals=literals))
        return self.add("mul", self.number(100.0), share)

    def _unguarded(self, divisor: int) -> int:
        """The divisor without its guard: a quotient by 0 is NaN in any case, and a guard depends on the unit."""
        part = self.parts[divisor]
        if part.operator == "add":
            guard = self.parts[part.arguments[1]]
            if guard.is_number and 0 < guard.literals[0] <= GUARD and not self.parts[part.arguments[0]].is_number:
                return part.arguments[0]
        return divisor

    def is_native(self, number: int) -> bool:
        """Whether the machine computes the part itself."""
        operator = self.parts[number].operator
        return (
            operator in self.elements or operator in FAMILY or operator in ("number", "delay") or self.is_field(number)
        )

    def is_field(self, number: int) -> bool:
        """Whether the part is a column of the candles."""
        return self.parts[number].operator.startswith("field ")

    def field_name(self, number: int) -> str:
        """The name of that column."""
        return self.parts[number].operator.removeprefix("field ")

    def stages(self) -> list[int]:
        """For each part the first stage in which it can be computed, or read if the machine does not compute it."""
        stages: list[int] = []
        for number, part in enumerate(self.parts):
            stage = max((stages[argument] for argument in part.arguments), default=0)
            stages.append(stage if self.is_native(number) else stage + bool(part.arguments))
        return stages

    def reach(self) -> list[int]:
        """For each part how many rows before its own it reads, of the inputs of its stage."""
        reach: list[int] = []
        for number, part in enumerate(self.parts):
            before = max((reach[argument] for argument in part.arguments), default=0)
            reach.append(before + own_reach(part) if self.is_native(number) else 0)
        return reach

    def look_back(self) -> int:
        """How many candles, the current one included, the factors take their values from."""
        before: list[int] = []
        for number, part in enumerate(self.parts):
            own = own_reach(part)
            if not self.is_native(number) and part.operator in OPERATORS:
                own = OPERATORS[part.operator].candles_before({"window": part.window} if part.literals else {})
            before.append(own + max((before[argument] for argument in part.arguments), default=0))
        return 1 + max(before[number] for number in self.factors.values())

    def _kind(self, part: Part) -> str:
        arguments = {self.kinds[argument] for argument in part.arguments}
        if part.is_number:
            return "number"
        if part.operator.startswith("field ") or part.operator in ("sign", LOG_FLOAT32):
            return "float32"
        if part.operator in _COMPARISONS:
            return "bool"
        if part.operator == "delay":
            return next(iter(arguments))
        is_element = part.operator in self.elements
        return "float32" if is_element and "float32" in arguments and "float64" not in arguments else "float64"


def own_reach(part: Part) -> int:
    """How many rows before its own a part reads of its arguments."""
    if part.operator == "delay":
        return part.window
    if part.operator == "ema":
        return EMA_REACH * part.window - 1
    return part.window - 1 if part.operator in FAMILY else 0


def build_graph(trees: Mapping[str, Node], rules: Rules, elements: frozenset[str], columns: frozenset[str]) -> Graph:
    """The graph of a batch of factors on candles with those columns; `elements` are what the machine knows."""
    graph = Graph(rules, elements, columns)
    for name, tree in trees.items():
        try:
            graph.factors[name] = graph.read(tree)
        except FactorError as error:
            raise FactorError(f"factor {name!r}: {error}") from None
    return graph


@lru_cache(maxsize=1024)
def grow(windows: tuple[int, ...]) -> tuple[tuple[int, int, int, int, int], ...]:
    """How windows grow from single candles: rows of (size, older slot, newer slot, newer size, slot of the result).

    2h candles are h and h, 2h + 1 are 2h older ones and the newest: a window is built the same way whatever the
    other windows are. A slot is used again when its size is needed no more.
    """
    sizes, waiting = {1}, [*windows]
    while waiting:
        size = waiting.pop()
        if size not in sizes:
            sizes.add(size)
            waiting.append(size // 2 if size % 2 == 0 else size - 1)
    parents = {size: (size // 2, size // 2) if size % 2 == 0 else (size - 1, 1) for size in sizes if size > 1}
    last_use = {parent: size for size in sorted(parents) for parent in parents[size]}
    slots, free, rows = {1: 0}, [], [(1, 0, 0, 0, 0)]
    for size in sorted(parents):
        slots[size] = free.pop() if free else max(slots.values()) + 1
        older, newer = parents[size]
        rows.append((size, slots[older], slots[newer], newer, slots[size]))
        done = {parent for parent in (older, newer, size) if last_use.get(parent, size) == size and parent > 1}
        free.extend(slots[parent] for parent in sorted(done))
    return tuple(rows)
