"""The words and signs of an expression, and errors that point at one of them."""

import re
from dataclasses import dataclass
from typing import NoReturn

from agent_market.errors import FactorError
from agent_market.factors.options import ExpressionOptions


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign, and where it begins in the text."""

    kind: str  # number | days | name | library | symbol | end
    text: str
    position: int


_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<days>d(?![A-Za-z0-9_]))?"
    r"|(?P<name>IndClass\.[A-Za-z]+|\${0,2}[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<library>@[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>\*\*|<=|>=|==|!=|&&|\|\||[-+*/^<>!~&|?:(),=])"
)


def tokenize(text: str, limits: ExpressionOptions) -> list[Token]:
    """The tokens of a text, the last of kind `end`; `20d`, a window of AlphaGen, is of kind `days`."""
    if len(text) > limits.max_length:
        place = limits.max_length
        fail(text, f"an expression has at most {limits.max_length} characters, found {len(text)}", place)
    tokens, position = [], 0
    while position < len(text):
        if text[position] in " \t\r\n":
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            fail(text, f"unexpected character {text[position]!r}", position)
        if len(tokens) == limits.max_tokens:
            fail(text, f"an expression has at most {limits.max_tokens} words and signs", position)
        word = match["number"] if match.lastgroup == "days" else match.group()
        tokens.append(Token(match.lastgroup, word, position))
        position = match.end()
    return [*tokens, Token("end", "", len(text))]


def shown(token: Token) -> str:
    """A token as messages speak of it."""
    return "the end" if token.kind == "end" else repr(token.text[:40])


def fail(text: str, message: str, position: int) -> NoReturn:
    """Raise a FactorError that shows the place under the text, 80 characters of it at most."""
    raise FactorError(pointing(text, message, position))


def pointing(text: str, message: str, position: int) -> str:
    """A message, and the place that it speaks of under the text."""
    start = max(0, position - 60)
    line = "".join(c if c.isprintable() else " " for c in text[start : start + 80])
    return f"{message} (at character {position + 1})\n    {line}\n    {' ' * (position - start)}^"


def reason(error: FactorError) -> str:
    """What a FactorError says, on one line and without the place."""
    return str(error).split(" (at character ")[0].split("\n")[0]
