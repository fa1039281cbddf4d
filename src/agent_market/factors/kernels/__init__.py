"""Compiled kernels: what each operator does to the rows of one unbroken stretch of one pair.

Every kernel is a function of the window alone: the numbers of a row do not depend on where the table begins, on how
it was cut into blocks or on which other factors are computed. This is what makes a recomputed tail, a live update
and any number of threads equal to one pass over everything, bit for bit. Two habits keep it so: sums are built by
merging fixed parts of the window and never by taking a value away again, and the compiler may not reorder
arithmetic (no `fastmath`).
"""
