"""Checks before computing: units, constants, and what strictness refuses."""

import pytest

from agent_market.errors import FactorError
from agent_market.factors import check, factor_sets, load_factors
from agent_market.factors.checks import ALIKE, COMPOSED, PURE_ARGUMENT, PURE_RESULT, SAME
from agent_market.factors.operators import OPERATORS


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("close", "price"),
        ("volume", "volume"),
        ("close / open", ""),
        ("close * volume", "price volume"),
        ("close / volume", "price volume^-1"),
        ("ts_var(close, 5)", "price^2"),
        ("sqrt(close * open)", "price"),
        ("ts_cov(close, volume, 5) / ts_var(volume, 5)", "price volume^-1"),
        ("ts_beta(close, volume, 5)", "price volume^-1"),
        ("ts_mean(delta(close, 1), 5)", "price"),
        ("ts_product(close, 3)", "price^3"),
        ("slope(close, 5) / close", ""),
        ("cs_zscore(close)", ""),
        ("close > open", ""),
        ("hour", ""),
        ("2 * close", "price"),
        ("maximum(delta(close, 1), 0)", "price"),
        ("kama(close, 5)", "price"),
        ("signedpower(volume, 2)", "volume^2"),
        ("where(close > open, volume, 0)", "volume"),
    ],
)
def test_a_factor_has_the_unit_of_what_it_is_made_of(text, unit):
    assert check(text).unit == unit


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("close - open", "the result is in units of price", 7),
        ("close / open + volume / close", r"the result is in units of|add mixes", 14),
        ("(close + volume) / close", "add mixes price and volume", 8),
        ("returns + (close > open ? close : volume) / close", "where mixes price and volume", 25),
        ("close / open - tanh(close)", "tanh of a value in units of price", 16),
        ("(close - 1) / close", "add of price and the number -1 depends on the unit", 8),
        ("close > 50000 ? 1 : returns", "gt of price and the number 50000", 7),
        ("clip(delta(close, 1), -1, 1) / close", "clip of price and the number -1", 1),
    ],
)
def test_what_depends_on_the_unit_is_a_warning_with_its_place_and_an_error_if_strict(text, message, place):
    warnings = check(text).warnings
    assert any(f"(at character {place})" in warning for warning in warnings), warnings
    with pytest.raises(FactorError, match=message):
        check(text, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "(close - open) / (high - low + 1e-12)",
        "ts_corr(close, volume, 9)",
        "maximum(delta(close, 1), 0) / close",
        "close > open ? returns : 0",
        "delta(log(close), 1)",
        "where(volume > 0, returns, 0)",
    ],
)
def test_guards_zeros_and_ratios_are_free_of_units(text):
    assert check(text, strict=True).warnings == ()


@pytest.mark.parametrize(
    "text", ["close / close", "sign(abs(close - open))", "close - close", "volume / (volume + 1e-12)"]
)
def test_a_constant_is_an_error_that_names_its_value(text):
    with pytest.raises(FactorError, match=r"the result is constant \(-?[01]\) wherever it is defined"):
        check(text)


def test_every_operator_has_a_rule_for_its_unit():
    rules = [set(SAME), set(PURE_RESULT), set(PURE_ARGUMENT), set(ALIKE), set(COMPOSED)]
    assert set().union(*rules) == set(OPERATORS)
    assert sum(map(len, rules)) == len(OPERATORS)


@pytest.mark.parametrize("name", ["basic", "single_pair", "indicators"])
def test_the_packaged_sets_are_free_of_units(name):
    assert name in factor_sets()
    for text in load_factors(name).values():
        check(text, strict=True)


def test_what_is_known_of_a_factor_comes_in_one_object():
    found = check("Ref($close, 5) / ema(close, 10)")
    assert found.canonical == "delay(close, 5) / ema(close, 10)"
    assert (found.look_back, found.unit, found.is_recursive, found.notes) == (80, "", True, ())
    assert not check("ts_mean(returns, 5)").is_recursive


def test_the_limits_are_options():
    from agent_market.factors import ExpressionOptions

    with pytest.raises(FactorError, match="at most 3 levels deep"):
        check("ts_mean(abs(returns), 5)", limits=ExpressionOptions(max_levels=3))
    with pytest.raises(FactorError, match="from 1 to 10 candles, found 20"):
        check("ts_mean(returns, 20)", limits=ExpressionOptions(max_window=10))
    assert check("ts_mean(returns, 1500)", limits=ExpressionOptions(max_window=1500)).look_back == 1501
