"""How kernels are compiled, and the few helpers that they all share."""

from hashlib import sha256
from pathlib import Path

import numpy as np
from numba import njit

ENTRY = {"cache": True, "nogil": True, "error_model": "numpy", "boundscheck": False}
"""Compiled once and kept on disk; runs beside other threads; a division by 0 gives inf or NaN, not an exception."""

COMPILE = {**ENTRY, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""The same for functions that only compiled ones call: a quarter less to compile."""

ROUNDING = 4 * np.finfo(np.float64).eps
"""Changes below this fraction of a value are rounding, not movement."""

SLACK = ROUNDING**2

ABSOLUTE = 2e-5
"""Qlib: a standard deviation up to this counts as 0 in a correlation, whatever the unit of the series."""

FIRST = 5
"""The column of the steps of grown windows at which the registers begin."""

SANE, QLIB = 0, 1
"""The two sets of rules, as kernels know them."""


def source_digest() -> int:
    """A number that changes when any source file of the kernels does.

    Numba's cache looks at the file of a compiled function only, not at those of the functions that it calls.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    return int(sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:15], 16)


@njit(**COMPILE)
def run_lengths(x, runs):
    """For each row the number of known values in a row that end there: float64 into `runs`."""
    length = 0.0
    for i in range(x.size):
        length = length + 1.0 if abs(x[i]) < np.inf else 0.0
        runs[i] = length


# Plain loops: numba takes far longer to compile assignments of slices and reductions.


@njit(**COMPILE)
def fill(out, value):
    """Set all values."""
    for i in range(out.size):
        out[i] = value


@njit(**COMPILE)
def copy(x, out):
    """Copy all values."""
    for i in range(out.size):
        out[i] = x[i]


@njit(**COMPILE)
def is_wanted(steps, first, last):
    """Whether a step names a register in the columns from `first` to before `last`."""
    for row in range(steps.shape[0]):
        for column in range(first, last):
            if steps[row, column] >= 0:
                return True
    return False


@njit(**COMPILE)
def load(x, out):
    """Copy the input of a rolling kernel, an infinite value as a missing one. Whether some are missing."""
    missing = 0
    for i in range(x.size):
        is_known = abs(x[i]) < np.inf
        missing += 0 if is_known else 1
        out[i] = x[i] if is_known else np.nan
    return missing > 0
