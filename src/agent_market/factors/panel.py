"""The candles as kernels see them: float64 columns, unbroken stretches of rows, a table of dates by pairs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.factors.operators import FIELDS
from agent_market.market.candles import contiguous_segments, pair_starts


@dataclass(frozen=True)
class Panel:
    """Rows sorted by (pair, date), and where one unbroken segment ends and the next begins.

    `segments` are int64 row numbers of shape (n_segments + 1,). Rows are the candles, unless some were put in for
    missing ones: `runs` says which candles stand one after another, in int64 rows of (first row, row to stop at, first
    candle).
    """

    candles: pd.DataFrame
    segments: np.ndarray
    runs: np.ndarray

    @property
    def n_rows(self) -> int:
        """The number of rows, with those that were put in."""
        return int(self.segments[-1])

    @cached_property
    def rows(self) -> np.ndarray:
        """In which row each candle is: int64 (n_candles,)."""
        first, stop, candle = self.runs.T
        return np.arange(len(self.candles)) + np.repeat(first - candle, stop - first)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the candles as float64 of the rows; NaN in a row that was put in."""
        out = np.full(self.n_rows, np.nan)
        out[self.rows] = values
        return out

    def column(self, name: str) -> np.ndarray:
        """A column of the candles: float64 (n_candles,), one after another in memory."""
        return np.ascontiguousarray(self.candles[name].to_numpy(), dtype=np.float64)

    @cached_property
    def dates(self) -> pd.DatetimeIndex:
        """The open time of each candle."""
        return pd.DatetimeIndex(self.candles["date"])

    @property
    def longest_segment(self) -> int:
        """The number of rows in the longest unbroken segment."""
        return int(np.diff(self.segments).max(initial=0))

    def stretches(self, *series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts and stops of the rows that are unbroken and have a value in all series."""
        has_value = np.ones(self.n_rows, dtype=bool)
        for values in series:
            has_value &= ~np.isnan(values)
        new_segment = np.zeros(self.n_rows, dtype=bool)
        new_segment[self.segments[:-1]] = True
        begins = has_value.copy()
        begins[1:] &= ~has_value[:-1] | new_segment[1:]
        ends = has_value.copy()
        ends[:-1] &= ~has_value[1:] | new_segment[1:]
        return np.flatnonzero(begins), np.flatnonzero(ends) + 1

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        pair, pairs = pd.factorize(self.candles["pair"])
        date, dates = pd.factorize(self.candles["date"])
        return date, pair, (len(dates), len(pairs))

    @property
    def n_pairs(self) -> int:
        """The number of pairs."""
        return self._cells[2][1]

    def to_table(self, x: np.ndarray) -> np.ndarray:
        """A series as (n_dates, n_pairs), NaN where a pair has no candle; dates are in no special order.

        A row that was put in is no candle: it is there only because the pair has a later one.
        """
        date, pair, shape = self._cells
        table = np.full(shape, np.nan)
        table[date, pair] = x[self.rows]
        return table

    def from_table(self, table: np.ndarray) -> np.ndarray:
        """The values of such a table back in the order of the rows."""
        date, pair, _ = self._cells
        return self.spread(table[date, pair])


def build_panel(candles: pd.DataFrame, timeframe: str, max_gap: int) -> Panel:
    """Check that the candles are what factors can be computed on, and find their unbroken segments."""
    missing = [name for name in ("pair", "date", *FIELDS) if name not in candles.columns]
    if missing:
        raise DataError(f"the candles miss the columns {missing}; they have {list(candles.columns)}")
    if candles.empty:
        raise DataError("there are no candles to compute factors on")
    try:
        segments = contiguous_segments(candles, timeframe, max_gap=max_gap)
    except DataError:
        raise DataError(
            "the candles are not sorted by (pair, date) or hold a date twice; sort and de-duplicate them"
        ) from None
    return Panel(candles, np.asarray(segments, dtype=np.int64), np.array([(0, len(candles), 0)], dtype=np.int64))


def on_one_calendar(panel: Panel, calendar: pd.DatetimeIndex | None = None) -> Panel:
    """The panel as Qlib sees it: one segment per pair, and a row without values for each date of the calendar between.

    The calendar is that of all pairs together unless it is given.
    """
    own = panel.dates.as_unit("ms").asi8
    starts = pair_starts(panel.candles)
    if calendar is not None:
        first, date = np.arange(own.size), _places_on(calendar, own)
    else:
        first, date = _even_stretches(own, starts) or (np.arange(own.size), np.unique(own, return_inverse=True)[1])
    lengths = np.diff(first, append=own.size)
    begins = np.searchsorted(first, starts)  # the stretch with which each pair begins
    ends = np.append(begins[1:], first.size) - 1
    n_dates = date[ends] + lengths[ends] - date[begins]  # from the first to the last candle
    segments = np.concatenate([[0], np.cumsum(n_dates)]).astype(np.int64)
    row = date + np.repeat(segments[:-1] - date[begins], ends - begins + 1)
    stop = row + lengths
    is_new = np.append(True, row[1:] != stop[:-1])
    runs = np.column_stack([row[is_new], np.append(stop[:-1][is_new[1:]], stop[-1]), first[is_new]])
    return Panel(panel.candles, segments, runs.astype(np.int64))


def _even_stretches(own: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Stretches of candles of one pair that are one step apart: the first candle of each, and the place of its date.

    The step is the smallest between two candles, places are those among all dates that occur, given in milliseconds;
    None if some date is off the step, or a table of all steps would be too large.
    """
    between = np.diff(own)
    between[starts[1:] - 1] = np.iinfo(np.int64).max
    step = int(between.min(initial=np.iinfo(np.int64).max))
    first = np.append(0, np.flatnonzero(between != step) + 1)
    if step == np.iinfo(np.int64).max:  # each pair has one candle
        first = starts
    number, rest = np.divmod(own[first] - own[first].min(), step)
    past = number + np.diff(first, append=own.size)
    if past.max() > 16 * own.size or rest.any():
        return None
    n_steps = int(past.max()) + 1
    change = np.bincount(number, minlength=n_steps) - np.bincount(past, minlength=n_steps)
    return first, (np.cumsum(np.cumsum(change) > 0) - 1)[number]


def _places_on(calendar: pd.DatetimeIndex, own: np.ndarray) -> np.ndarray:
    """For each of some dates, given in milliseconds, its place on a calendar that has them all."""
    dates = np.unique(pd.DatetimeIndex(calendar).as_unit("ms").asi8)
    date = np.searchsorted(dates, own)
    off = dates[np.minimum(date, dates.size - 1)] != own
    if off.any():
        first = pd.Timestamp(own[off][0], unit="ms", tz="UTC")
        raise DataError(f"the candle of {first} is not on the calendar that was given")
    return date
