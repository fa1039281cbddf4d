"""A segment as factors meet it: their values, what came after, and how well the two went together.

With `cross_section` pairs or more, a factor is judged at each date by the rank correlation across pairs of its values
and the returns from the next open over the horizon. With fewer, each pair is judged by itself: the factor's rank
among its last `rank_window` values (from -1 to 1) times the return in units of its trailing volatility, cut at 4. A
factor that is always long has no rank, so that a rising market is no skill.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from agent_market.factors.engine import evaluate, make_plan
from agent_market.factors.panel import Panel, build_panel
from agent_market.factors.tree import Call, Node, Number
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.mining import kernels
from agent_market.mining.options import MiningOptions
from agent_market.mining.segments import Segment

CLIP = 4.0
"""Returns in units of volatility are cut at this size, where pairs are judged by themselves."""

BATCH = 64
"""Factors that are computed at once, which bounds the memory."""


@dataclass(frozen=True)
class Gains:
    """How well factors foretold, date by date: the rank correlation, or the mean product where pairs are few.

    `by_date` is float64 (n_factors, n_dates) and NaN where a factor says nothing; `ic` (n_factors,) is the rank
    correlation over the whole segment; `by_pair` (n_factors, n_pairs) is each pair's share in the sum.
    """

    by_date: np.ndarray
    ic: np.ndarray
    by_pair: np.ndarray


@dataclass(frozen=True)
class Arena:
    """Candles up to the end of a segment, and the outcomes of decisions within it."""

    segment: Segment
    panel: Panel
    dates: pd.DatetimeIndex  # (n_dates,) at whose close decisions are made
    pairs: tuple[str, ...]
    cells: np.ndarray  # int64 (n_dates, n_pairs): row of the candle, -1 for none
    outcome: np.ndarray  # float64 (n_dates, n_pairs): what a factor is to foretell
    next_return: np.ndarray  # float64 (n_dates, n_pairs): of one candle from the next open, 0 where unknown
    is_cross_section: bool
    options: MiningOptions

    def values(self, trees: Sequence[Node]) -> np.ndarray:
        """The factors on all visible candles: float32 (n_factors, n_rows)."""
        if not self.is_cross_section:
            trees = [self._over_time(tree) for tree in trees]
        named = tuple((f"f{number}", tree) for number, tree in enumerate(trees))
        return evaluate(make_plan(named, "sane", "vwap" in self.panel.candles), self.panel)

    def gains(self, trees: Sequence[Node]) -> Gains:
        """How well each factor foretold in the segment."""
        shape = (len(trees), len(self.dates))
        by_date, by_pair, ic = np.empty(shape), np.zeros((len(trees), len(self.pairs))), np.zeros(len(trees))
        for start in range(0, len(trees), BATCH):
            part = slice(start, min(start + BATCH, len(trees)))
            self._fill(self.values(trees[part]), by_date[part], by_pair[part], ic[part])
        return Gains(by_date, ic, by_pair)

    def weights(self, values: np.ndarray) -> np.ndarray:
        """What a portfolio that follows a factor wants to hold from each date on: (n_dates, n_pairs), size 1."""
        out = np.empty(self.cells.shape)
        kernels.held(values, self.cells, self.is_cross_section, out)
        return out

    @cached_property
    def sample(self) -> np.ndarray:
        """Rows on which factors are compared by value: about 4,000, evenly spread."""
        rows = self.cells[self.cells >= 0]
        return np.sort(rows)[:: max(1, rows.size // 4000)]

    def _over_time(self, tree: Node) -> Node:
        rank = Call("ts_rank", (tree, Number(float(self.options.rank_window))))
        return Call("sub", (Call("mul", (Number(2.0), rank)), Number(1.0)))

    def _fill(self, values: np.ndarray, by_date: np.ndarray, by_pair: np.ndarray, ic: np.ndarray) -> None:
        if self.is_cross_section:
            least = self.options.cross_section
            kernels.rank_correlations(values, self.cells, self.outcome, least, by_date, by_pair)
            known = np.isfinite(by_date)
            ic[:] = np.where(known, by_date, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            return
        scale = np.empty(len(values))
        kernels.products(values, self.cells, self.outcome, by_date, by_pair, scale)
        ic[:] = np.divide(by_pair.sum(axis=1), scale, out=np.zeros(len(values)), where=scale > 0)


def build_arena(
    candles: pd.DataFrame, segment: Segment, options: MiningOptions, *, timeframe: str, max_gap: int = 0
) -> Arena:
    """The arena of a segment; of `candles` only those are used that the segment may see."""
    visible = segment.visible(candles)
    pairs = tuple(sorted(visible["pair"].astype(str).unique()))
    is_cross_section = len(pairs) >= options.cross_section
    kinds = () if is_cross_section else ("scaled",)
    horizons = tuple(dict.fromkeys((options.horizon, 1)))
    labels = build_labels(
        visible, LabelOptions(horizons=horizons, kinds=kinds), timeframe=timeframe, max_gap=max_gap
    )  # fmt: skip
    inside = (visible["date"] >= segment.start).to_numpy()
    dates = pd.DatetimeIndex(np.unique(visible["date"][inside]))
    row = np.flatnonzero(inside)
    place = dates.get_indexer(visible["date"].iloc[row]), pd.Index(pairs).get_indexer(visible["pair"].iloc[row])
    cells = np.full((len(dates), len(pairs)), -1, dtype=np.int64)
    cells[place] = row
    outcome, after = np.full(cells.shape, np.nan), np.zeros(cells.shape)
    name = f"return_{options.horizon}" if is_cross_section else f"scaled_{options.horizon}"
    outcome[place] = labels[name].to_numpy()[row]
    after[place] = labels["return_1"].to_numpy()[row]
    if not is_cross_section:
        outcome = np.clip(outcome, -CLIP, CLIP)
    panel = build_panel(visible, timeframe, max_gap)
    known = np.nan_to_num(after)
    return Arena(segment, panel, dates, pairs, cells, outcome, known, is_cross_section, options)
