import numpy as np

from agent_market.trading.precision import price_decimals


def test_decimals_are_those_of_the_written_price():
    prices = [100.0, 0.1, 12.5, 1.23e-5, 64000.01, 0.1 + 0.2, 9.835000000000002e-05]
    assert price_decimals(np.array(prices)).tolist() == [0, 1, 1, 7, 2, 1, 8]


def test_what_is_no_price_has_no_decimals():
    assert price_decimals(np.array([[0.0, np.nan], [np.inf, 1.25]])).tolist() == [[0, 0], [0, 2]]
