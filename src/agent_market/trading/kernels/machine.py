"""Four instructions of the processor that numba has no name for; as plain Python they are what they mean."""

import math

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

SPLITTER = 2.0**27 + 1


def lost(a, b, product):
    """`a * b - product`, exactly, where the product is `a * b` rounded to a float (Dekker 1971)."""
    big = SPLITTER * a
    a_high = big - (big - a)
    a_low = a - a_high
    big = SPLITTER * b
    b_high = big - (big - b)
    b_low = b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def lowest_bit(bits):
    """The number of the lowest bit that is set in an int64 that is not 0."""
    return math.frexp(float(bits & -bits))[1] - 1


def fetch(table, place):
    """Say that the element at a place of an array's memory is needed soon, so that it comes from there meanwhile."""


def claim(counter):
    """What an int64 array of one element holds, which is one more from then on: no other thread gets the same."""
    counter[0] += 1
    return counter[0] - 1


@intrinsic
def _lost(typing_context, a, b, product):
    def lower(context, builder, signature, arguments):
        return builder.fma(arguments[0], arguments[1], builder.fneg(arguments[2]))  # it rounds once

    return types.float64(types.float64, types.float64, types.float64), lower


@intrinsic
def _lowest_bit(typing_context, bits):
    def lower(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), lower


@intrinsic
def _fetch(typing_context, table, place):
    def lower(context, builder, signature, arguments):
        of, number = make_array(table)(context, builder, arguments[0]), ir.IntType(32)
        address = builder.bitcast(builder.gep(of.data, [arguments[1]]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, number(0), number(3), number(1)])  # to be read, to be kept, as data
        return context.get_dummy_value()

    return types.none(table, types.int64), lower


@intrinsic
def _claim(typing_context, counter):
    def lower(context, builder, signature, arguments):
        of = make_array(counter)(context, builder, arguments[0])
        return builder.atomic_rmw("add", of.data, context.get_constant(types.int64, 1), "monotonic")

    return types.int64(counter), lower


if not config.DISABLE_JIT:
    lost, lowest_bit, fetch, claim = _lost, _lowest_bit, _fetch, _claim
