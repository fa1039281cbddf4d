"""Which candles to read for which values: the work of a large panel, cut into pieces that fit into memory.

The engine's kernels are functions of the window alone, so that a piece may begin anywhere if the look-back of its
factors is read before it. Recursive operators carry a state from the first candle on: factors with one are computed
from the beginning of an unbroken segment.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from agent_market.factors.expression import canonical, look_back
from agent_market.factors.fingerprints import CandleSource, Kept, open_times
from agent_market.factors.operators import CROSS_SECTION, OPERATORS
from agent_market.market.candles import contiguous_segments
from agent_market.options import timeframe_delta

_MOST_SLICES = 4  # as long as so many slices a block of dates may be, where it holds few of the factors

Rows = tuple[int, int]  # from, to: half-open


def look_back_in_bits(expression: str) -> int | None:
    """How many candles a value takes its bits from, the current one included; None: all since the segment began."""
    recursive = any(OPERATORS[name].recursive for name in names_in(expression) & {*OPERATORS})
    return None if recursive else look_back(expression)


def names_in(expression: str) -> set[str]:
    """The operators and fields that an expression uses, by their canonical names."""
    return set(re.findall(r"(?<![\w.])[a-z_]\w*", canonical(expression)))


@dataclass(frozen=True)
class Piece:
    """Some factors on some rows: `reads` are the rows of candles of each pair, `gives` the rows of values."""

    names: tuple[str, ...]
    reads: Mapping[str, Rows]
    gives: Mapping[str, Rows]

    @property
    def size(self) -> int:
        """The number of candles that are read."""
        return sum(stop - start for start, stop in self.reads.values())


class Planner:
    """Cuts the factors of a panel into pieces of about `slice_rows` rows, leaving out what is kept."""

    def __init__(
        self,
        source: CandleSource,
        factors: Mapping[str, str],
        kept: Kept,
        *,
        timeframe: str,
        max_gap: int,
        compat: str,
        slice_rows: int,
    ) -> None:
        self.source, self.kept = source, kept
        self.timeframe, self.max_gap, self.slice_rows = timeframe, max_gap, slice_rows
        self.names = tuple(factors)
        # Qlib's rules put all pairs on one calendar, from the first candle on: nothing can be cut
        is_one = compat == "qlib"
        self.history = {name: None if is_one else look_back_in_bits(text) for name, text in factors.items()}
        self.cross = tuple(name for name, text in factors.items() if is_one or names_in(text) & {*CROSS_SECTION})
        self.single = tuple(name for name in self.names if name not in self.cross)

    def since(self, pair: str, name: str) -> int:
        """The first row of a pair whose value of a factor is not kept."""
        return self.kept.of(pair, name, is_cross=name in self.cross)

    # ---- one pair

    def of_pair(self, pair: str, begin: int = 0) -> tuple[list[Piece], list[Piece]]:
        """Pieces that must be computed beforehand, on whole segments; and slices of all rows from `begin` on, in order.

        Within a slice, a factor is either kept on all rows or on none; a slice names those that it computes itself.
        """
        rows, since = self.source.rows[pair], {name: self.since(pair, name) for name in self.names}
        edges = {*range(begin, rows, self.slice_rows), rows, *(row for row in since.values() if begin < row < rows)}
        segments = self._segments(pair, [name for name in self.single if since[name] < rows])
        slices = [
            self._slice(pair, [name for name in self.single if since[name] <= start], segments, start, stop)
            for start, stop in pairwise(sorted(edges))
        ]
        if all(piece.size <= 2 * self.slice_rows for piece in slices):
            return [], slices
        bounded = [name for name in self.single if self.history[name] is not None]
        slices = [
            self._slice(pair, [name for name in piece.names if name in bounded], segments, *piece.gives[pair])
            for piece in slices
        ]
        whole = [name for name in self.single if self.history[name] is None and since[name] < rows]
        groups = [
            self._slice(pair, group, segments, start, rows)
            for start in sorted({since[name] for name in whole})
            for group in self._groups([name for name in whole if since[name] == start], rows)
        ]
        return groups, slices

    def _slice(self, pair: str, names: Sequence[str], segments: np.ndarray, start: int, stop: int) -> Piece:
        first = stop if not names else start
        for name in names:
            if (history := self.history[name]) is None:
                begin = int(segments[np.searchsorted(segments, start, side="right") - 1])
            else:
                begin = max(start + 1 - history, 0)
            first = min(first, begin)
        return Piece(tuple(names), {pair: (first, stop)}, {pair: (start, stop)})

    def _segments(self, pair: str, names: Sequence[str]) -> np.ndarray:
        """Where the unbroken segments of a pair begin, if a factor needs to know."""
        if all(self.history[name] is not None for name in names):
            return np.zeros(1, dtype=np.int64)
        return contiguous_segments(self.source.read(pair, ["pair", "date"]), self.timeframe, self.max_gap)

    def _groups(self, names: Sequence[str], rows: int) -> Iterator[tuple[str, ...]]:
        """Names, so many at a time that their values on that many rows are as large as a slice of all factors."""
        together = max(self.slice_rows * len(self.names) // rows, 1)
        for start in range(0, len(names), together):
            yield tuple(names[start : start + together])

    # ---- cross-sections

    def of_cross_sections(self) -> Iterator[Piece]:
        """Pieces of all pairs, over blocks of dates, for the factors with cross-sections."""
        if not self.cross:
            return
        dates = {pair: open_times(self.source, pair) for pair in self.source.rows}
        kept = [name for name in self.cross if name in self.kept.factors]
        for names in (kept, [name for name in self.cross if name not in kept]):
            since = {pair: self.since(pair, names[0]) for pair in dates if names}
            gives = {pair: (start, len(dates[pair])) for pair, start in since.items() if start < len(dates[pair])}
            if not gives:
                continue
            yield from self._blocks([name for name in names if self.history[name] is not None], gives, dates)
            reads = {pair: (0, len(of_pair)) for pair, of_pair in dates.items()}
            unbounded = [name for name in names if self.history[name] is None]
            for group in self._groups(unbounded, sum(map(len, dates.values()))):
                yield Piece(group, reads, gives)

    def _blocks(
        self, names: Sequence[str], gives: Mapping[str, Rows], dates: Mapping[str, np.ndarray]
    ) -> Iterator[Piece]:
        """Cut rows of all pairs into blocks of dates, each read with the look-back before it."""
        if not names:
            return
        step = timeframe_delta(self.timeframe) // pd.Timedelta(1, "ms")
        # rows of a segment are at most max_gap missing candles apart, also along a chain of windows over several pairs
        reach = (max(self.history[name] for name in names) - 1) * (1 + self.max_gap) * step
        rows = self.slice_rows * min(len(self.names) // len(names), _MOST_SLICES)
        span = max(rows // len(dates) * step, reach, step)
        begin = min(dates[pair][start] for pair, (start, _) in gives.items())
        end = max(dates[pair][-1] for pair in gives) + 1
        for date in range(begin, end, span):
            found = {pair: _between(dates[pair], date, date + span) for pair in gives}
            inside = {pair: (max(start, gives[pair][0]), stop) for pair, (start, stop) in found.items()}
            inside = {pair: (start, stop) for pair, (start, stop) in inside.items() if start < stop}
            if inside:
                reads = {pair: _some_between(of_pair, date - reach, date + span) for pair, of_pair in dates.items()}
                yield Piece(tuple(names), reads, inside)


def _between(dates: np.ndarray, begin: int, end: int) -> Rows:
    start, stop = np.searchsorted(dates, (begin, end))
    return int(start), int(stop)


def _some_between(dates: np.ndarray, begin: int, end: int) -> Rows:
    """The rows between two dates, or else one next to them: a sum over pairs has a place for each, in every block."""
    start, stop = _between(dates, begin, end)
    if start < stop:
        return start, stop
    near = min(start, len(dates) - 1)
    return near, near + 1
