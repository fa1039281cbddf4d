"""Compiled kernels of the embedded engine: freqtrade's rules, candle by candle, on plain arrays.

`loop` has the order of events, `entries` and `exits` what happens to one pair at one candle, `decimals` freqtrade's
decimal arithmetic, `machine` single instructions, `layout` the arrays that they share. All but `layout` import numba,
which takes a moment: the package imports them inside the functions that compute.
"""
