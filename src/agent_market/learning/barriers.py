"""The triple-barrier label (López de Prado 2018, §3.4), compiled: which of profit, stop and time comes first.

A decision at the close of candle ``t`` is entered at the open of ``t+1``. The barriers lie ``take_profit`` and
``stop_loss`` times `width` (the volatility of the horizon, known at the close of ``t``) above and below that price.

- Highs and lows of candles ``t+1`` … ``t+h`` are looked at. A candle that touches both counts as stopped: its path is
  not known, and the worse is assumed. The exit is at the barrier, or at the open of a candle that opens beyond it.
- With `on_close`, their closes are, and the exit is at the open after the close that lies beyond a barrier.
- The label is known when that candle is over: at the open of the next one.
- Touched neither, the exit is at the open of ``t+1+h``, and the label is 0.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def first_touch(opens, high, low, close, filled, segment_end, width, horizon, take_profit, stop_loss, on_close):
    """Outcome (1, -1, 0; NaN unknown), return at the exit (fraction), and the row at whose open both are known (or -1).

    Arrays are (n_rows,), three of which come out; `segment_end` holds one past the last row of each row's stretch.
    """
    n = opens.size
    outcome, realised, end = np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1, np.int64)
    for t in range(n):
        entry, last = t + 1, t + horizon
        if entry >= segment_end[t] or filled[t] or filled[entry] or not width[t] > 0.0:
            continue
        price = opens[entry]
        upper, lower = price * (1.0 + take_profit * width[t]), price * (1.0 - stop_loss * width[t])
        # A candle counts once the one after it is there.
        for j in range(entry, min(last + 1, segment_end[t] - 1)):
            if filled[j]:
                continue
            stopped = (close[j] if on_close else low[j]) <= lower
            if stopped or (close[j] if on_close else high[j]) >= upper:
                if not (on_close and filled[j + 1]):
                    outcome[t] = -1.0 if stopped else 1.0
                    leave = min(opens[j], lower) if stopped else max(opens[j], upper)
                    realised[t], end[t] = (opens[j + 1] if on_close else leave) / price - 1.0, j + 1
                break
        else:
            if last + 1 < segment_end[t] and not filled[last + 1]:
                outcome[t], realised[t], end[t] = 0.0, opens[last + 1] / price - 1.0, last + 1
    return outcome, realised, end
