import numpy as np

from agent_market.trading.precision import price_decimals, rounded


def test_decimals_are_those_of_the_written_price():
    prices = [100.0, 0.1, 12.5, 1.23e-5, 64000.01, 0.1 + 0.2, 9.835000000000002e-05]
    assert price_decimals(np.array(prices)).tolist() == [0, 1, 1, 7, 2, 1, 8]


def test_what_is_no_price_has_no_decimals():
    assert price_decimals(np.array([[0.0, np.nan], [np.inf, 1.25]])).tolist() == [[0, 0], [0, 2]]


def test_columns_are_rounded_as_python_rounds():
    rng = np.random.default_rng(0)
    halves = (rng.integers(0, 10**12, 5000) * 2 + 1) / 2e8  # as near to half-way as floats come
    values = np.concatenate([halves, rng.uniform(-1e3, 1e3, 5000), [0.0, 1.123456785, 0.000000005, 1e20]])
    assert rounded(values, 8).tolist() == [round(value, 8) for value in values.tolist()]
