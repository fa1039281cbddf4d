"""The arrays that kernels share: what the market is, what the account is told, and what a position remembers."""

from typing import NamedTuple

import numpy as np

OPEN, HIGH, LOW, CLOSE = range(4)

ENTER_LONG, EXIT_LONG, ENTER_SHORT, EXIT_SHORT = 1, 2, 4, 8
"""The bits of a signal."""

FLAT = EXIT_LONG | EXIT_SHORT
"""The signal of a candle that nothing was decided for."""

EXIT_REASONS = ("", "exit_signal", "stop_loss", "trailing_stop_loss", "liquidation", "roi", "force_exit")
NONE, EXIT_SIGNAL, STOP_LOSS, TRAILING_STOP_LOSS, LIQUIDATION, ROI, FORCE_EXIT = map(np.int64, range(7))


class Market(NamedTuple):
    """The candles of all pairs on one grid of dates, and the exchange's rules; made once for any number of runs.

    Money is in stake currency, amounts are in base currency. Arrays are few, since a compiled function takes each of
    them apart at every call.
    """

    candles: np.ndarray  # (pairs, candles, 4) float64: open, high, low, close; 0 outside a pair's own candles
    day: np.ndarray  # (candles,) int64: number of the UTC day, from 0
    month: np.ndarray  # (candles,) int64: number of the calendar month, from 0
    terms: np.ndarray  # (pairs,) of TERMS
    ticks: np.ndarray  # (pairs, months, 2) float64: the price tick as unit and places, unit / 10**places
    tiers: np.ndarray  # (all tiers, 5) float64
    fundings: np.ndarray  # (all fundings, 2) float64
    is_futures: bool


TERMS = np.dtype(
    [
        ("last", "i8"),  # candle
        ("step_unit", "f8"),  # the amount step is unit / 10**places, in contracts
        ("step_places", "i8"),
        ("contract", "f8"),  # base currency in one contract
        ("least_cost", "f8"),  # limits; 0 and infinity where the market has none
        ("least_amount", "f8"),
        ("most_cost", "f8"),
        ("most_amount", "f8"),
        ("tier_from", "i8"),  # rows of `Market.tiers`
        ("tier_stop", "i8"),
        ("funding_from", "i8"),  # rows of `Market.fundings`
        ("funding_stop", "i8"),
    ],
    align=True,
)
"""What the exchange asks of one pair."""

TIER_FROM, TIER_TO, MAINTENANCE_RATE, MOST_LEVERAGE, MAINTENANCE_AMOUNT = range(5)
"""The columns of `Market.tiers`: notional from and to, then what the exchange asks in between."""

WHEN, FEE = range(2)
"""The columns of `Market.fundings`: when, in candles from the first one on, and what a long pays for one unit."""

MOST_ROI_STEPS = 64

RULES = np.dtype(
    [
        ("starting_balance", "f8"),
        ("stake", "f8"),  # 0: unlimited
        ("tradable_ratio", "f8"),
        ("max_open", "i8"),
        ("bought", "f8"),  # 1 + cost per side, and its tail
        ("bought_tail", "f8"),
        ("sold", "f8"),  # 1 - cost per side, and its tail
        ("sold_tail", "f8"),
        ("leverage", "f8"),
        ("liquidation_buffer", "f8"),
        ("stoploss", "f8"),  # as a positive fraction of the stake
        ("trailing", "i8"),
        ("trailing_positive", "f8"),  # NaN: none
        ("trailing_offset", "f8"),
        ("trailing_waits", "i8"),  # for the offset
        ("n_roi", "i8"),
        ("roi_after", "i8", (MOST_ROI_STEPS,)),  # candles, ascending
        ("roi_on_grid", "i8", (MOST_ROI_STEPS,)),  # whether the step begins with a candle
        ("roi", "f8", (MOST_ROI_STEPS,)),
        ("use_exit_signal", "i8"),
        ("exit_profit_only", "i8"),
        ("exit_profit_offset", "f8"),
        ("ignore_roi_if_entry_signal", "i8"),
    ],
    align=True,
)
"""The options of one run, as numbers."""

POSITION = np.dtype(
    [
        ("pair", "i8"),
        ("side", "i8"),  # 1 long, -1 short
        ("opened", "i8"),  # candle
        ("closed", "i8"),
        ("reason", "i8"),
        ("open_rate", "f8"),  # the candle's open, at a tick
        ("close_rate", "f8"),
        ("amount", "f8"),
        ("amount_tail", "f8"),
        ("stake", "f8"),
        ("leverage", "f8"),
        ("invested", "f8"),  # amount at the candle's open, with costs
        ("paid", "f8"),  # the same at a price of 18 decimals: what profits are measured against
        ("open_value", "f8"),  # the same at open_rate: what the ratios of ROI and trailing are measured against
        ("tick_unit", "f8"),
        ("tick_places", "i8"),
        ("stop", "f8"),
        ("stop_distance", "f8"),
        ("is_trailing", "i8"),
        ("liquidation", "f8"),  # 0: none
        ("next_funding", "i8"),  # row, and the first of another pair
        ("funding_stop", "i8"),
        ("funding", "f8"),  # received
        ("funding_sum", "f8"),  # the same as if for a long that pays, and what adding it up lost
        ("funding_lost", "f8"),
        ("trailed", "f8"),  # the best price that the stop has followed
        ("floor", "f8"),  # nothing can happen while the price stays between floor and ceiling
        ("ceiling", "f8"),
        ("wake", "i8"),  # before this candle
        ("watched", "i8"),  # unless these bits of the signal
        ("alarm", "i8"),  # are these
        ("quiet", "i8"),  # the first candle that is not known to pass by without an event
        ("marked", "i8"),  # the first candle at whose close the position is not valued yet
        ("profit", "f8"),
        ("profit_ratio", "f8"),
        ("is_ended", "i8"),  # its pair has no more candles: closed, but booked at the end of the run only
    ],
    align=True,
)
"""One position, open or closed."""

ACCOUNT = np.dtype(
    [
        ("profit", "f8"),  # of closed positions
        ("balance", "f8"),  # at the start of the stretch that is not valued yet, or now if nothing is open
        ("equity", "f8"),  # at the last close; 0 for ever once it was 0 or less
        ("peak", "f8"),
        ("drawdown", "f8"),  # the largest so far, as a fraction of the peak before it
        ("n_open", "i8"),
        ("n_closed", "i8"),
        ("n_won", "i8"),
        ("refused", "i8"),  # pair + 1 whose stake was beyond the highest leverage tier
    ],
    align=True,
)

VALUE, PROFIT, GROSS, COUNT = range(4)
"""The columns of a trace: what open positions have earned at a close, what was booked at the candle, their market value
and number. Without the last two, it is a scratch space that is 0 again after a run."""

EQUITY, EXPOSURE, N_OPEN = VALUE, PROFIT, GROSS
"""The columns of a trace with four of them after a run."""
