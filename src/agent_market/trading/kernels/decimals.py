"""freqtrade's decimal arithmetic without decimals: exact products and quotients of pairs of floats.

freqtrade multiplies prices, amounts and fees as decimal numbers (ccxt's `Precise`: each float stands for the shortest
decimal that reads back as it) and rounds the result once, to a float. Here such a decimal is an unevaluated sum of two
floats, which holds about 32 digits. Dekker, "A floating-point technique for extending the available precision" (1971),
and Shewchuk, "Adaptive precision floating-point arithmetic" (1997), give the error-free steps.
"""

import math

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import ENTRY, INNER
from agent_market.trading.kernels.machine import lost

UP, NEAREST, DOWN = map(np.int64, (1, 0, -1))  # typed: numba compiles one variant per literal number
"""Where a price or an amount between two ticks goes; halves go up."""

POWERS = 61
POWER = np.array([float(10**k) for k in range(POWERS)])
POWER_TAIL = np.array([float(10**k - int(float(10**k))) for k in range(POWERS)])
EXACT_POWERS = 22  # 10**22 is the largest power of ten that a float holds exactly
SHORT_POWER = np.array(
    [POWER[min(max(math.floor(15.0 - 0.30103 * (bits - 1022)), 0), EXACT_POWERS)] for bits in range(2048)]
)
"""For the exponent of each float the power of ten that makes it a number of 15 digits, as far as one exists."""
SHORT_STEP = 1.0 / SHORT_POWER
EXACT_INTEGERS = 2.0**53
MONEY_DIGITS, STOP_DIGITS = map(np.int64, (8, 14))  # to which profits are rounded and stops cut
LONG_DIGITS = 18  # decimals that ccxt's division keeps
SIGNIFICANT_DIGITS = 14  # how far freqtrade reads a price to derive ticks (`data/btanalysis/historic_precision.py`)


@njit(**INNER)
def two_product(a, b):
    """The product as a float and what rounding it lost."""
    product = a * b
    return product, lost(a, b, product)


@njit(**INNER)
def multiply(a, a_tail, b, b_tail):
    """(a + a_tail) (b + b_tail) as a float and its tail."""
    product, lost = two_product(a, b)
    lost += a * b_tail + a_tail * b
    total = product + lost
    return total, lost - (total - product)


@njit(**INNER)
def divide(a, a_tail, b, b_tail):
    """(a + a_tail) / (b + b_tail) as a float and its tail."""
    quotient = a / b
    product, lost = two_product(quotient, b)
    rest = (((a - product) - lost) + a_tail) - quotient * b_tail
    correction = rest / b
    total = quotient + correction
    return total, correction - (total - quotient)


@njit(**INNER)
def decimal_tail(number):
    """What the shortest decimal that reads back as this float has more than the float; from 1e-40 to 1e15."""
    if number == 0.0 or number >= 1e15:
        return 0.0
    exponent = (np.float64(number).view(np.int64) >> 52) & 2047
    product, lost = two_product(number, SHORT_POWER[exponent])
    tail = ((np.rint(product) - product) - lost) * SHORT_STEP[exponent]
    if number + tail == number:  # at most 15 digits: what a price usually is
        return tail
    return _long_decimal_tail(number)


@njit(**INNER)
def _long_decimal_tail(number):
    """`decimal_tail` of a number that needs 16 or 17 digits."""
    leading = math.floor(math.log10(number))
    tail = 0.0
    for places in range(14 - leading, 18 - leading):  # one more on either side, should the logarithm be rounded
        power, power_tail = POWER[places], POWER_TAIL[places]
        scaled, scaled_tail = multiply(number, 0.0, power, power_tail)
        whole = math.floor(scaled)
        digits = np.int64(whole) + np.int64(math.floor((scaled - whole) + scaled_tail + 0.5))
        high = np.float64(digits)
        quotient, tail = divide(high, np.float64(digits - np.int64(high)), power, power_tail)
        if quotient == number:
            return tail
    return tail


@njit(**INNER)
def value_of(amount, amount_tail, rate, rate_tail, factor, factor_tail):
    """amount * rate * factor as decimals, rounded to a float: what an order is worth, fee included."""
    value, tail = multiply(amount, amount_tail, rate, rate_tail)
    return multiply(value, tail, factor, factor_tail)[0]


@njit(**INNER)
def rounded(number, places):
    """Python's `round(number, places)`: the float nearest to the decimal nearest to the number."""
    power = POWER[places]
    scaled, lost = two_product(number, power)
    return number if abs(scaled) >= EXACT_INTEGERS else _nearest(scaled, lost) / power


@njit(**INNER)
def _nearest(number, tail):
    """The whole number nearest to number + tail, of two the even one."""
    whole = np.rint(number)
    if number - whole == 0.5 and tail > 0.0:
        return whole + 1.0
    if number - whole == -0.5 and tail < 0.0:
        return whole - 1.0
    return whole


@njit(**INNER)
def to_multiple(number, unit, places, where):
    """The multiple of unit / 10**places above (UP), nearest to (NEAREST) or below (DOWN) a number not below 0."""
    count = number * POWER[places]
    if unit != 1.0:  # it nearly always is 1, and dividing takes long
        count /= unit
    whole = np.rint(count)
    rest = count - whole
    doubt = count * 1e-15
    if abs(rest) <= doubt or abs(rest) >= 0.5 - doubt:  # near a multiple, or half-way: only the exact decimal tells
        if places <= EXACT_POWERS and whole * unit < 1e15 and whole * unit / POWER[places] == number:
            return number  # the multiple has 15 digits at most: it is the decimal that reads back as the number
        count, count_tail = multiply(number, decimal_tail(number), POWER[places], POWER_TAIL[places])
        if unit != 1.0:
            count, count_tail = divide(count, count_tail, unit, 0.0)
        whole = np.rint(count)
        rest = (count - whole) + count_tail
        if abs(rest) <= count * 1e-24:  # rounding of the arithmetic itself: the number is a multiple
            rest = 0.0
    if where == UP:
        whole += 1.0 if rest > 0.0 else 0.0
    elif where == DOWN:
        whole -= 1.0 if rest < 0.0 else 0.0
    elif rest >= 0.5:
        whole += 1.0
    elif rest < -0.5:
        whole -= 1.0
    if places <= EXACT_POWERS:
        return whole * unit / POWER[places]
    return divide(whole * unit, 0.0, POWER[places], POWER_TAIL[places])[0]


@njit(**INNER)
def to_stop(number, unit, places, where):
    """A stop at the tick above or below, which freqtrade cuts off after 14 decimals."""
    stop = to_multiple(number, unit, places, where)
    return rounded(stop, STOP_DIGITS) if places > STOP_DIGITS and stop != number else stop


@njit(**INNER)
def cut_long(number, number_tail):
    """A positive decimal cut off after 18 places, as ccxt's division leaves it, rounded to a float."""
    power, power_tail = POWER[LONG_DIGITS], POWER_TAIL[LONG_DIGITS]
    count, count_tail = multiply(number, number_tail, power, power_tail)
    whole = np.floor(count)
    rest = np.floor((count - whole) + count_tail + (count * 1e-28 + 1e-12))  # the arithmetic's own rounding added
    return divide(whole, rest, power, power_tail)[0]


@njit(**ENTRY)
def decimals_of_each(prices, decimals):
    """How many decimals each price uses: int64 into `decimals`, 0 for what is no price."""
    for row in range(prices.size):
        price = prices[row]
        decimals[row] = _decimals(price, 0) if 0.0 < price < np.inf else 0


@njit(**ENTRY)
def monthly_decimals(candles, first, last, month, decimals):
    """The most decimals that the four prices of a pair use in each month: int64 into `decimals`."""
    for row in range(first, last + 1):
        most = decimals[month[row]]
        for column in range(4):
            most = max(most, _decimals(candles[row, column], most))
        decimals[month[row]] = most


@njit(**INNER)
def _decimals(price, least):
    """The decimals of a price, or `least` if it has no more than that."""
    places = min(SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(price)), EXACT_POWERS)
    if places <= least:
        return least
    scaled, lost = two_product(price, POWER[places])
    digits = np.int64(_nearest(scaled, lost))
    if digits % np.int64(POWER[min(places - least, 18)]) == 0:
        return least
    while digits % 10 == 0:
        digits //= 10
        places -= 1
    return places
