"""The arrays that kernels share: what the market is, what the account is told, and what a position remembers."""

from typing import NamedTuple

import numpy as np

OPEN, HIGH, LOW, CLOSE = range(4)

SHIFT = 6
WORD, MASK = 1 << SHIFT, (1 << SHIFT) - 1
"""Candles whose signals share a word: bit `now & MASK` of word `now >> SHIFT`. Prices are summed up by as many."""

LONG, SHORT = map(np.int64, range(2))  # typed: numba compiles one variant per literal number
LEAVE, ASK, STAND = map(np.int64, range(3))
"""The planes of a side's signals: it is left and not entered; it is entered, and nothing speaks against it; it is
entered, whatever else is asked for."""

EXIT_REASONS = ("", "exit_signal", "stop_loss", "trailing_stop_loss", "liquidation", "roi", "force_exit")
NONE, EXIT_SIGNAL, STOP_LOSS, TRAILING_STOP_LOSS, LIQUIDATION, ROI, FORCE_EXIT = map(np.int64, range(7))


class Market(NamedTuple):
    """The candles of all pairs on one grid of dates, and the exchange's rules; made once for any number of runs.

    Money is in stake currency, amounts are in base currency.
    """

    candles: np.ndarray  # (pairs, candles, 4) float64: open, high, low, close; 0 outside a pair's own candles
    closes: np.ndarray  # (pairs, candles) float64: the closes once more; after a pair's last candle its last close
    ranges: np.ndarray  # (pairs, words, 2) float64: lowest low and highest high of the candles of a word
    day_ends: np.ndarray  # (days,) int64: the last candle of each UTC day
    month_ends: np.ndarray  # (months,) int64: the last candle of each calendar month
    terms: np.ndarray  # (pairs,) of TERMS
    ticks: np.ndarray  # (pairs, months, 2) float64: the price tick as unit and places, unit / 10**places
    tiers: np.ndarray  # (all tiers, 5) float64
    fundings: np.ndarray  # (all fundings, 2) float64
    alive: np.ndarray  # (words, pairs) int64: bits of the candles at which a pair may be entered
    is_futures: bool


class Signals(NamedTuple):
    """What is asked for at the open of each candle: decided at the close before."""

    planes: np.ndarray  # (sides, 3, words, pairs + 1) int64: LEAVE, ASK, STAND of longs and, in futures, of shorts;
    #                     in the last column ASK of the longs has the candles at which any pair may be entered
    sizes: np.ndarray  # (candles, pairs) float64: part of a full stake; (0, 0) where all are 1


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
        ("wake", "i8"),  # before this candle, unless a signal says to leave
        ("event", "i8"),  # the next candle at which something may happen; one that is over: not known yet
        ("marked", "i8"),  # the first candle at whose close the position is not valued yet
        ("profit", "f8"),
        ("is_ended", "i8"),  # its pair has no more candles: closed, but booked at the end of the run only
    ],
    align=True,
)
"""One position, open or closed."""

TRADE = np.dtype(
    [
        ("pair", "i8"),
        ("side", "i8"),
        ("opened", "i8"),
        ("closed", "i8"),  # -1: still open
        ("reason", "i8"),
        ("open_rate", "f8"),
        ("close_rate", "f8"),
        ("amount", "f8"),
        ("stake", "f8"),
        ("leverage", "f8"),
        ("profit", "f8"),
        ("profit_ratio", "f8"),
        ("funding", "f8"),
    ],
    align=True,
)
"""What is kept of a position, as in POSITION, and its profit as a part of what was invested, times leverage."""

ACCOUNT = np.dtype(
    [
        ("profit", "f8"),  # of closed positions
        ("balance", "f8"),  # the same with the starting balance, at the candle up to which the account is valued
        ("valued", "i8"),  # the first candle at whose close the account is not valued yet
        ("equity", "f8"),  # at the last close that was valued; 0 for ever once it was 0 or less
        ("ruined", "i8"),  # the candle of which that is true
        ("peak", "f8"),
        ("drawdown", "f8"),  # the largest so far, as a fraction of the peak before it
        ("day", "i8"),  # the first UTC day whose end is not valued yet
        ("month", "i8"),  # the month of the last entry
        ("n_open", "i8"),
        ("n_closed", "i8"),
        ("n_won", "i8"),
        ("refused", "i8"),  # pair + 1 whose stake was beyond the highest leverage tier
    ],
    align=True,
)

EQUITY, BOOKED, GROSS = range(3)
"""The rows of a trace: what open positions have earned at each close, which becomes the account's equity there; what
was booked at each candle; and, where asked for, the market value of the open positions."""
