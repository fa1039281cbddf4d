"""The page about factors says what the code does."""

import re
from pathlib import Path

import pytest

from agent_market.factors import canonical, factor_sets, load_factors
from agent_market.factors.dialects import ALIASES, CONDITION_OR_VALUE, WINDOW_OR_VALUE
from agent_market.factors.macros import FEATURES, MACROS
from agent_market.factors.operators import DERIVED_FIELDS, EMA_MEMORY, FIELDS, OPERATORS, Operator
from agent_market.factors.options import LIMITS

PAGE = (Path(__file__).parents[2] / "docs" / "factors.md").read_text(encoding="utf-8")


def row(operator: Operator) -> str:
    """The row that the page must have for an operator."""
    call = operator.name + (f"({', '.join(operator.parameters)})" if operator.arity else "")
    others = [f"{operator.symbol}x" if operator.arity == 1 else f"x {operator.symbol} y"] * bool(operator.symbol)
    others += sorted(alias for (alias, _), name in ALIASES.items() if name == operator.name)
    by_argument = (*WINDOW_OR_VALUE.items(), *CONDITION_OR_VALUE.items())
    others += [alias for alias, names in by_argument if operator.name in names]
    cells = f"`{call}`", operator.meaning, ", ".join(f"`{other}`" for other in others)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_its_row_in_the_page(name):
    assert row(OPERATORS[name]) in PAGE.splitlines()


def rows_below(*headings: str) -> list[list[str]]:
    """The cells of each row of the tables whose first column has one of these headings."""
    found, heading = [], ""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            heading = ""
        elif not heading:
            heading = cells[0]
        elif heading in headings and not set(line) <= set("|-"):
            found.append([cell.replace("\\|", "|") for cell in cells])
    return found


def test_every_row_of_the_page_is_an_operator_or_a_field():
    names = [re.match(r"`(\w+)", cells[0])[1] for cells in rows_below("operator", "field")]
    assert sorted(names) == sorted([*OPERATORS, *FIELDS, *DERIVED_FIELDS])


def test_the_page_lists_every_macro_and_every_type_with_its_formula():
    assert rows_below("name") == [[f"`{m.call}`", m.meaning, f"`{m.formula}`"] for m in MACROS.values()]
    assert rows_below("type") == [
        [kind, str(m.least) if m.arity else "–", m.meaning, f"`{m.formula}`"] for kind, m in FEATURES.items()
    ]


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
        (LIMITS.max_length, "characters"),
        (LIMITS.max_tokens, "words and signs"),
        (LIMITS.max_parts, "parts"),
        (LIMITS.max_levels, "levels"),
        (LIMITS.max_window, "candles in a window, lag or span"),
        (LIMITS.max_look_back, "candles of look-back"),
    ):
        assert f"{number} {what}" in PAGE
    assert f"{EMA_MEMORY} × span" in PAGE
    for name in factor_sets():
        assert f"`{name}` ({len(load_factors(name))} factors)" in PAGE
