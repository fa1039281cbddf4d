"""From a name and its arguments to the operator or macro that is meant, each argument in its place and checked."""

import difflib
import math
from dataclasses import dataclass, field
from typing import NoReturn

from agent_market.factors import dialects, macros
from agent_market.factors import operators as table
from agent_market.factors.macros import Macro
from agent_market.factors.operators import OPERATORS, Operator
from agent_market.factors.options import ExpressionOptions
from agent_market.factors.tokens import Token, fail, shown
from agent_market.factors.tree import Call, Node, Number, is_constant

CONDITIONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})
_NUMBERS = frozenset({*table.LITERALS, *macros.LITERALS})
_INTEGERS = _NUMBERS - {"level", "exponent", "m"}


@dataclass
class Source:
    """The text that is read, the limits it is read under, and what the reader of the result should know."""

    text: str
    limits: ExpressionOptions
    notes: dict[str, None] = field(default_factory=dict)

    def fail(self, message: str, position: int) -> NoReturn:
        """Raise a FactorError that points at the place."""
        fail(self.text, message, position)


@dataclass(frozen=True, slots=True)
class Argument:
    """What stands between two commas of a call."""

    node: Node
    position: int
    literal: Token | None = None  # the number, if it is written out and nothing else
    keyword: str | None = None

    @property
    def whole_number(self) -> int | None:
        """The whole number that is written out."""
        return int(self.literal.text) if self.literal is not None and self.literal.text.isdigit() else None


def resolve(source: Source, name: Token, arguments: list[Argument]) -> Operator | Macro:
    """What a call means, by its name in any case and the number of its arguments."""
    plain = name.text.lower()
    if plain in dialects.WINDOW_OR_VALUE and len(arguments) == 2:
        window, value = dialects.WINDOW_OR_VALUE[plain]
        number, by_name = arguments[1].whole_number, arguments[1].keyword in dialects.KEYWORDS["window"].split()
        if not by_name and (number is None or number < 2):
            return OPERATORS[value]
        source.notes[f"{name.text}(x, window) is read as {window}; write {value} for the one or other of two"] = None
        return OPERATORS[window]
    if plain in dialects.CONDITION_OR_VALUE and len(arguments) == 2:
        condition, value = dialects.CONDITION_OR_VALUE[plain]
        first = arguments[0].node
        return OPERATORS[condition if isinstance(first, Call) and first.operator in CONDITIONS else value]
    if plain in dialects.NOTES:
        source.notes[dialects.NOTES[plain]] = None
    if plain == "z" and len(arguments) == 1:
        return _z(source)
    if target := table.resolve(plain, len(arguments)):
        return target
    if why := dialects.UNSUPPORTED.get(plain):
        source.fail(f"{name.text} cannot be written: {why}", name.position)
    if calls := table.signatures(plain):
        count = f"{len(arguments)} argument{'s' * (len(arguments) != 1)}"
        source.fail(f"{name.text[:40]} does not take {count}: write {' or '.join(calls)}", name.position)
    return source.fail(f"unknown function {shown(name)}{suggest(plain, table.function_names())}", name.position)


def _z(source: Source) -> Macro:
    window = source.limits.z_window
    note = f"z(x) saw the whole sample, its future too; it is read as ts_zscore(x, {window})"
    source.notes[note] = None
    return Macro("z", "x", f"ts_zscore(x, {window})", note)


def in_order(source: Source, target: Operator | Macro, arguments: list[Argument]) -> dict[str, Argument]:
    """The arguments by parameter; those given by name in their places."""
    places = {p: a for p, a in zip(target.parameters, arguments, strict=True) if a.keyword is None}
    for argument in arguments[len(places) :]:
        fitting = [p for p in target.parameters if argument.keyword in dialects.KEYWORDS.get(p, p).split()]
        free = [p for p in fitting if p not in places]
        if not free:
            state = "is given twice" if fitting else "is unknown"
            source.fail(f"{target.name}: {argument.keyword[:40]!r} {state}; write {target.call}", argument.position)
        places[free[0]] = argument
    return {parameter: places[parameter] for parameter in target.parameters}


def checked(source: Source, target: Operator | Macro, parameter: str, argument: Argument, name: str) -> Node:
    """The argument, if it is what the parameter asks for: a series, or a number that is written out."""
    if parameter in _NUMBERS:
        return literal(source, target, parameter, argument, name)
    is_element_wise = isinstance(target, Operator) and target.kind == "element-wise"
    if not is_element_wise and is_constant(argument.node):
        source.fail(f"{target.name} needs a series for {parameter}, found a constant", argument.position)
    return argument.node


def literal(source: Source, target: Operator | Macro, parameter: str, argument: Argument, name: str) -> Node:
    """The number that a window, lag, level or exponent is."""
    value = argument.node.value if isinstance(argument.node, Number) else None
    what = f"the {parameter} of {target.name}"
    if parameter not in _INTEGERS:
        largest = source.limits.max_exponent
        low, high = {"level": (0, 1), "m": (-1e6, 1e6)}.get(parameter, (-largest, largest))
        if value is None or not low <= value <= high:
            source.fail(f"{what} must be a number from {low:g} to {high:g}, written out", argument.position)
        return argument.node
    if value is not None and value < 0:
        source.fail(f"{what} is negative: the expression looks into the future", argument.position)
    if argument.whole_number is None:
        value = _rounded_down(source, argument, name, what)
    if not target.least <= value <= source.limits.max_window:
        bounds = f"from {target.least} to {source.limits.max_window} candles"
        source.fail(f"{what} must be {bounds}, found {value:.6g}", argument.position)
    return Number(float(value))


def _rounded_down(source: Source, argument: Argument, name: str, what: str) -> float:
    """The whole part of a window of a WorldQuant formula; elsewhere a fraction is an error."""
    text = argument.literal.text if argument.literal else ""
    if name.lower() not in dialects.WORLDQUANT or not text.replace(".", "", 1).isdigit():
        source.fail(f"{what} must be a whole number, written out", argument.position)
    source.notes[f"the window {text[:20]} of {name[:40]} is rounded down"] = None
    return math.floor(float(text))


def suggest(name: str, known: list[str]) -> str:
    """A hint at the known name that is most like the one found."""
    close = difflib.get_close_matches(name[:60], known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
