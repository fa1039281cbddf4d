"""Instructions of the processor beside what they mean, in exact arithmetic."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from numba import njit

from agent_market.trading.kernels import machine
from agent_market.trading.kernels.decimals import two_product


@njit
def _lowest(bits):
    return machine.lowest_bit(bits)


@njit
def _product(a, b):
    return two_product(a, b)


@njit
def _fetched(table, place):
    machine.fetch(table, place)
    return table.ravel()[place]


@njit(nogil=True)
def _claimed(counter, own):
    for place in range(own.size):
        own[place] = machine.claim(counter)


def test_a_product_and_what_it_lost_are_the_exact_product():
    rng = np.random.default_rng(0)
    lossy = 0
    for a, b in rng.lognormal(0, 10, (500, 2)):
        product, rest = _product(a, b)
        assert Fraction(product) + Fraction(rest) == Fraction(a) * Fraction(b)
        lossy += rest != 0.0
    assert lossy > 400  # or nothing was tested


@pytest.mark.parametrize("bit", range(64))
def test_the_lowest_bit_of_a_word(bit):
    low = np.uint64(1) << np.uint64(bit)
    above = (np.uint64(0xA5A5A5A5A5A5A5A5) << np.uint64(bit)) & ~(low - np.uint64(1)) | low
    assert _lowest(low.view("int64")) == bit
    assert _lowest(above.view("int64")) == bit


def test_fetching_changes_nothing():
    table = np.arange(12.0).reshape(3, 4)
    assert _fetched(table, 7) == 7.0
    np.testing.assert_array_equal(table, np.arange(12.0).reshape(3, 4))


def test_no_two_threads_claim_the_same():
    counter, shares = np.zeros(1, dtype="int64"), np.zeros((4, 200_000), dtype="int64")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda own: _claimed(counter, own), shares))
    assert counter[0] == shares.size
    np.testing.assert_array_equal(np.sort(shares.ravel()), np.arange(shares.size))
    assert (np.diff(shares) > 0).all()
