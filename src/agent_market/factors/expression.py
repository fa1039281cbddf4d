"""The expression language: from the text of a factor to its tree, with errors that point at the place.

    expression := comparison-or-sum with  ?:  |  &  < <= > >= == !=  + -  * /  - !  ^   (loosest to tightest)
    atom       := number | field | $field | name "(" expression, … ")" | "(" expression ")"

The parser reads operators by their binding power (V. Pratt, "Top down operator precedence", 1973). The text
is never given to Python: what can be written is what the table of operators holds, and every size is
bounded before it costs.
"""

import difflib
import math
import re
from dataclasses import dataclass

from agent_market.errors import FactorError
from agent_market.factors import operators as table
from agent_market.factors.operators import INTEGERS, OPERATORS, Operator
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
    to_text,
    walk,
)

MAX_LENGTH = 600  # characters
MAX_TOKENS = 300
MAX_NESTING = 40  # levels of brackets, calls and signs
MAX_NODES = 64
MAX_DEPTH = 12
MAX_WINDOW = 1000  # candles
MAX_LOOK_BACK = 2000  # candles
MAX_EXPONENT = 4


def parse(text: str) -> Node:
    """The canonical tree of an expression; a FactorError shows the place of what is wrong."""
    return _Parser(text).parse()


def canonical(text: str) -> str:
    """The one way of writing an expression: equal for texts that differ in dialect, spaces or order."""
    return to_text(parse(text))


def look_back(expression: str) -> int:
    """How many candles of unbroken history, the current one included, one value of the expression reads."""
    return candles_needed(parse(expression))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number | name | symbol | end
    text: str
    position: int


_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>\$?[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>\*\*|<=|>=|==|!=|&&|\|\||[-+*/^<>!~&|?:(),])"
)

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
    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise FactorError(f"a factor expression is a text, found {type(text).__name__} {str(text)[:60]!r}")
        self.text = text
        self.index = 0
        self.nesting = 0
        self.nodes = 0
        self.tokens = self._tokenize()

    # ---- tokens

    def _tokenize(self) -> list[_Token]:
        if len(self.text) > MAX_LENGTH:
            self._fail(f"an expression has at most {MAX_LENGTH} characters, found {len(self.text)}", MAX_LENGTH)
        tokens, position = [], 0
        while position < len(self.text):
            if self.text[position] in " \t\r\n":
                position += 1
                continue
            match = _TOKEN.match(self.text, position)
            if match is None:
                self._fail(f"unexpected character {self.text[position]!r}", position)
            if len(tokens) == MAX_TOKENS:
                self._fail(f"an expression has at most {MAX_TOKENS} words and signs", position)
            tokens.append(_Token(match.lastgroup, match.group(), position))
            position = match.end()
        return [*tokens, _Token("end", "", len(self.text))]

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def _advance(self) -> _Token:
        self.index += 1
        return self.tokens[self.index - 1]

    def _expect(self, symbol: str) -> None:
        if self.token.kind != "symbol" or self.token.text != symbol:
            self._fail(f"expected {symbol!r}, found {_shown(self.token)}", self.token.position)
        self.index += 1

    # ---- grammar

    def parse(self) -> Node:
        if self.token.kind == "end":
            self._fail("the expression is empty", 0)
        node = self._expression(_TERNARY)
        if self.token.kind != "end":
            self._fail(
                f"expected an operator or the end of the expression, found {_shown(self.token)}",
                self.token.position,
            )
        self._check_whole(node)
        return node

    def _expression(self, least: int) -> Node:
        """Read an operand and all operators behind it that bind at least that tightly."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            self._fail(f"brackets, calls and signs nest at most {MAX_NESTING} deep", self.token.position)
        left = self._operand()
        while self.token.kind == "symbol":
            operator, power = _BINARY.get(self.token.text, ("", -1))
            if power < least or not operator:
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
        token = self._advance()
        if token.kind == "number":
            return self._leaf(token, Number(self._value(token)))
        if token.kind == "name":
            return self._call(token) if self.token.text == "(" else self._leaf(token, self._series(token))
        if token.text == "(":
            inside = self._expression(_TERNARY)
            self._expect(")")
            return inside
        if token.text in ("-", "+", "!", "~"):
            operand = self._expression(_UNARY)
            if token.text == "+":
                return operand
            return self._build(token.position, "neg" if token.text == "-" else "not", operand)
        return self._fail(f"expected a field, a number or a function, found {_shown(token)}", token.position)

    def _ternary(self, condition: Node) -> Node:
        question = self._advance()
        yes = self._expression(_TERNARY)
        self._expect(":")
        return self._node(question.position, "where", condition, yes, self._expression(_TERNARY))

    def _power(self, base: Node, sign: _Token) -> Node:
        position = self.token.position
        exponent = self._expression(_UNARY)
        self._check_literal(OPERATORS["pow"], "exponent", exponent, position, is_literal=False)
        return self._node(sign.position, "pow", base, exponent)

    def _series(self, token: _Token) -> Node:
        name = token.text.removeprefix("$").lower()
        if name in table.FIELDS:
            return Field(name)
        if name in table.MACROS:
            operator, field, lag = table.MACROS[name]
            self.nodes += 2
            return build(operator, Field(field), Number(float(lag)))
        if name in OPERATORS and not OPERATORS[name].arity:
            return Call(name, ())
        if calls := table.signatures(name):
            self._fail(f"{name} is a function: write {' or '.join(calls)}", token.position)
        return self._fail(
            f"unknown field {_shown(token)}{_suggest(name, table.series_names())}; "
            f"the fields are {', '.join(table.series_names())}",
            token.position,
        )

    def _call(self, name: _Token) -> Node:
        self._expect("(")
        arguments, places = [], []
        while self.token.text != ")":
            if arguments:
                self._expect(",")
            first = self.index
            arguments.append(self._expression(_TERNARY))
            places.append((self.tokens[first].position, self._is_whole_number(first)))
        self._expect(")")
        operator = self._resolve(name, places)
        for parameter, argument, (position, is_literal) in zip(operator.parameters, arguments, places, strict=True):
            if parameter in table.LITERALS:
                self._check_literal(operator, parameter, argument, position, is_literal)
            elif operator.kind != "element-wise" and is_constant(argument):
                self._fail(f"{operator.name} needs a series for {parameter}, found a constant", position)
        return self._node(name.position, operator.name, *arguments)

    def _is_whole_number(self, first: int) -> bool:
        """Whether the argument that began at this token and was just read is a whole number, written out."""
        return self.index == first + 1 and self.tokens[first].text.isdigit()

    def _resolve(self, name: _Token, places: list[tuple[int, bool]]) -> Operator:
        plain = name.text.lower()
        if plain in table.WINDOW_OR_VALUE and len(places) == 2:
            window, value = table.WINDOW_OR_VALUE[plain]
            is_window = places[1][1] and int(self._token_at(places[1][0]).text) >= 2
            return OPERATORS[window if is_window else value]
        operator = table.resolve(plain, len(places))
        if operator is not None:
            return operator
        if calls := table.signatures(plain):
            self._fail(
                f"{name.text[:40]} does not take {len(places)} argument{'s' * (len(places) != 1)}: "
                f"write {' or '.join(calls)}",
                name.position,
            )
        return self._fail(f"unknown function {_shown(name)}{_suggest(plain, table.function_names())}", name.position)

    def _token_at(self, position: int) -> _Token:
        return next(token for token in self.tokens if token.position == position)

    # ---- checks

    def _check_literal(
        self, operator: Operator, parameter: str, argument: Node, position: int, is_literal: bool
    ) -> None:
        value = argument.value if isinstance(argument, Number) else None
        what = f"the {parameter} of {operator.name}"
        if parameter not in INTEGERS:
            low, high = (0, 1) if parameter == "level" else (-MAX_EXPONENT, MAX_EXPONENT)
            if value is None or not low <= value <= high:
                self._fail(f"{what} must be a number from {low} to {high}, written out", position)
            return
        if value is not None and value < 0:
            self._fail(f"{what} is negative: the expression looks into the future", position)
        if not is_literal:
            self._fail(f"{what} must be a whole number, written out", position)
        if not operator.least <= value <= MAX_WINDOW:
            self._fail(f"{what} must be from {operator.least} to {MAX_WINDOW} candles, found {value:.6g}", position)

    def _check_whole(self, node: Node) -> None:
        if is_constant(node):
            self._fail("the expression is a constant: it uses no field of the candles", 0)
        if (count := sum(1 for _ in walk(node))) > MAX_NODES:
            self._fail(f"an expression has at most {MAX_NODES} parts, found {count}", 0)
        if (levels := depth(node)) > MAX_DEPTH:
            self._fail(f"an expression is at most {MAX_DEPTH} levels deep, found {levels}", 0)
        if (candles := candles_needed(node)) > MAX_LOOK_BACK:
            self._fail(f"an expression looks back at most {MAX_LOOK_BACK} candles, found {candles}", 0)
        if (length := len(to_text(node))) > MAX_LENGTH:
            self._fail(f"in its canonical form the expression has {length} characters, over {MAX_LENGTH}", 0)

    def _value(self, token: _Token) -> float:
        value = float(token.text)
        if not math.isfinite(value):
            self._fail(f"the number {token.text[:20]} is too large", token.position)
        return value

    # ---- tree and errors

    def _leaf(self, token: _Token, node: Node) -> Node:
        self._count(token.position)
        return node

    def _node(self, position: int, operator: str, *arguments: Node) -> Node:
        self._count(position)
        return self._build(position, operator, *arguments)

    def _build(self, position: int, operator: str, *arguments: Node) -> Node:
        try:
            return build(operator, *arguments)
        except ConstantError as error:
            return self._fail(str(error), position)

    def _count(self, position: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._fail(f"an expression has at most {MAX_NODES} parts", position)

    def _fail(self, message: str, position: int) -> Node:
        """Raise a FactorError that shows the place under the text, 80 characters of it at most."""
        start = max(0, position - 60)
        line = "".join(c if c.isprintable() else " " for c in self.text[start : start + 80])
        raise FactorError(f"{message} (at character {position + 1})\n    {line}\n    {' ' * (position - start)}^")


def _shown(token: _Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text[:40])


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name[:60], known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
