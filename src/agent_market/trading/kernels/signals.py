"""Signals as words of bits: where the next one is, and those that flags, or levels and scores of a model, make."""

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import ENTRY, INNER, PART
from agent_market.trading.kernels.layout import ASK, LEAVE, MASK, SHIFT, STAND, WORD
from agent_market.trading.kernels.machine import lowest_bit


@njit(**INNER)
def next_signal(planes, side, kind, column, now, stop):
    """The first candle from `now` on that has a signal, `stop` at the latest."""
    if now >= stop:
        return stop
    word, last = now >> SHIFT, (stop - 1) >> SHIFT
    bits = planes[side, kind, word, column] >> (now & MASK)  # keeps the sign: the lowest bit stays what it is
    if bits != 0:
        return min(now + lowest_bit(bits), stop)
    word += 1
    while word <= last and planes[side, kind, word, column] == 0:
        word += 1
    return min((word << SHIFT) + lowest_bit(planes[side, kind, word, column]), stop) if word <= last else stop


@njit(**PART)
def is_signal(planes, side, kind, column, now):
    """Whether there is a signal at candle `now`."""
    return (planes[side, kind, now >> SHIFT, column] >> (now & MASK)) & 1 != 0


@njit(**ENTRY)
def words_of_flags(flags, words, word_size):
    """Flags (candles, pairs) as bits of the candles that act on them, the next ones, in `words` (words, pairs)."""
    for now in range(1, flags.shape[0]):
        word, bit = now // word_size, now % word_size
        for pair in range(flags.shape[1]):
            words[word, pair] |= np.int64(flags[now - 1, pair]) << bit


@njit(**INNER)
def signals_of_scores(scores, levels, alive, planes):
    """Signals of scores (pairs, words, WORD) into `planes`; a NaN score leaves both sides and enters none.

    levels: a long is entered above the first and left below the second, which is not above the first; in futures a
    short is entered below the third and left above the fourth.
    """
    n_pairs, n_words, n_sides = scores.shape[0], scores.shape[1], planes.shape[0]
    for word in range(n_words):
        planes[0, ASK, word, n_pairs] = 0
    for pair in range(n_pairs):
        for side in range(n_sides):
            _compare(scores[pair], 1.0 - 2.0 * side, levels[2 * side], levels[2 * side + 1], planes[side], pair)
        for word in range(n_words):
            long, short = planes[0, STAND, word, pair], planes[n_sides - 1, STAND, word, pair]
            if n_sides == 1:
                short = np.int64(0)
            asked = long & ~short & alive[word, pair]
            planes[0, ASK, word, pair] = asked
            if n_sides == 2:
                planes[1, ASK, word, pair] = short & ~long & alive[word, pair]
                asked |= planes[1, ASK, word, pair]
            planes[0, ASK, word, n_pairs] |= asked


@njit(**INNER)
def _compare(scores, sign, enter, leave, planes, pair):
    """LEAVE and STAND of one side and pair; `sign` is -1 for shorts, whose scores and levels are mirrored."""
    enter, leave = sign * enter, sign * leave
    for word in range(scores.shape[0]):
        enters = leaves = np.int64(0)
        for bit in range(WORD):
            score = sign * scores[word, bit]
            enters |= np.int64(score > enter) << bit
            leaves |= np.int64(not score >= leave) << bit
        planes[LEAVE, word, pair] = leaves & ~enters
        planes[STAND, word, pair] = enters
