"""The page about factors says what the code does."""

import re
from pathlib import Path

import pytest

from agent_market.factors import canonical, expression, factor_sets, load_factors
from agent_market.factors.operators import ALIASES, EMA_MEMORY, FIELDS, OPERATORS, WINDOW_OR_VALUE, Operator

PAGE = (Path(__file__).parents[2] / "docs" / "factors.md").read_text(encoding="utf-8")


def row(operator: Operator) -> str:
    """The row that the page must have for an operator."""
    call = operator.name + (f"({', '.join(operator.parameters)})" if operator.arity else "")
    others = [f"{operator.symbol}x" if operator.arity == 1 else f"x {operator.symbol} y"] * bool(operator.symbol)
    others += sorted(alias for (alias, _), name in ALIASES.items() if name == operator.name)
    others += [alias for alias, names in WINDOW_OR_VALUE.items() if operator.name in names]
    cells = f"`{call}`", operator.meaning, ", ".join(f"`{other}`" for other in others)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_its_row_in_the_page(name):
    assert row(OPERATORS[name]) in PAGE.splitlines()


def test_every_row_of_the_page_is_an_operator_or_a_field():
    rows = re.findall(r"^\| `(\w+)[`(]", PAGE, flags=re.MULTILINE)
    assert set(rows) == {*OPERATORS, *FIELDS, "returns"}


def test_every_example_of_the_page_is_read():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    examples = [
        line.split(": ", 1)[1].split("   #")[0] for line in "".join(blocks).splitlines() if re.match(r" *my_", line)
    ]
    assert len(examples) >= 5
    for text in examples:
        canonical(text)


def test_the_limits_and_sets_of_the_page_are_those_of_the_code():
    for number, what in (
        (expression.MAX_LENGTH, "characters"),
        (expression.MAX_NODES, "parts"),
        (expression.MAX_DEPTH, "levels"),
        (expression.MAX_WINDOW, "candles in a window, lag or span"),
        (expression.MAX_LOOK_BACK, "candles of look-back"),
    ):
        assert f"{number} {what}" in PAGE
    assert f"{EMA_MEMORY} × span" in PAGE
    for name in factor_sets():
        assert f"`{name}` ({len(load_factors(name))} factors)" in PAGE
