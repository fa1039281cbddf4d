"""The tree of an expression: canonical construction, canonical text, and what the tree looks back on."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

from agent_market.factors.operators import LITERALS, OPERATORS


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the candles."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator and its arguments."""

    operator: str
    arguments: tuple["Node", ...]


Node = Number | Field | Call


class ConstantError(ValueError):
    """Arithmetic on constants that has no finite real result."""


def build(operator: str, *arguments: Node) -> Node:
    """The canonical tree of one operator on canonical arguments.

    Constants are folded, sums and products are flattened and sorted by their text, `x - 2` becomes `x +
    (-2)`, double signs, `abs(abs(x))` and `delay(x, 0)` are undone, and the arguments of commutative operators are
    sorted. Nothing else is rewritten, so that the numbers that come out, and where they are NaN, are those of the
    written expression up to the order of a sum.
    """
    if operator == "sub" and isinstance(arguments[1], Number):
        return build("add", arguments[0], Number(-arguments[1].value))
    if operator in ("add", "mul"):
        return _chain(operator, arguments)
    if operator in ("neg", "abs", "sign") and isinstance(arguments[0], Call):
        inner = arguments[0]
        if operator == "neg" and inner.operator == "neg":
            return inner.arguments[0]
        if operator == "abs" and inner.operator == "neg":
            return build("abs", inner.arguments[0])
        if operator == inner.operator:  # abs(abs(x)), sign(sign(x))
            return inner
    if operator == "delay" and arguments[1] == Number(0.0):
        return arguments[0]
    if operator in _FOLDABLE and all(isinstance(argument, Number) for argument in arguments):
        return _fold(operator, *(argument.value for argument in arguments))
    if operator == "div" and arguments[1] == Number(0.0):
        raise ConstantError("division by zero")
    if OPERATORS[operator].commutative:
        arguments = (*sorted(arguments[:2], key=_order), *arguments[2:])
    return Call(operator, tuple(arguments))


_FOLDABLE = {
    "neg": lambda x: -x,
    "sub": lambda x, y: x - y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
}


def _fold(operator: str, *values: float) -> Number:
    try:
        value = _FOLDABLE[operator](*values)
    except ZeroDivisionError:
        raise ConstantError("division by zero") from None
    except OverflowError:
        value = math.inf
    if isinstance(value, complex) or not math.isfinite(value):
        raise ConstantError("this arithmetic on constants has no finite real result")
    return Number(value + 0.0)  # -0.0 becomes 0.0


def _chain(operator: str, arguments: tuple[Node, ...]) -> Node:
    terms = [term for argument in arguments for term in flatten(operator, argument)]
    neutral = 0.0 if operator == "add" else 1.0
    numbers = [term.value for term in terms if isinstance(term, Number)]
    constant = reduce(lambda x, y: _fold(operator, x, y).value, numbers, neutral)
    ordered = sorted((term for term in terms if not isinstance(term, Number)), key=_order)
    if constant != neutral or not ordered:
        ordered = [*ordered, Number(constant)] if operator == "add" else [Number(constant), *ordered]
    return reduce(lambda left, right: Call(operator, (left, right)), ordered)


def flatten(operator: str, node: Node) -> Iterator[Node]:
    """The terms of a sum, or the factors of a product."""
    if isinstance(node, Call) and node.operator == operator:
        for argument in node.arguments:
            yield from flatten(operator, argument)
    else:
        yield node


def _order(node: Node) -> tuple[bool, str]:
    return isinstance(node, Number), to_text(node)


# ---- text

_PRECEDENCE = {
    "or": 1, "and": 2,
    "lt": 3, "le": 3, "gt": 3, "ge": 3, "eq": 3, "ne": 3,
    "add": 4, "sub": 4, "mul": 5, "div": 5,
    "neg": 6, "not": 6,
}  # fmt: skip
_ATOM = 7


def to_text(node: Node) -> str:
    """The canonical text: it parses to the same tree, and the same tree has the same text."""
    return _print(node)[0]


def _print(node: Node) -> tuple[str, int]:
    """The text of a node and how tightly its outermost operator binds."""
    if isinstance(node, Number):
        return number_text(node.value), _ATOM if node.value >= 0 else _PRECEDENCE["neg"]
    if isinstance(node, Field):
        return node.name, _ATOM
    operator, power = OPERATORS[node.operator], _PRECEDENCE.get(node.operator, _ATOM)
    if power == _ATOM:
        inside = ", ".join(to_text(argument) for argument in node.arguments)
        return (f"{operator.name}({inside})" if operator.arity else operator.name), _ATOM
    if operator.arity == 1:
        return operator.symbol + _bracket(node.arguments[0], power), power
    left, right = node.arguments
    is_comparison = power == _PRECEDENCE["lt"]
    if node.operator == "add" and isinstance(right, Number) and right.value < 0:
        return f"{_bracket(left, power)} - {number_text(-right.value)}", power
    return f"{_bracket(left, power + is_comparison)} {operator.symbol} {_bracket(right, power + 1)}", power


def _bracket(node: Node, least: int) -> str:
    text, power = _print(node)
    return text if power >= least else f"({text})"


def number_text(value: float) -> str:
    """The shortest text that reads back as the number."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


# ---- facts about a tree


def size(node: Node) -> int:
    """The number of parts: fields, numbers and operators."""
    return sum(1 for _ in walk(node))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    if isinstance(node, Call):
        for argument in node.arguments:
            yield from walk(argument)


def depth(node: Node) -> int:
    """The number of levels, 1 for a single field."""
    return 1 + max(map(depth, node.arguments), default=0) if isinstance(node, Call) else 1


def is_constant(node: Node) -> bool:
    """Whether the tree reads neither the candles nor the calendar."""
    return not any(isinstance(n, Field) or (isinstance(n, Call) and not n.arguments) for n in walk(node))


def split_arguments(call: Call) -> tuple[list[Node], dict[str, float]]:
    """The arguments of a call that are series, and the literal numbers by their parameter's name."""
    series, literals = [], {}
    for parameter, argument in zip(OPERATORS[call.operator].parameters, call.arguments, strict=True):
        if parameter in LITERALS:
            literals[parameter] = argument.value
        else:
            series.append(argument)
    return series, literals


def candles_needed(node: Node) -> int:
    """How many candles of unbroken history, the current one included, one value of the tree reads."""
    if not isinstance(node, Call):
        return 1
    series, literals = split_arguments(node)
    return max(map(candles_needed, series), default=1) + OPERATORS[node.operator].candles_before(literals)


def substitute(node: Node, series: Mapping[str, Node], build_call: Callable[..., Node] = build) -> Node:
    """The tree with the fields of those names replaced."""
    if isinstance(node, Field):
        return series.get(node.name, node)
    if not isinstance(node, Call):
        return node
    return build_call(node.operator, *(substitute(argument, series, build_call) for argument in node.arguments))


def is_recursive(node: Node) -> bool:
    """Whether a value depends, however little, on all candles since the beginning of the unbroken stretch."""
    return any(isinstance(part, Call) and OPERATORS[part.operator].recursive for part in walk(node))
