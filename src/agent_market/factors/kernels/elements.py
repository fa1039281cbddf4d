"""Element-wise operators: each value from the values of the same candle.

There are no `+ 1e-12` guards, which would depend on the price's unit: a difference at the rounding level of its
operands is exactly 0 (`add`, `sub`), and a quotient by 0 is NaN. The operators of `RAW` follow numpy instead, as
Qlib does: infinities stay, and a comparison with NaN is false.
"""

import math

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, INLINED, ROUNDING

_NAMES = """
add sub mul div neg abs sign log slog1p exp sqrt sin cos tanh sigmoid pow signedpower maximum minimum clip where known
gt ge lt le eq ne and or not
raw_add raw_sub raw_mul raw_div raw_log raw_exp raw_pow raw_where raw_gt raw_ge raw_lt raw_le raw_eq raw_ne
raw_and raw_or raw_not
"""
OPCODES = {name: code for code, name in enumerate(_NAMES.split())}
RAW = frozenset(name.removeprefix("raw_") for name in OPCODES if name.startswith("raw_"))

(
    _ADD, _SUB, _MUL, _DIV, _NEG, _ABS, _SIGN, _LOG, _SLOG1P, _EXP, _SQRT, _SIN, _COS, _TANH, _SIGMOID, _POW,
    _SIGNEDPOWER, _MAXIMUM, _MINIMUM, _CLIP, _WHERE, _KNOWN, _GT, _GE, _LT, _LE, _EQ, _NE, _AND, _OR, _NOT,
    _RAW_ADD, _RAW_SUB, _RAW_MUL, _RAW_DIV, _RAW_LOG, _RAW_EXP, _RAW_POW, _RAW_WHERE, _RAW_GT, _RAW_GE, _RAW_LT,
    _RAW_LE, _RAW_EQ, _RAW_NE, _RAW_AND, _RAW_OR, _RAW_NOT,
) = range(len(OPCODES))  # fmt: skip


@njit(**COMPILE)
def total(x, y):
    """The sum of two numbers; exactly 0 if it is at their rounding level."""
    largest = abs(x) if abs(x) > abs(y) else abs(y)
    return 0.0 if abs(x + y) <= ROUNDING * largest else x + y


@njit(**COMPILE)
def difference(x, y):
    """The difference of two numbers; exactly 0 if it is at their rounding level."""
    return total(x, -y)


@njit(**COMPILE)
def finite(x):
    """The number, NaN if it is infinite."""
    return x if abs(x) < np.inf else np.nan


@njit(**COMPILE)
def larger(x, y):
    """The larger of two numbers, NaN if one is."""
    return x if x >= y or x != x else y


@njit(**COMPILE)
def smaller(x, y):
    """The smaller of two numbers, NaN if one is."""
    return x if x <= y or x != x else y


@njit(**INLINED)
def element(code, x, y, z, literal, out):
    """Apply one operator to up to three series and a literal number; `out` may be one of them."""
    n = out.size
    if code >= _RAW_ADD:
        _raw(code, x, y, z, literal, out)
    elif code >= _MAXIMUM:
        _choice(code, x, y, z, out)
    elif code >= _NEG:
        _function(code, x, literal, out)
    elif code == _ADD:
        for i in range(n):
            out[i] = finite(total(x[i], y[i]))
    elif code == _SUB:
        for i in range(n):
            out[i] = finite(difference(x[i], y[i]))
    elif code == _MUL:
        for i in range(n):
            out[i] = finite(x[i] * y[i])
    elif code == _DIV:
        for i in range(n):
            out[i] = finite(x[i] / y[i])


@njit(**COMPILE)
def _function(code, x, literal, out):
    n = out.size
    if code == _NEG:
        for i in range(n):
            out[i] = -x[i]
    elif code == _ABS:
        for i in range(n):
            out[i] = abs(x[i])
    elif code == _SIGN:
        for i in range(n):
            out[i] = 1.0 if x[i] > 0.0 else (-1.0 if x[i] < 0.0 else x[i])
    elif code == _LOG:
        for i in range(n):
            out[i] = finite(math.log(x[i])) if x[i] > 0.0 else np.nan
    elif code == _SLOG1P:
        for i in range(n):
            out[i] = math.copysign(math.log1p(abs(x[i])), x[i])
    elif code == _EXP:
        for i in range(n):
            out[i] = finite(math.exp(x[i]))
    elif code == _SQRT:
        for i in range(n):
            out[i] = math.sqrt(x[i])
    elif code == _SIN:
        for i in range(n):
            out[i] = math.sin(x[i])
    elif code == _COS:
        for i in range(n):
            out[i] = math.cos(x[i])
    elif code == _TANH:
        for i in range(n):
            out[i] = math.tanh(x[i])
    elif code == _SIGMOID:
        for i in range(n):
            out[i] = 0.5 * (1.0 + math.tanh(0.5 * x[i]))
    elif code == _POW:
        for i in range(n):
            out[i] = finite(x[i] ** literal)
    elif code == _SIGNEDPOWER:
        for i in range(n):
            out[i] = finite(math.copysign(abs(x[i]) ** literal, x[i])) if x[i] != 0.0 else finite(0.0**literal) * 0.0


@njit(**COMPILE)
def _choice(code, x, y, z, out):
    n = out.size
    if code == _MAXIMUM:
        for i in range(n):
            out[i] = larger(x[i], y[i])
    elif code == _MINIMUM:
        for i in range(n):
            out[i] = smaller(x[i], y[i])
    elif code == _CLIP:
        for i in range(n):
            out[i] = smaller(larger(x[i], y[i]), z[i])
    elif code == _WHERE:
        for i in range(n):
            chosen = y[i] if x[i] != 0.0 else z[i]
            out[i] = np.nan if x[i] != x[i] else chosen
    elif code == _KNOWN:
        for i in range(n):
            out[i] = 1.0 if x[i] == x[i] else 0.0
    else:
        for i in range(n):
            out[i] = np.nan if x[i] != x[i] or y[i] != y[i] else _holds(code, x[i], y[i])


@njit(**COMPILE)
def _holds(code, x, y):
    if code == _GT:
        return 1.0 if x > y else 0.0
    if code == _GE:
        return 1.0 if x >= y else 0.0
    if code == _LT:
        return 1.0 if x < y else 0.0
    if code == _LE:
        return 1.0 if x <= y else 0.0
    if code == _EQ:
        return 1.0 if x == y else 0.0
    if code == _NE:
        return 1.0 if x != y else 0.0
    if code == _AND:
        return 1.0 if x != 0.0 and y != 0.0 else 0.0
    if code == _OR:
        return 1.0 if x != 0.0 or y != 0.0 else 0.0
    return 1.0 if x == 0.0 else 0.0


@njit(**COMPILE)
def _raw(code, x, y, z, literal, out):
    n = out.size
    if code == _RAW_ADD:
        for i in range(n):
            out[i] = x[i] + y[i]
    elif code == _RAW_SUB:
        for i in range(n):
            out[i] = x[i] - y[i]
    elif code == _RAW_MUL:
        for i in range(n):
            out[i] = x[i] * y[i]
    elif code == _RAW_DIV:
        for i in range(n):
            out[i] = x[i] / y[i]
    elif code == _RAW_LOG:
        for i in range(n):
            logarithm = math.log(x[i]) if x[i] > 0.0 else np.nan
            out[i] = -np.inf if x[i] == 0.0 else logarithm
    elif code == _RAW_EXP:
        for i in range(n):
            out[i] = math.exp(x[i])
    elif code == _RAW_POW:
        for i in range(n):
            out[i] = x[i] ** literal
    elif code == _RAW_WHERE:
        for i in range(n):
            out[i] = y[i] if x[i] != 0.0 else z[i]
    else:
        for i in range(n):
            out[i] = _holds(code - _RAW_GT + _GT, x[i], y[i])


@njit(**COMPILE)
def to_float32(x):
    """Round to the float32 that a step of Qlib would give."""
    for i in range(x.size):
        x[i] = np.float64(np.float32(x[i]))
