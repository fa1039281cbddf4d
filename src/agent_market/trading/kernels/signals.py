"""Signals as bits: of the scores of a model, and where the next ones are."""

from numba import njit

from agent_market.trading.kernels.compiling import ENTRY
from agent_market.trading.kernels.layout import ENTER_LONG, ENTER_SHORT, EXIT_LONG, EXIT_SHORT


@njit(**ENTRY)
def next_entries(signals, entry):
    """For each candle the first from it on at which some pair asks to enter: int64 into `entry`."""
    ahead = signals.shape[0]
    for now in range(signals.shape[0] - 1, -1, -1):
        for pair in range(signals.shape[1]):
            if signals[now, pair] & (ENTER_LONG | ENTER_SHORT):
                ahead = now
        entry[now] = ahead


@njit(**ENTRY)
def score_signals(scores, levels, is_futures, signals):
    """Signals of scores (candles, pairs): bits into `signals`; a NaN score leaves both sides and enters none.

    levels: a long is entered above the first and left below the second; in futures a short is entered below the
    third and left above the fourth.
    """
    enter_long, exit_long, enter_short, exit_short = levels[0], levels[1], levels[2], levels[3]
    for now in range(scores.shape[0]):
        for pair in range(scores.shape[1]):
            score = scores[now, pair]
            bits = ENTER_LONG if score > enter_long else 0
            bits |= 0 if score >= exit_long else EXIT_LONG
            if is_futures:
                bits |= ENTER_SHORT if score < enter_short else 0
                bits |= 0 if score <= exit_short else EXIT_SHORT
            signals[now, pair] = bits
