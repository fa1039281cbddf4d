"""The tasks of the machine: each is compiled apart, for one set of rules, when a program first needs it.

All have the same arguments, so that the machine calls them by address: a program with sums alone does not wait for the
compiler to make ranks, and what is compiled already is not taken apart and optimised once more with its caller.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

from agent_market.factors.kernels.comoments import comoments
from agent_market.factors.kernels.compiling import COMPILE, QLIB, TASK, part, piece, row, source_digest
from agent_market.factors.kernels.elements import element, to_float32
from agent_market.factors.kernels.exponential import exponential_means
from agent_market.factors.kernels.extremes import extremes
from agent_market.factors.kernels.long_order import long_order_statistics
from agent_market.factors.kernels.moments import moments
from agent_market.factors.kernels.order import mean_absolute_deviations, order_statistics
from agent_market.factors.kernels.partial import partial_comoments, partial_moments
from agent_market.factors.kernels.shapes import products, shapes

_SERIES = types.Array(types.float64, 1, "C")
_NUMBERS = types.Array(types.int64, 1, "C")
_REGISTERS = types.Array(types.float64, 2, "C")
_SCRATCH = types.Array(types.float64, 3, "C")
ARGUMENTS = (_NUMBERS, _REGISTERS, _SERIES, _NUMBERS, _SCRATCH, types.int64, types.int64)
"""Of every task: its row of the program, registers, literals, tables, scratch, rows of the block, and whether the block
begins its stretch (1) or not (0)."""


def _element(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        x, y, z = part(registers, step[3], 0, n), part(registers, step[4], 0, n), part(registers, step[5], 0, n)
        element(step[1], x, y, z, literals[step[6]], part(registers, step[2], 0, n))
        return done

    return task


def _float32(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        to_float32(part(registers, step[2], 0, n))
        return done

    return task


def _lag(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        x, out, lag = part(registers, step[3], 0, n), part(registers, step[2], 0, n), step[1]
        for i in range(n):
            out[i] = np.nan
        for i in range(max(lag, 0), min(n + lag, n)):
            out[i] = x[i - lag]
        return done

    return task


def _moments(rules, done):
    is_qlib = rules == QLIB

    def task(step, registers, literals, tables, scratch, n, at_start):
        x, steps = part(registers, step[3], 0, n), _steps(step, tables)
        has_missing = moments(x, registers, steps, scratch, rules)
        if is_qlib and (has_missing or at_start):
            rows = n if has_missing else min(n, steps[steps.shape[0] - 1, 0])
            partial_moments(piece(x, 0, rows), registers, steps, scratch)
        return done

    return task


def _comoments(rules, done):
    is_qlib = rules == QLIB

    def task(step, registers, literals, tables, scratch, n, at_start):
        x, y, steps = part(registers, step[3], 0, n), part(registers, step[4], 0, n), _steps(step, tables)
        has_missing = comoments(x, y, registers, steps, scratch, rules)
        if is_qlib and (has_missing or at_start):
            rows = n if has_missing else min(n, steps[steps.shape[0] - 1, 0])
            partial_comoments(piece(x, 0, rows), piece(y, 0, rows), registers, steps, scratch)
        return done

    return task


def _shapes(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        shapes(part(registers, step[3], 0, n), registers, _steps(step, tables), scratch, rules)
        return done

    return task


def _products(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        products(part(registers, step[3], 0, n), registers, _steps(step, tables), scratch)
        return done

    return task


def _largest(rules, done):
    return _extremes(1.0, rules, done)


def _smallest(rules, done):
    return _extremes(-1.0, rules, done)


def _extremes(sign, rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        extremes(part(registers, step[3], 0, n), registers, _steps(step, tables), scratch, sign, rules)
        return done

    return task


def _order(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        levels = piece(literals, step[6], step[6] + step[9] - 2)
        order_statistics(part(registers, step[3], 0, n), registers, _steps(step, tables), levels, rules)
        return done

    return task


def _long_order(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        levels = piece(literals, step[6], step[6] + step[9] - 2)
        long_order_statistics(part(registers, step[3], 0, n), registers, _steps(step, tables), levels, rules)
        return done

    return task


def _deviation(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        mean_absolute_deviations(part(registers, step[3], 0, n), registers, _steps(step, tables), rules)
        return done

    return task


def _exponential(rules, done):
    def task(step, registers, literals, tables, scratch, n, at_start):
        steps = _steps(step, tables)
        exponential_means(part(registers, step[3], 0, n), row(registers, step[2]), steps, step[1], scratch, rules)
        return done

    return task


@njit(**COMPILE)
def _steps(step, tables):
    first, n_steps, n_columns = step[7], step[8], step[9]
    return piece(tables, first, first + n_steps * n_columns).reshape((n_steps, n_columns))


_TASKS: dict[str, Callable] = {
    "element": _element, "float32": _float32, "lag": _lag, "moments": _moments, "comoments": _comoments,
    "shapes": _shapes, "products": _products, "largest": _largest, "smallest": _smallest, "order": _order,
    "long_order": _long_order, "deviation": _deviation, "exponential": _exponential,
}  # fmt: skip
INSTRUCTIONS = (*_TASKS, "load", "store", "keep")
"""What a program can say; the last three move series between the registers and the tables around the machine."""


DONE = source_digest()
"""What a task returns when it has done its work; one whose memory ran out returns something else. The digest makes a
task compile anew when a source file of the kernels has changed: numba's cache knows what a function closes over, not
what it calls."""


@lru_cache
def compiled(name: str, rules: int):
    """A task for one set of rules, compiled now or taken from numba's cache."""
    return cfunc(types.int64(*ARGUMENTS), **TASK)(_TASKS[name](rules, DONE))


def addresses(instructions: Iterable[int], rules: int) -> np.ndarray:
    """Where the machine finds the tasks of a program, (n_instructions,): 0 for what the program does not have."""
    found = np.zeros(len(INSTRUCTIONS), np.int64)
    for code in instructions:
        if INSTRUCTIONS[code] in _TASKS:
            found[code] = compiled(INSTRUCTIONS[code], rules).address
    return found


@intrinsic
def call(typing_context, address, step, registers, literals, tables, scratch, n, at_start):
    """Call the task at an address."""
    given = types.int64(address, step, registers, literals, tables, scratch, n, at_start)

    def lower(context, builder, signature, arguments):
        kinds = [context.get_value_type(kind) for kind in ARGUMENTS]
        function = ir.FunctionType(context.get_value_type(types.int64), kinds)
        return builder.call(builder.inttoptr(arguments[0], function.as_pointer()), arguments[1:])

    return given, lower
