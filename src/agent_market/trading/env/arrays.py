"""A market as arrays that any number of episodes read: features, prices, and the stretches that an episode stays in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agent_market.errors import DataError

if TYPE_CHECKING:
    from agent_market.learning.samples import Samples

LOOK_AHEAD = 2
"""Rows after that of a decision whose opens its reward needs: the one it is filled at and the one it is valued at."""


@dataclass(frozen=True)
class EpisodeMarket:
    """Read-only arrays of a panel, shared by all episodes; rows are those of the feature tensor, which is not copied.

    features: (n_rows, n_features) float32, known at the close of each row.
    prices, funding: (n_rows, 4) and (n_rows, 2) float64, see `ExecutionPrices`.
    pair, date: of each row.
    stretches: (n, 3) int64: first row, row after the last, and the first row that a window may reach back to. A
    stretch has one pair and no hole, and consists of rows that were given; an episode sees no price after its last row.
    """

    features: np.ndarray
    prices: np.ndarray
    funding: np.ndarray
    pair: pd.Categorical
    date: pd.DatetimeIndex
    stretches: np.ndarray

    def decisions(self, window: int) -> np.ndarray:
        """The rows in which an episode that sees `window` candles may decide, as (n, 2): first, and one after the last.

        Raises DataError if there are none.
        """
        first = np.maximum(self.stretches[:, 0], self.stretches[:, 2] + window - 1)
        bounds = np.column_stack([first, self.stretches[:, 1] - LOOK_AHEAD])
        bounds = bounds[bounds[:, 0] < bounds[:, 1]]
        if len(bounds) == 0:
            longest = int((self.stretches[:, 1] - self.stretches[:, 0]).max(initial=0))
            raise DataError(
                f"the longest stretch of rows without a hole has {longest} candles; an episode that sees {window} "
                f"needs {LOOK_AHEAD + 1} rows with {window - 1} candles before the first: lengthen folds.train, set "
                "training.stride to 1 and training.bootstrap to false, or lower the window"
            )
        return bounds


def build_market(samples: "Samples") -> EpisodeMarket:
    """The market that the rows of `samples` show; episodes stay inside of them.

    Only windows of features reach back before the rows, never across pairs or holes. Of the two last rows of a stretch
    the prices are used, but no decision is made there: what it earns would lie beyond.

    Raises DataError if the samples have no execution prices, or a feature of a row that may be seen is missing.
    """
    tensor, rows = samples.tensor, np.asarray(samples.rows, dtype=np.int64)
    execution = samples.market
    if len(rows) and (np.diff(rows) <= 0).any():
        raise DataError("rows of a market must rise, each once: set training.bootstrap to false for this model")
    starts = _unbroken(tensor.pair, tensor.date)
    breaks = np.flatnonzero((np.diff(rows) > 1) | (np.diff(starts[rows]) > 0)) + 1
    first, last = rows[np.append(0, breaks)[: len(rows)]], rows[np.append(breaks, len(rows))[: len(rows)] - 1]
    stretches = np.column_stack([first, last + 1, starts[first]])
    features = np.ascontiguousarray(tensor.values, dtype=np.float32)
    _check_known(features, rows, tensor)
    return EpisodeMarket(
        features=_read_only(features),
        prices=_read_only(execution.prices),
        funding=_read_only(execution.funding),
        pair=tensor.pair,
        date=tensor.date,
        stretches=_read_only(stretches),
    )


def _unbroken(pair: pd.Categorical, date: pd.DatetimeIndex) -> np.ndarray:
    """For each row the first row from which on no pair ends and no candle is missing (n_rows,) int64.

    Stricter than the segments of the tensor where `market.max_gap` lets them span holes: nothing is traded in a hole.
    """
    code, number = pair.codes, date.as_unit("ms").asi8
    step = np.diff(number)
    same = code[1:] == code[:-1]
    length = step[same].min() if same.any() else 1
    breaks = ~same | (step != length)
    return np.maximum.accumulate(np.append(0, np.where(breaks, np.arange(1, len(code)), 0)))


def _check_known(features: np.ndarray, rows: np.ndarray, tensor) -> None:
    """Raise DataError if a feature of one of the rows is NaN or infinite."""
    known = np.isfinite(features[rows])
    if not known.all():
        row, column = np.argwhere(~known)[0]
        raise DataError(
            f"feature {tensor.names[column]} of {tensor.pair[rows[row]]} at {tensor.date[rows[row]]} is "
            f"{features[rows[row], column]}; an agent needs all of them: add impute to the model's preprocessing"
        )


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
