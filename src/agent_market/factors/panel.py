"""The candles as kernels see them: float64 columns, unbroken stretches of rows, a table of dates by pairs."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.factors.operators import FIELDS
from agent_market.market.candles import contiguous_segments, pair_starts


def _none() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Panel:
    """Rows sorted by (pair, date), and where one unbroken segment ends and the next begins.

    `segments` are int64 row numbers of shape (n_segments + 1,). Rows are the candles, unless some were put in for
    missing ones: then `rows` says in which row each candle is, and `places` which candle is in each row, -1 for none.
    """

    candles: pd.DataFrame
    segments: np.ndarray
    rows: np.ndarray = field(default_factory=_none)
    places: np.ndarray = field(default_factory=_none)

    @property
    def n_rows(self) -> int:
        """The number of rows, with those that were put in."""
        return int(self.segments[-1])

    def spread(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Values of the candles as float64 of the rows; NaN in a row that was put in."""
        out = np.empty(self.n_rows) if out is None else out
        if self.places.size:
            out[:] = np.nan
            out[self.rows] = values
        else:
            out[:] = values
        return out

    def field(self, name: str, out: np.ndarray | None = None) -> np.ndarray:
        """A column of the candles."""
        return self.spread(self.candles[name].to_numpy(), out)

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
        table[date, pair] = x[self.rows] if self.places.size else x
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
    return Panel(candles, np.asarray(segments, dtype=np.int64))


def on_one_calendar(panel: Panel, calendar: pd.DatetimeIndex | None = None) -> Panel:
    """The panel as Qlib sees it: one segment per pair, and a row without values for each date of the calendar between.

    The calendar is that of all pairs together unless it is given.
    """
    own = panel.dates.as_unit("ms").asi8
    starts = pair_starts(panel.candles)
    stops = np.append(starts[1:], own.size)
    if calendar is None and _have_all_dates(own, starts, stops):
        return Panel(panel.candles, np.append(starts, own.size).astype(np.int64))
    date = _places_of_all(own) if calendar is None else _places_on(calendar, own)
    lengths = date[stops - 1] - date[starts] + 1  # dates from the first to the last candle
    segments = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if segments[-1] == own.size:
        return Panel(panel.candles, segments)
    rows = date + np.repeat(segments[:-1] - date[starts], stops - starts)
    places = np.full(segments[-1], -1, dtype=np.int64)
    places[rows] = np.arange(rows.size)
    return Panel(panel.candles, segments, rows, places)


def _have_all_dates(own: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> bool:
    """Whether each pair has every date of the longest pair from its own first to its own last: nothing is missing."""
    longest = int(np.argmax(stops - starts))
    dates = own[starts[longest] : stops[longest]]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        first = int(np.searchsorted(dates, own[start]))
        if not np.array_equal(dates[first : first + stop - start], own[start:stop]):
            return False
    return True


def _places_of_all(own: np.ndarray) -> np.ndarray:
    """For each of some dates, given in milliseconds, its place among all that occur."""
    since_first = own - own.min()
    between = np.abs(np.diff(own))
    step = int(between.min(initial=np.iinfo(np.int64).max, where=between > 0))
    number = since_first // step
    n_steps = int(number.max()) + 1
    if n_steps > 16 * own.size or not np.array_equal(number * step, since_first):
        return np.unique(own, return_inverse=True)[1]  # no common step, or a table of all steps would be too large
    occurs = np.zeros(n_steps, dtype=bool)
    occurs[number] = True
    return (np.cumsum(occurs) - 1)[number]


def _places_on(calendar: pd.DatetimeIndex, own: np.ndarray) -> np.ndarray:
    """For each of some dates, given in milliseconds, its place on a calendar that has them all."""
    dates = np.unique(pd.DatetimeIndex(calendar).as_unit("ms").asi8)
    date = np.searchsorted(dates, own)
    off = dates[np.minimum(date, dates.size - 1)] != own
    if off.any():
        first = pd.Timestamp(own[off][0], unit="ms", tz="UTC")
        raise DataError(f"the candle of {first} is not on the calendar that was given")
    return date
