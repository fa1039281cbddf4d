"""From whatever a language model wrote to proposals: bounded in size and time, and without ever running anything.

Read are the JSON that was asked for, the same in a code fence or after a chain of thought, whole objects out of an
array that was cut off, `{name: {expression: …}}` and `{name: expression}`, and plain lists of expressions.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent_market.mining.candidates import CATEGORIES, MAX_HYPOTHESIS, clean_name

MAX_CHARACTERS = 100_000
MAX_PROPOSALS = 64
MAX_EXPRESSION = 700  # more than the language takes, so that what is too long is rejected as such
MAX_STARTS = 200  # places at which an object is looked for in a broken answer
LISTS = ("expressions", "factors", "alphas", "candidates", "proposals")
TEXTS = ("expression", "formula", "factor_expression", "expr")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["expressions"],
    "additionalProperties": False,
    "properties": {
        "expressions": {
            "type": "array",
            "maxItems": MAX_PROPOSALS,
            "items": {
                "type": "object",
                "required": ["name", "expression", "hypothesis", "category"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "expression": {"type": "string", "maxLength": 600},
                    "hypothesis": {"type": "string", "maxLength": MAX_HYPOTHESIS},
                    "category": {"type": "string", "enum": list(CATEGORIES)},
                },
            },
        }
    },
}
"""What is asked for, as a JSON schema."""


@dataclass(frozen=True)
class Proposal:
    """One factor as a language model proposed it; nothing but the lengths and the category has been checked."""

    name: str
    expression: str
    hypothesis: str
    category: str


def read_answer(text: str) -> list[Proposal]:
    """The proposals in an answer, at most `MAX_PROPOSALS`; none if there is nothing that looks like one."""
    text = _without_thoughts(text[:MAX_CHARACTERS])
    proposals = []
    for name, item in _items(_decoded(text), text):
        proposal = _proposal(name, item)
        if proposal is not None:
            proposals.append(proposal)
        if len(proposals) == MAX_PROPOSALS:
            break
    return proposals


def _without_thoughts(text: str) -> str:
    """The text behind a chain of thought, and within the first code fence, if there is one."""
    end = text.rfind("</think>")
    if end >= 0:
        text = text[end + len("</think>") :]
    fence = text.find("```")
    if fence >= 0:
        line = text.find("\n", fence)
        close = text.find("```", fence + 3)
        if line >= 0 and (close < 0 or line < close):
            return text[line + 1 : close if close >= 0 else len(text)]
    return text


def _decoded(text: str) -> Any:
    """The first JSON value in a text, or None."""
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    return _decode_at(text, min(starts))[0] if starts else None


def _decode_at(text: str, place: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder(parse_int=_number, parse_constant=lambda name: None).raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, -1


def _number(text: str) -> float:
    """No number here is needed as a whole one, and none may take long to read."""
    return float(text[:40])


def _items(content: Any, text: str) -> Iterator[tuple[str, Any]]:
    """What may be proposals, each with the name it stands under, if any."""
    if isinstance(content, dict):
        held = next((content[name] for name in LISTS if isinstance(content.get(name), list | dict)), None)
        if held is None and any(name in content for name in TEXTS):
            held = [content]
        content = content if held is None else held
    if isinstance(content, list):
        yield from (("", item) for item in content)
    elif isinstance(content, dict):
        yield from ((str(name), item) for name, item in content.items())
    elif content is None:
        yield from (("", item) for item in _whole_objects(text))


def _whole_objects(text: str) -> Iterator[dict]:
    """Objects that are whole in a text that as a whole is not."""
    place = text.find("{")
    for _ in range(MAX_STARTS):
        if place < 0:
            return
        item, end = _decode_at(text, place)
        if isinstance(item, dict):
            yield item
        place = text.find("{", end if end > place else place + 1)


def _proposal(name: str, item: Any) -> Proposal | None:
    if isinstance(item, str):
        item = {"expression": item}
    if not isinstance(item, dict):
        return None
    expression = next((item[key] for key in TEXTS if isinstance(item.get(key), str)), None)
    if expression is None:
        return None
    category = str(item.get("category", ""))[:40].lower().replace(" ", "_").replace("-", "_")
    return Proposal(
        name=clean_name(item.get("name") or name),
        expression=printable(expression, MAX_EXPRESSION),
        hypothesis=printable(str(item.get("hypothesis") or item.get("description") or ""), MAX_HYPOTHESIS),
        category=category if category in CATEGORIES else "other",
    )


def printable(text: str, longest: int) -> str:
    """A text on one line without control characters, cut to a length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * longest]).split())[:longest]
