"""Element-wise operators: each value from the values of the same candle; NaN in, NaN out.

There are no `+ 1e-12` guards, which would depend on the price's unit: a difference at the rounding level of
its operands is exactly 0 (`add`, `sub`), and a quotient by 0 is NaN.
"""

# ruff: noqa: D103 (what each operator means stands in operators.py)

import numpy as np

ROUNDING = 4 * np.finfo(np.float64).eps
"""Changes below this fraction of a value are rounding, not movement."""

Values = np.ndarray | float


def add(x: Values, y: Values) -> Values:
    total = x + y
    return np.where(np.abs(total) <= ROUNDING * np.maximum(np.abs(x), np.abs(y)), 0.0, total)


def sub(x: Values, y: Values) -> Values:
    return add(x, -y)


def mul(x: Values, y: Values) -> Values:
    return x * y


def div(x: Values, y: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _finite(np.divide(x, y))


def neg(x: Values) -> Values:
    return -x


def sign(x: Values) -> Values:
    return np.sign(x)


def log(x: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _finite(np.log(x))


def slog1p(x: Values) -> Values:
    return np.sign(x) * np.log1p(np.abs(x))


def exp(x: Values) -> Values:
    with np.errstate(over="ignore"):
        return _finite(np.exp(x))


def sqrt(x: Values) -> Values:
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


def sin(x: Values) -> Values:
    return np.sin(x)


def cos(x: Values) -> Values:
    return np.cos(x)


def tanh(x: Values) -> Values:
    return np.tanh(x)


def sigmoid(x: Values) -> Values:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def pow(x: Values, exponent: float) -> Values:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _finite(np.power(x, float(exponent)))


def signedpower(x: Values, exponent: float) -> Values:
    return np.sign(x) * pow(np.abs(x), exponent)


def maximum(x: Values, y: Values) -> Values:
    return np.maximum(x, y)


def minimum(x: Values, y: Values) -> Values:
    return np.minimum(x, y)


def clip(x: Values, low: Values, high: Values) -> Values:
    return np.minimum(np.maximum(x, low), high)


def where(condition: Values, x: Values, y: Values) -> Values:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, x, y))


def gt(x: Values, y: Values) -> Values:
    return _truth(x > y, x, y)


def ge(x: Values, y: Values) -> Values:
    return _truth(x >= y, x, y)


def lt(x: Values, y: Values) -> Values:
    return _truth(x < y, x, y)


def le(x: Values, y: Values) -> Values:
    return _truth(x <= y, x, y)


def eq(x: Values, y: Values) -> Values:
    return _truth(x == y, x, y)


def ne(x: Values, y: Values) -> Values:
    return _truth(x != y, x, y)


def and_(x: Values, y: Values) -> Values:
    return _truth((x != 0) & (y != 0), x, y)


def or_(x: Values, y: Values) -> Values:
    return _truth((x != 0) | (y != 0), x, y)


def not_(x: Values) -> Values:
    return _truth(x == 0, x)


def abs(x: Values) -> Values:
    return np.abs(x)


def _truth(condition: Values, *operands: Values) -> Values:
    """1 or 0, and NaN where one of the operands is NaN."""
    unknown = np.isnan(operands[0])
    for operand in operands[1:]:
        unknown = unknown | np.isnan(operand)
    return np.where(unknown, np.nan, condition)


def _finite(values: Values) -> Values:
    return np.where(np.isfinite(values), values, np.nan)
