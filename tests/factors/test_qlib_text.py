"""Writing in Qlib's language: what comes out reads back as the same factor, and gives the same numbers."""

import numpy as np
import pytest

from agent_market.errors import FactorError
from agent_market.factors import compute_factors, key, to_qlib
from agent_market.factors.operators import CALENDAR, CROSS_SECTION, ELEMENT_WISE, TIME_SERIES
from panels import random_candles

IMPOSSIBLE = {
    *CROSS_SECTION,
    *CALENDAR,
    "exp",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "ts_product",
    "kama",
    "adx",
    "psar",
    "mfi",
}


def call(name: str, operators: dict) -> str:
    numbers = {"window": "7", "lag": "3", "span": "6", "level": "0.3", "exponent": "2"}
    series = iter(("close / open", "volume", "high / low", "low"))
    arguments = [numbers.get(parameter) or next(series) for parameter in operators[name].parameters]
    return f"{name}({', '.join(arguments)})"


@pytest.mark.parametrize("name", sorted({*ELEMENT_WISE, *TIME_SERIES} - IMPOSSIBLE - {"decay_linear"}))
def test_each_operator_that_qlib_can_compute_has_the_same_values_when_read_back(name):
    text = call(name, ELEMENT_WISE | TIME_SERIES)
    candles = random_candles(1, 60)
    factors = {"here": text, "there": to_qlib(text)}
    values = compute_factors(candles, factors, timeframe="1h", check=False)
    np.testing.assert_allclose(values["there"], values["here"], rtol=1e-4, atol=1e-6)


def test_qlibs_linear_mean_is_multiplied_by_the_window_that_qlib_divides_by():
    assert to_qlib("decay_linear(close, 5)") == "(WMA($close,5)*5)"


@pytest.mark.parametrize("name", sorted(IMPOSSIBLE))
def test_what_qlib_has_no_operator_for_is_an_error(name):
    operators = ELEMENT_WISE | TIME_SERIES | CROSS_SECTION | CALENDAR
    with pytest.raises(FactorError, match="Qlib cannot compute"):
        to_qlib(call(name, operators) if operators[name].arity else name)


def test_qlibs_own_expressions_survive_the_way_there_and_back(shared_dir):
    for line in (shared_dir / "reference" / "alpha158.txt").read_text().splitlines():
        text = line.split("\t")[1]
        assert key(to_qlib(text)) == key(text)
