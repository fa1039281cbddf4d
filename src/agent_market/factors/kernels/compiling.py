"""How kernels are compiled, and the few helpers that they all share."""

from hashlib import sha256
from pathlib import Path

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

ENTRY = {"cache": True, "nogil": True, "error_model": "numpy", "boundscheck": False}
"""Compiled once and kept on disk; runs beside other threads; a division by 0 gives inf or NaN, not an exception."""

COMPILE = {**ENTRY, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""The same for functions that only compiled ones call: a quarter less to compile."""

INLINED = {**COMPILE, "inline": "always"}
"""The same for functions that one other calls, once: compiled as a part of it."""

TASK = {"cache": True, "error_model": "numpy", "boundscheck": False}
"""The same for functions that are called by their address; they hold no lock of Python anyway."""

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


@intrinsic
def row(typing_context, table, k):
    """`table[k]` for 0 <= k < its length.

    This, `part` and `piece` are slices without a look at negative bounds and steps, which takes numba far longer to
    compile than the arithmetic around it. Only arrays that lie in memory row by row have them.
    """
    if table.layout != "C":
        return None
    kind = types.Array(table.dtype, table.ndim - 1, "C")

    def lower(context, builder, signature, arguments):
        of = make_array(table)(context, builder, arguments[0])
        shape = cgutils.unpack_tuple(builder, of.shape)[1:]
        first = arguments[1]
        for length in shape:
            first = builder.mul(first, length)
        return _view(context, builder, kind, of, first, shape)

    return kind(table, types.int64), lower


@intrinsic
def part(typing_context, table, k, first, stop):
    """`table[k, first:stop]` of a table with two axes, for 0 <= first <= stop <= its length."""
    if table.layout != "C":
        return None
    kind = types.Array(table.dtype, 1, "C")

    def lower(context, builder, signature, arguments):
        of = make_array(table)(context, builder, arguments[0])
        length = cgutils.unpack_tuple(builder, of.shape)[1]
        begin = builder.add(builder.mul(arguments[1], length), arguments[2])
        return _view(context, builder, kind, of, begin, [builder.sub(arguments[3], arguments[2])])

    return kind(table, types.int64, types.int64, types.int64), lower


@intrinsic
def piece(typing_context, x, first, stop):
    """`x[first:stop]` of a series, for 0 <= first <= stop <= its length."""
    if x.layout != "C":
        return None
    kind = types.Array(x.dtype, 1, "C")

    def lower(context, builder, signature, arguments):
        of = make_array(x)(context, builder, arguments[0])
        return _view(context, builder, kind, of, arguments[1], [builder.sub(arguments[2], arguments[1])])

    return kind(x, types.int64, types.int64), lower


@intrinsic
def series_at(typing_context, address, length):
    """The float64 series of that length at an address: whoever gives the address keeps the memory."""
    kind = types.Array(types.float64, 1, "C")

    def lower(context, builder, signature, arguments):
        view = make_array(kind)(context, builder)
        data = builder.inttoptr(arguments[0], context.get_data_type(types.float64).as_pointer())
        size = context.get_constant(types.intp, 8)
        populate_array(view, data=data, shape=[arguments[1]], strides=[size], itemsize=size, meminfo=None)
        return view._getvalue()

    return kind(types.int64, types.int64), lower


def _view(context, builder, kind, of, first, shape):
    """A piece of an array, for as long as the array is there: a function must not return it."""
    view = make_array(kind)(context, builder)
    strides, step = [], of.itemsize
    for length in reversed(shape):
        strides.insert(0, step)
        step = builder.mul(step, length)
    data = builder.gep(of.data, [first])
    populate_array(view, data=data, shape=shape, strides=strides, itemsize=of.itemsize, meminfo=None)
    return view._getvalue()


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
    for step in range(steps.shape[0]):
        if is_named(row(steps, step), first, last):
            return True
    return False


@njit(**COMPILE)
def is_named(step, first, last):
    """Whether one step does."""
    for column in range(first, last):
        if step[column] >= 0:
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
