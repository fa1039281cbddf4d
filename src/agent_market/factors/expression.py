"""The expression language: from the text of a factor to its tree, with errors that point at the place.

    expression := comparison-or-sum with  ?:  |  &  < <= > >= == !=  + -  * /  - !  ^   (loosest to tightest)
    atom       := number | name | $field | @factor | name "(" argument, … ")" | "(" expression ")" | "|" expression "|"
    argument   := expression | name "=" expression

The parser reads operators by their binding power (V. Pratt, "Top down operator precedence", 1973). The text
is never given to Python: what can be written is what the table of operators holds, and every size is
bounded before it costs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from agent_market.errors import FactorError
from agent_market.factors import calls, dialects, macros
from agent_market.factors import operators as table
from agent_market.factors.calls import Argument, Source, suggest
from agent_market.factors.macros import Macro
from agent_market.factors.operators import OPERATORS, Operator
from agent_market.factors.options import LIMITS, ExpressionOptions
from agent_market.factors.tokens import Token, reason, shown, tokenize
from agent_market.factors.tree import (
    Call,
    ConstantError,
    Field,
    Node,
    Number,
    build,
    candles_needed,
    depth,
    is_constant,
    size,
    substitute,
    to_text,
    walk,
)

Names = Mapping[str, str]


@dataclass(frozen=True)
class Reading:
    """What was read: the canonical tree, what the reader should know, and where each part stands in the text."""

    text: str
    tree: Node
    notes: tuple[str, ...]
    places: Mapping[Node, int]


def parse(text: str, **options) -> Node:
    """The canonical tree of an expression, with the options of `read`."""
    return read(text, **options).tree


def read(
    text: str,
    *,
    limits: ExpressionOptions = LIMITS,
    library: Names | None = None,
    columns: Names | None = None,
) -> Reading:
    """An expression, read; a FactorError shows the place of what is wrong.

    `library` gives the expressions of `@name`, `columns` those of further plain names, such as the columns of a
    feature file. Both are put in where their names stand.
    """
    return _Parser(text, limits, library or {}, columns or {}).read()


def canonical(text: str, **options) -> str:
    """The one way of writing an expression: equal for texts that differ in dialect, spaces or order."""
    return to_text(parse(text, **options))


def look_back(expression: str) -> int:
    """How many candles of unbroken history, the current one included, one value of the expression reads."""
    return candles_needed(parse(expression))


_BINARY = {
    "|": ("or", 1), "||": ("or", 1),
    "&": ("and", 2), "&&": ("and", 2),
    "<": ("lt", 3), "<=": ("le", 3), ">": ("gt", 3), ">=": ("ge", 3), "==": ("eq", 3), "!=": ("ne", 3),
    "+": ("add", 4), "-": ("sub", 4),
    "*": ("mul", 5), "/": ("div", 5),
    "^": ("pow", 7), "**": ("pow", 7),
}  # fmt: skip
_TERNARY, _COMPARISON, _UNARY = 0, 3, 6


class _Parser:
    def __init__(
        self,
        text: str,
        limits: ExpressionOptions,
        library: Names,
        columns: Names,
        *,
        trail: tuple[str, ...] = (),
        nesting: int = 0,
        placeholders: frozenset[str] = frozenset(),
    ) -> None:
        if not isinstance(text, str):
            raise FactorError(f"a factor expression is a text, found {type(text).__name__} {str(text)[:60]!r}")
        self.source = Source(text, limits)
        self.limits, self.library, self.columns, self.trail = limits, library, columns, trail
        self.placeholders = placeholders  # names of a macro's own series
        self.tokens = tokenize(text, limits)
        self.index = self.parts = self.bars = 0
        self.nesting = nesting  # of the expression that names this one, so that no chain of names goes deeper
        self.places: dict[Node, int] = {}

    # ---- tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def _advance(self) -> Token:
        self.index += 1
        return self.tokens[self.index - 1]

    def _expect(self, symbol: str) -> None:
        if symbol == "|":
            self._split_bars()
        if self.token.kind != "symbol" or self.token.text != symbol:
            self._fail(f"expected {symbol!r}, found {shown(self.token)}", self.token.position)
        self.index += 1

    def _split_bars(self) -> None:
        """Take `||` for two bars, where bars stand for the absolute value."""
        if self.token.text == "||":
            place = self.token.position
            self.tokens[self.index : self.index + 1] = [Token("symbol", "|", place), Token("symbol", "|", place + 1)]

    # ---- grammar

    def read(self) -> Reading:
        if self.token.kind == "end":
            self._fail("the expression is empty", 0)
        tree = self._expression(_TERNARY)
        if self.token.kind != "end":
            found = shown(self.token)
            self._fail(f"expected an operator or the end of the expression, found {found}", self.token.position)
        self._check_whole(tree)
        return Reading(self.source.text, tree, tuple(self.source.notes), self.places)

    def _expression(self, least: int) -> Node:
        """Read an operand and all operators behind it that bind at least that tightly."""
        self.nesting += 1
        if self.nesting > self.limits.max_nesting:
            self._fail(f"brackets, calls and signs nest at most {self.limits.max_nesting} deep", self.token.position)
        left = self._operand()
        while self.token.kind == "symbol":
            operator, power = _BINARY.get(self.token.text, ("", -1))
            if power < least or not operator or (operator == "or" and self.bars):
                break
            sign = self._advance()
            if operator == "pow":
                left = self._power(left, sign)
                continue
            right = self._expression(power + 1)
            left = self._node(sign.position, operator, left, right)
            if power == _COMPARISON and _BINARY.get(self.token.text, ("", -1))[1] == _COMPARISON:
                self._fail("comparisons do not chain: write (a < b) & (b < c)", self.token.position)
        if least == _TERNARY and self.token.text == "?":
            left = self._ternary(left)
        self.nesting -= 1
        return left

    def _operand(self) -> Node:
        self._split_bars()
        token = self._advance()
        if token.kind == "number":
            return self._leaf(token, Number(self._value(token)))
        if token.kind == "name":
            return self._call(token) if self.token.text == "(" else self._series(token)
        if token.kind == "library":
            return self._factor(token)
        if token.text in ("(", "|"):
            return self._enclosed(token)
        if token.text in ("-", "+", "!", "~"):
            operand = self._expression(_UNARY)
            if token.text == "+":
                return operand
            return self._build(token.position, "neg" if token.text == "-" else "not", operand)
        if token.kind == "days":
            self._fail(f"{token.text}d is a window: it can only be the last argument of a function", token.position)
        return self._fail(f"expected a field, a number or a function, found {shown(token)}", token.position)

    def _enclosed(self, opening: Token) -> Node:
        """What stands in brackets, or between bars: its absolute value."""
        outside, self.bars = self.bars, int(opening.text == "|")
        inside = self._expression(_TERNARY)
        self._expect(")" if opening.text == "(" else "|")
        self.bars = outside
        return inside if opening.text == "(" else self._node(opening.position, "abs", inside)

    def _ternary(self, condition: Node) -> Node:
        question = self._advance()
        yes = self._expression(_TERNARY)
        self._expect(":")
        return self._node(question.position, "where", condition, yes, self._expression(_TERNARY))

    def _power(self, base: Node, sign: Token) -> Node:
        position = self.token.position
        exponent = self._expression(_UNARY)
        calls.literal(self.source, OPERATORS["pow"], "exponent", Argument(exponent, position), "pow")
        return self._node(sign.position, "pow", base, exponent)

    # ---- names

    def _series(self, token: Token) -> Node:
        name = token.text.removeprefix("$").lower()
        if token.text in self.placeholders:
            return self._leaf(token, Field(token.text))
        if name in self.columns and not token.text.startswith("$"):
            return self._named(token, self.columns[name])
        if name in table.FIELDS or name in table.DERIVED_FIELDS:
            return self._leaf(token, Field(name))
        if name in OPERATORS and not OPERATORS[name].arity:
            return self._leaf(token, Call(name, ()))
        try:
            formula = macros.by_name(name)
        except ValueError as error:
            self._fail(f"{token.text}: {error}", token.position)
        if formula:
            return self._expand(token, formula, {})
        if why := dialects.UNSUPPORTED.get("pref" if name.startswith("$") else name.split(".")[0]):
            self._fail(f"{token.text} cannot be written: {why}", token.position)
        if functions := table.signatures(name):
            self._fail(f"{name} is a function: write {' or '.join(functions)}", token.position)
        known = [*table.series_names(), *self.columns]
        return self._fail(
            f"unknown field {shown(token)}{suggest(name, known)}; the fields are {', '.join(table.series_names())}",
            token.position,
        )

    def _factor(self, token: Token) -> Node:
        """The factor of the library that `@name` stands for."""
        name = token.text[1:]
        if name in self.library:
            return self._named(token, self.library[name])
        known = f"{suggest(name, list(self.library))}; " if self.library else ", "
        return self._fail(
            f"unknown factor {token.text[:60]!r}{known}the library holds {len(self.library)}", token.position
        )

    def _named(self, token: Token, text: str) -> Node:
        """The tree that a name of the library or of a file stands for, read with the same rules."""
        if token.text in self.trail:
            self._fail(f"{token.text[:60]} stands for itself", token.position)
        trail = (*self.trail, token.text)
        try:
            parser = _Parser(text, self.limits, self.library, self.columns, trail=trail, nesting=self.nesting)
            reading = parser.read()
        except FactorError as error:
            if self.trail:
                raise
            self._fail(f"{token.text[:60]} stands for {str(text)[:60]!r}: {reason(error)}", token.position)
        self.source.notes.update(dict.fromkeys(reading.notes))
        return self._added(token, reading.tree)

    def _expand(self, token: Token, formula: str, series: Mapping[str, Node]) -> Node:
        """The tree of a macro's formula with the series in their places."""
        try:
            template = _template(formula, frozenset(series), self.limits)
        except FactorError as error:
            self._fail(f"{token.text[:40]} stands for {formula[:80]}: {reason(error)}", token.position)
        return self._added(token, substitute(template, series, self._merged))

    def _added(self, token: Token, tree: Node) -> Node:
        self._count(token.position, size(tree))
        self.places.setdefault(tree, token.position)
        return tree

    # ---- calls

    def _call(self, name: Token) -> Node:
        self._expect("(")
        outside, self.bars = self.bars, 0
        arguments: list[Argument] = []
        while self.token.text != ")":
            if arguments:
                self._expect(",")
            arguments.append(self._argument(arguments))
        self._expect(")")
        self.bars = outside
        target = calls.resolve(self.source, name, arguments)
        given = {
            parameter: calls.checked(self.source, target, parameter, argument, name.text)
            for parameter, argument in calls.in_order(self.source, target, arguments).items()
        }
        if isinstance(target, Operator):
            return self._node(name.position, target.name, *given.values())
        return self._macro(name, target, given)

    def _argument(self, before: list[Argument]) -> Argument:
        keyword = None
        if self.token.kind == "name" and self.tokens[self.index + 1].text == "=":
            keyword = self._advance().text.lower()
            self._advance()
        elif before and before[-1].keyword:
            self._fail("an argument without a name cannot follow one with a name", self.token.position)
        first = self.token
        start = self.index
        node = self._days() if first.kind == "days" else self._expression(_TERNARY)
        is_number = self.index == start + 1 and first.kind in ("number", "days")
        return Argument(node, first.position, first if is_number else None, keyword)

    def _days(self) -> Node:
        token = self._advance()
        return self._leaf(token, Number(self._value(token)))

    def _macro(self, name: Token, macro: Macro, given: Mapping[str, Node]) -> Node:
        literals = {p: node.value for p, node in given.items() if p in macros.LITERALS}
        series = {p: node for p, node in given.items() if p not in macros.LITERALS}
        try:
            formula = macro.text(literals)
        except ValueError as error:
            self._fail(str(error), name.position)
        return self._expand(name, formula, series)

    # ---- checks

    def _check_whole(self, node: Node) -> None:
        limits = self.limits
        if is_constant(node):
            self._fail("the expression is a constant: it uses no field of the candles", 0)
        if (count := len(set(walk(node)))) > limits.max_parts:
            self._fail(f"an expression has at most {limits.max_parts} different parts, found {count}", 0)
        if (levels := depth(node)) > limits.max_levels:
            self._fail(f"an expression is at most {limits.max_levels} levels deep, found {levels}", 0)
        if (candles := candles_needed(node)) > limits.max_look_back:
            self._fail(f"an expression looks back at most {limits.max_look_back} candles, found {candles}", 0)
        form = to_text(node)
        if len(form) > limits.max_length:
            self._fail(f"in its canonical form the expression has {len(form)} characters, over {limits.max_length}", 0)
        if form != self.source.text:
            tokenize(form, limits)

    def _value(self, token: Token) -> float:
        value = float(token.text)
        if not math.isfinite(value):
            self._fail(f"the number {token.text[:20]} is too large", token.position)
        return value

    # ---- tree and errors

    def _leaf(self, token: Token, node: Node) -> Node:
        self._count(token.position)
        self.places.setdefault(node, token.position)
        return node

    def _node(self, position: int, operator: str, *arguments: Node) -> Node:
        self._count(position)
        return self._build(position, operator, *arguments)

    def _build(self, position: int, operator: str, *arguments: Node) -> Node:
        try:
            node = self._merged(operator, *arguments)
        except ConstantError as error:
            return self._fail(str(error), position)
        self.places.setdefault(node, position)
        return node

    def _merged(self, operator: str, *arguments: Node) -> Node:
        """Build, with a delay of a delay as one where it stays within the limits."""
        if operator == "delay" and isinstance(inner := arguments[0], Call) and inner.operator == "delay":
            lag = inner.arguments[1].value + arguments[1].value
            if lag <= self.limits.max_window:
                arguments = inner.arguments[0], Number(lag)
        return build(operator, *arguments)

    def _count(self, position: int, parts: int = 1) -> None:
        self.parts += parts
        if self.parts > self.limits.max_tokens:
            self._fail(f"written out, an expression has at most {self.limits.max_tokens} parts", position)

    def _fail(self, message: str, position: int) -> Node:
        self.source.fail(message, position)


@lru_cache(maxsize=4096)
def _template(formula: str, series: frozenset[str], limits: ExpressionOptions) -> Node:
    """The tree of a macro's formula, in which the macro's own series stay fields of their names."""
    return _Parser(formula, limits, {}, {}, placeholders=series).read().tree
