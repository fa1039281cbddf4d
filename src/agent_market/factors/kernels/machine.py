"""Runs a whole program of factors over blocks of rows, without returning to Python in between.

A block is a stretch of rows of one pair, with as many rows before it as the longest look-back. All intermediate series
of a block stay in the processor's cache. The function holds no lock of Python, so that threads run side by side.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.comoments import comoments
from agent_market.factors.kernels.compiling import COMPILE, ENTRY, QLIB, SANE, copy, fill, source_digest
from agent_market.factors.kernels.elements import element, to_float32
from agent_market.factors.kernels.exponential import exponential_means
from agent_market.factors.kernels.extremes import extremes
from agent_market.factors.kernels.moments import moments
from agent_market.factors.kernels.order import mean_absolute_deviations, order_statistics
from agent_market.factors.kernels.partial import partial_comoments, partial_moments
from agent_market.factors.kernels.shapes import products, shapes

INSTRUCTIONS = (
    "element", "float32", "load", "store", "keep", "lag",
    "moments", "comoments", "shapes", "products", "largest", "smallest", "order", "deviation", "exponential",
)  # fmt: skip
(
    _ELEMENT, _FLOAT32, _LOAD, _STORE, _KEEP, _LAG,
    _MOMENTS, _COMOMENTS, _SHAPES, _PRODUCTS, _LARGEST, _SMALLEST, _ORDER, _DEVIATION, _EXPONENTIAL,
) = range(len(INSTRUCTIONS))  # fmt: skip

SCRATCH = 9
"""Quantities that a kernel keeps per slot."""


def _compiled(rules: int, version: int):
    """The machine for one set of rules: what only the other one needs is not compiled with it."""
    is_qlib = rules == QLIB

    @njit(**ENTRY)
    def run(program, constants, literals, tables, inputs, kept, features, blocks, places, registers, scratch):
        """Compute the rows of `blocks`: float32 into `features`, float64 into `kept`, both (n_series, n_rows).

        `program` has rows of (instruction, code, result, x, y, z, place in `literals`, place, rows and columns in
        `tables`); `constants` fill the first registers; `blocks` has rows of (first row to read, first row to
        write, row to stop at, 1 if the stretch begins with the first row to read); `places` says at which row of
        `features` a row goes (-1: nowhere), and is empty if rows stay where they are; `registers` (n_registers,
        rows of the longest block) and `scratch` (SCRATCH, n_slots, the same) are room to work in.
        """
        for k in range(constants.size if version else 0):  # `version` is there for the cache's key
            fill(registers[k], constants[k])
        for block in range(blocks.shape[0]):
            begin, first, stop = blocks[block, 0], blocks[block, 1], blocks[block, 2]
            at_start = blocks[block, 3] == 1
            n = stop - begin
            for row in range(program.shape[0]):
                task, code, result = program[row, 0], program[row, 1], program[row, 2]
                x = registers[program[row, 3], :n]
                y = registers[program[row, 4], :n]
                literal = program[row, 6]
                table, n_steps, n_columns = program[row, 7], program[row, 8], program[row, 9]
                steps = tables[table : table + n_steps * n_columns].reshape((n_steps, n_columns))
                if task == _ELEMENT:
                    z = registers[program[row, 5], :n]
                    element(code, x, y, z, literals[literal], registers[result, :n])
                elif task == _STORE:
                    _store(x[first - begin :], features[code], first, places, rules)
                elif task == _MOMENTS:
                    has_missing = moments(x, registers, steps, scratch, rules)
                    if is_qlib and (has_missing or at_start):
                        rows = n if has_missing else min(n, steps[n_steps - 1, 0])
                        partial_moments(x[:rows], registers, steps, scratch)
                elif task == _COMOMENTS:
                    has_missing = comoments(x, y, registers, steps, scratch, rules)
                    if is_qlib and (has_missing or at_start):
                        rows = n if has_missing else min(n, steps[n_steps - 1, 0])
                        partial_comoments(x[:rows], y[:rows], registers, steps, scratch)
                elif task == _LARGEST:
                    extremes(x, registers, steps, scratch, 1.0, rules)
                elif task == _SMALLEST:
                    extremes(x, registers, steps, scratch, -1.0, rules)
                elif task == _ORDER:
                    order_statistics(x, registers, steps, literals[literal : literal + n_columns - 2], rules)
                elif task == _LAG:
                    _lag(x, code, registers[result, :n])
                elif task == _FLOAT32:
                    to_float32(registers[result, :n])
                elif task == _LOAD:
                    _load(inputs[code, begin:stop], registers[result, :n], rules)
                elif task == _KEEP:
                    copy(x[first - begin :], kept[code, first:stop])
                elif task == _SHAPES:
                    shapes(x, registers, steps, scratch, rules)
                elif task == _PRODUCTS:
                    products(x, registers, steps, scratch)
                elif task == _DEVIATION:
                    mean_absolute_deviations(x, registers, steps, rules)
                elif task == _EXPONENTIAL:
                    exponential_means(x, registers[result], steps, code, scratch, rules)

    return run


@njit(**COMPILE)
def _load(x, out, rules):
    """Read an input: the sane rules know no infinity."""
    for i in range(x.size):
        out[i] = x[i] if abs(x[i]) < np.inf or rules != SANE else np.nan


@njit(**COMPILE)
def _lag(x, lag, out):
    n = x.size
    for i in range(n):
        out[i] = np.nan
    for i in range(max(lag, 0), min(n + lag, n)):
        out[i] = x[i - lag]


@njit(**COMPILE)
def _store(x, out, first, places, rules):
    """Write a factor as float32; a float32 overflow is NaN by the sane rules."""
    if places.size:
        for i in range(x.size):
            place = places[first + i]
            if place >= 0:
                value = np.float32(x[i])
                out[place] = value if abs(value) < np.inf or rules != SANE else np.float32(np.nan)
        return
    o = out[first : first + x.size]
    if rules == SANE:
        for i in range(x.size):
            value = np.float32(x[i])
            o[i] = value if abs(value) < np.float32(np.inf) else np.float32(np.nan)
    else:
        for i in range(x.size):
            o[i] = np.float32(x[i])


@njit(**ENTRY)
def is_informative(values):
    """Whether a column holds two different numbers."""
    first = np.nan
    for value in values:
        if value == value:
            if first != first:
                first = value
            elif value != first:
                return True
    return False


run_sane = _compiled(SANE, source_digest())
run_qlib = _compiled(QLIB, source_digest())
