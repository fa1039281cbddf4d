"""Runs a whole program of factors over blocks of rows, without returning to Python in between.

A block is a stretch of rows of one pair, with as many rows before it as the longest look-back. All intermediate series
of a block stay in the processor's cache. The function holds no lock of Python, so that threads run side by side.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, ENTRY, SANE, copy, fill, part, piece, row
from agent_market.factors.kernels.tasks import INSTRUCTIONS, call

_LOAD, _STORE, _KEEP = (INSTRUCTIONS.index(name) for name in ("load", "store", "keep"))

SCRATCH = 9
"""Quantities that a kernel keeps per slot."""


@njit(**ENTRY)
def run(
    tasks, done, rules, program, constants, literals, tables, inputs, kept, features, blocks, places, registers, scratch
):
    """Compute the rows of `blocks`: float32 into `features`, float64 into `kept`, both (n_series, n_rows).

    `tasks` are addresses, and `done` is what a task returns that did its work. `program` has rows of (instruction,
    code, result, x, y, z, place in `literals`, place, rows and columns in `tables`); `constants` fill the first
    registers; `blocks` has rows of (first row to read, first row to write, row to stop at, 1 if the stretch begins
    with the first row to read); `places` says at which row of `features` a row goes (-1: nowhere), and is empty if
    rows stay where they are; `registers` (n_registers, rows of the longest block) and `scratch` (SCRATCH, n_slots,
    the same) are room to work in.
    """
    for k in range(constants.size):
        fill(row(registers, k), constants[k])
    for block in range(blocks.shape[0]):
        begin, first, stop, at_start = blocks[block, 0], blocks[block, 1], blocks[block, 2], blocks[block, 3]
        n = stop - begin
        for k in range(program.shape[0]):
            step = row(program, k)
            if step[0] == _STORE:
                _store(part(registers, step[3], first - begin, n), row(features, step[1]), first, places, rules)
            elif step[0] == _LOAD:
                _load(part(inputs, step[1], begin, stop), part(registers, step[2], 0, n), rules)
            elif step[0] == _KEEP:
                copy(part(registers, step[3], first - begin, n), part(kept, step[1], first, stop))
            elif call(tasks[step[0]], step, registers, literals, tables, scratch, n, at_start) != done:
                raise MemoryError("no memory for a task of the factor engine")


@njit(**COMPILE)
def _load(x, out, rules):
    """Read an input: the sane rules know no infinity."""
    for i in range(x.size):
        out[i] = x[i] if abs(x[i]) < np.inf or rules != SANE else np.nan


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
    o = piece(out, first, first + x.size)
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
