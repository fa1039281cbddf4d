"""Runs a whole program of factors over blocks of rows, without returning to Python in between.

A block is a stretch of rows of one pair, with as many rows before it as the longest look-back. All intermediate series
of a block stay in the processor's cache. The function holds no lock of Python, so that threads run side by side.
"""

import numpy as np
from numba import njit

from agent_market.factors.kernels.compiling import COMPILE, ENTRY, SANE, copy, fill, part, piece, row, series_at
from agent_market.factors.kernels.tasks import INSTRUCTIONS, call

_LOAD, _STORE, _KEEP = (INSTRUCTIONS.index(name) for name in ("load", "store", "keep"))

SCRATCH = 9
"""Quantities that a kernel keeps per slot."""


@njit(**ENTRY)
def run(
    tasks, done, rules, program, constants, literals, tables, sources, runs, targets, kept, features, blocks,
    registers, scratch,
):  # fmt: skip
    """Compute the rows of `blocks`: float32 into `features`, float64 into `kept`, both (n_series, n_rows).

    `tasks` are addresses, and `done` is what a task returns that did its work. `program` has rows of (instruction,
    code, result, x, y, z, place in `literals`, place, rows and columns in `tables`); `constants` fill the first
    registers; `sources` has rows of (address of a float64 series, its length, 1 if it has a value per candle, 0 if
    per row); `runs` and `targets` say which candle stands in which row, and to which place of `features` a row
    goes, each in rows of (first row, row to stop at, first candle or place); `blocks` has rows of (first row to read,
    first row to write, row to stop at, 1 if the stretch begins with the first row to read); `registers` (n_registers,
    rows of the longest block) and `scratch` (SCRATCH, n_slots, the same) are room to work in.
    """
    for k in range(constants.size):
        fill(row(registers, k), constants[k])
    for block in range(blocks.shape[0]):
        begin, first, stop, at_start = blocks[block, 0], blocks[block, 1], blocks[block, 2], blocks[block, 3]
        n = stop - begin
        first_run, first_target = _first(runs, begin), _first(targets, first)
        for k in range(program.shape[0]):
            step = row(program, k)
            if step[0] == _STORE:
                x = part(registers, step[3], first - begin, n)
                _store(x, row(features, step[1]), first, targets, first_target, rules)
            elif step[0] == _LOAD:
                source = row(sources, step[1])
                x, out = series_at(source[0], source[1]), part(registers, step[2], 0, n)
                if source[2]:
                    _load(x, runs, first_run, begin, out, rules)
                else:
                    _read(piece(x, begin, stop), out, rules)
            elif step[0] == _KEEP:
                copy(part(registers, step[3], first - begin, n), part(kept, step[1], first, stop))
            elif call(tasks[step[0]], step, registers, literals, tables, scratch, n, at_start) != done:
                raise MemoryError("no memory for a task of the factor engine")


@njit(**COMPILE)
def _first(runs, at):
    """The first run that ends after a row."""
    low, high = 0, runs.shape[0]
    while low < high:
        middle = (low + high) // 2
        if runs[middle, 1] > at:
            high = middle
        else:
            low = middle + 1
    return low


@njit(**COMPILE)
def _load(x, runs, first_run, begin, out, rules):
    """Read the candles of the rows from `begin` on; NaN in a row that has none."""
    done, n = 0, out.size
    for k in range(first_run, runs.shape[0]):
        start, stop = max(runs[k, 0] - begin, 0), min(runs[k, 1] - begin, n)
        if start >= n:
            break
        fill(piece(out, done, start), np.nan)
        offset = runs[k, 2] + begin - runs[k, 0]
        _read(piece(x, offset + start, offset + stop), piece(out, start, stop), rules)
        done = stop
    fill(piece(out, done, n), np.nan)


@njit(**COMPILE)
def _read(x, out, rules):
    """Copy values: the sane rules know no infinity."""
    for i in range(x.size):
        out[i] = x[i] if abs(x[i]) < np.inf or rules != SANE else np.nan


@njit(**COMPILE)
def _store(x, out, first, targets, first_target, rules):
    """Write a factor as float32; a float32 overflow is NaN by the sane rules."""
    for k in range(first_target, targets.shape[0]):
        start, stop = max(targets[k, 0] - first, 0), min(targets[k, 1] - first, x.size)
        if start >= x.size:
            break
        offset = targets[k, 2] + first - targets[k, 0]
        values, o = piece(x, start, stop), piece(out, offset + start, offset + stop)
        if rules == SANE:
            for i in range(values.size):
                value = np.float32(values[i])
                o[i] = value if abs(value) < np.float32(np.inf) else np.float32(np.nan)
        else:
            for i in range(values.size):
                o[i] = np.float32(values[i])


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
