"""The arithmetic of pairs of floats beside that of freqtrade, ccxt and Python, on random numbers."""

from decimal import ROUND_DOWN, Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
from numba import njit

from agent_market.trading.kernels import decimals


def _callable(function, n_arguments):
    """The kernel as Python can call it: kernels themselves are for compiled callers only."""
    names = ", ".join(f"a{i}" for i in range(n_arguments))
    namespace = {"function": function}
    exec(f"def call({names}): return function({names})", namespace)
    return njit(namespace["call"])


decimal_tail = _callable(decimals.decimal_tail, 1)
value_of = _callable(decimals.value_of, 6)
rounded = _callable(decimals.rounded, 2)
to_multiple = _callable(decimals.to_multiple, 4)
to_stop = _callable(decimals.to_stop, 4)
cut_long = _callable(decimals.cut_long, 2)
divide = _callable(decimals.divide, 4)


def _numbers(n=3000, seed=0):
    """Prices and amounts of all sizes: with few decimals, with 16 or 17 digits, and next to those with few."""
    rng = np.random.default_rng(seed)
    plain = np.exp(rng.uniform(np.log(1e-8), np.log(1e7), n))
    short = np.array(
        [float(f"{number:.{digits}g}") for number, digits in zip(plain, rng.integers(1, 10, n), strict=True)]
    )
    return np.concatenate([plain, short, np.nextafter(short, np.inf), np.nextafter(short, 0)])


def _decimal(number):
    return Decimal(repr(float(number)))


def test_tail_completes_the_shortest_decimal():
    with localcontext(prec=60):
        for number in _numbers():
            missing = _decimal(number) - Decimal(float(number))
            assert decimal_tail(number) == pytest.approx(float(missing), rel=1e-12, abs=abs(number) * 1e-30)


def test_value_of_an_order_is_rounded_once():
    amounts, rates = _numbers(1000, 1), _numbers(1000, 2)
    with localcontext(prec=60):
        for fee in ("0.0", "0.0012", "0.00075"):
            factor = 1 + Decimal(fee)
            high, low = float(factor), float(factor - Decimal(float(factor)))
            for amount, rate in zip(amounts, rates, strict=True):
                value = value_of(amount, decimal_tail(amount), rate, decimal_tail(rate), high, low)
                assert value == float(_decimal(amount) * _decimal(rate) * factor)


@pytest.mark.parametrize("places", [8, 14])
def test_rounding_is_that_of_python(places):
    halves = (np.arange(-50, 50) * 2 + 1) / 2**10  # exactly half-way at the ninth decimal and before
    for number in np.concatenate([_numbers(), -_numbers(100), halves, [0.0, 1e300, 0.5e-8, 1.5e-8, 2.5e-8]]):
        assert rounded(number, places) == round(float(number), places)


STEPS = [(1.0, 2), (1.0, 8), (5.0, 3), (25.0, 2), (1.0, 0), (10.0, 0), (1.0, 12), (1.0, 18)]


@pytest.mark.parametrize(("unit", "places"), STEPS)
def test_prices_and_amounts_go_to_the_tick_where_freqtrade_puts_them(unit, places):
    from ccxt import ROUND_UP, TICK_SIZE
    from ccxt.base.decimal_to_precision import ROUND
    from ccxt.base.decimal_to_precision import ROUND_DOWN as DOWN
    from freqtrade.exchange import amount_to_precision, price_to_precision

    tick = float(Decimal(int(unit)).scaleb(-places))
    numbers = _numbers(300, places)
    ties = (np.arange(20) + 0.5) * tick
    with localcontext():  # ccxt changes the context
        for number in np.concatenate([numbers[numbers / tick < 1e11], ties]):
            number = float(number)
            assert to_multiple(number, unit, places, decimals.NEAREST) == price_to_precision(
                number, tick, TICK_SIZE, rounding_mode=ROUND
            )
            assert to_multiple(number, unit, places, decimals.DOWN) == amount_to_precision(number, tick, TICK_SIZE)
            for where, mode in ((decimals.UP, ROUND_UP), (decimals.DOWN, DOWN)):
                expected = price_to_precision(number, tick, TICK_SIZE, rounding_mode=mode)
                assert to_stop(number, unit, places, where) == expected


def test_long_quotients_are_cut_after_18_decimals():
    with localcontext(prec=60):
        for number in _numbers(300):
            for divisor in (10.0, 0.001, 3.0):
                quotient, tail = divide(number, decimal_tail(number), divisor, decimal_tail(divisor))
                exact = _decimal(number) / _decimal(divisor)
                assert cut_long(quotient, tail) == float(exact.quantize(Decimal("1e-18"), ROUND_DOWN))


def test_monthly_decimals_agree_with_the_ticks_of_freqtrade():
    from freqtrade.data.btanalysis.historic_precision import get_tick_size_over_time

    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-15", periods=150, freq="D", tz="UTC", unit="ms")
    places = dates.month.map({1: 0, 2: 3, 3: 0, 4: 5, 5: 11, 6: 2})
    prices = np.array([[round(price, p) for price in rng.uniform(1, 900, 4)] for p in places])
    theirs = get_tick_size_over_time(pd.DataFrame(prices, columns=["open", "high", "low", "close"]).assign(date=dates))
    month = (dates.month - 1).to_numpy().astype("int64")
    ours = np.zeros(6, dtype="int64")
    decimals.monthly_decimals(prices, 0, 149, month, ours)
    assert [1 / 10.0**n if n else np.nan for n in ours] == pytest.approx(theirs.tolist(), nan_ok=True, rel=0)
    assert ours.tolist() == [0, 3, 0, 5, 11, 2]
