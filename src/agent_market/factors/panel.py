"""The candles as kernels see them: float64 columns, unbroken stretches of rows, a table of dates by pairs."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.factors.operators import DERIVED_FIELDS, FIELDS
from agent_market.market.candles import contiguous_segments


@dataclass(frozen=True)
class Panel:
    """Rows sorted by (pair, date), and where one unbroken segment ends and the next begins.

    `segments` are int64 row numbers of shape (n_segments + 1,); a segment is one pair without a gap. `places` says
    which row of the candles that were given each row is, -1 for one that was put in; it is empty if none was.
    """

    candles: pd.DataFrame
    segments: np.ndarray
    places: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @cached_property
    def dates(self) -> pd.DatetimeIndex:
        """The open time of each row."""
        return pd.DatetimeIndex(self.candles["date"])

    @cached_property
    def place(self) -> np.ndarray:
        """The number of candles before each row in its segment, float64."""
        lengths = np.diff(self.segments)
        return np.arange(len(self.candles), dtype=np.float64) - np.repeat(self.segments[:-1], lengths)

    @property
    def longest_segment(self) -> int:
        """The number of candles in the longest unbroken segment."""
        return int(np.diff(self.segments).max(initial=0))

    def stretches(self, *series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts and stops of the rows that are unbroken and have a value in all series."""
        has_value = np.ones(len(self.candles), dtype=bool)
        for values in series:
            has_value &= ~np.isnan(values)
        begins = has_value.copy()
        begins[1:] &= ~has_value[:-1] | self._begins_segment[1:]
        ends = has_value.copy()
        ends[:-1] &= ~has_value[1:] | self._begins_segment[1:]
        return np.flatnonzero(begins), np.flatnonzero(ends) + 1

    @cached_property
    def _begins_segment(self) -> np.ndarray:
        return self.place == 0

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
        table[date, pair] = np.where(self.places < 0, np.nan, x) if self.places.size else x
        return table

    def from_table(self, table: np.ndarray) -> np.ndarray:
        """The values of such a table back in the order of the candles."""
        date, pair, _ = self._cells
        return np.ascontiguousarray(table[date, pair])


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
    """The panel as Qlib sees it: one segment per pair, and a row of NaN for each date of the calendar in between.

    The calendar is that of all pairs together unless it is given.
    """
    pair = pd.factorize(panel.candles["pair"])[0]
    own = panel.dates.as_unit("ms").asi8
    dates = np.sort(pd.unique(own if calendar is None else pd.DatetimeIndex(calendar).as_unit("ms").asi8))
    date = np.searchsorted(dates, own)
    off = (date == dates.size) | (dates[np.minimum(date, dates.size - 1)] != own)
    if off.any():
        raise DataError(f"the candle of {panel.dates[off][0]} is not on the calendar that was given")
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    lengths = np.maximum.reduceat(date, starts) - date[starts] + 1  # dates from the first to the last candle
    segments = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if segments[-1] == len(panel.candles):
        return Panel(panel.candles, segments)
    rows = date + np.repeat(segments[:-1] - date[starts], np.diff(starts, append=pair.size))
    places = np.full(segments[-1], -1, dtype=np.int64)
    places[rows] = np.arange(rows.size)
    every_date = np.arange(segments[-1]) + np.repeat(date[starts] - segments[:-1], lengths)
    table = {
        "pair": pd.Categorical.from_codes(np.repeat(np.arange(starts.size), lengths), _pairs(panel, starts)),
        "date": pd.DatetimeIndex(dates[every_date].view("M8[ms]"), tz="UTC"),
    }
    for name in (*FIELDS, *DERIVED_FIELDS):
        if name in panel.candles.columns:
            table[name] = np.full(segments[-1], np.nan)
            table[name][rows] = panel.candles[name]
    return Panel(pd.DataFrame(table, copy=False), segments, places)


def _pairs(panel: Panel, rows: np.ndarray) -> pd.Index:
    return pd.Index(panel.candles["pair"].iloc[rows].astype("str"))
