"""How much each training row counts: less where labels overlap, and less the older it is."""

from typing import Literal

import numpy as np
import pandas as pd

from agent_market.learning.samples import FeatureTensor
from agent_market.options import timeframe_delta

Weighting = Literal["none", "uniqueness", "recency"]


def sample_weights(
    weighting: Weighting, tensor: FeatureTensor, rows: np.ndarray, label_end: pd.Series, *, half_life: str
) -> np.ndarray | None:
    """Weights (n,) of the training rows at positions `rows`, with a mean of 1; None where all count alike.

    The mean of 1 keeps the meaning of what a model weighs against its rows, such as a penalty or a least leaf weight.
    """
    if weighting == "none" or len(rows) == 0:
        return None
    if weighting == "uniqueness":
        weight = label_uniqueness(tensor, rows, label_end)
    else:
        weight = recency(tensor.date[rows], half_life)
    return weight / weight.mean()


def recency(dates: pd.DatetimeIndex, half_life: str) -> np.ndarray:
    """Weights (n,): 1 for the newest of the dates, half as much for every `half_life` (such as `90d`) before it."""
    return 0.5 ** np.asarray((dates.max() - dates) / timeframe_delta(half_life))


def label_uniqueness(tensor: FeatureTensor, rows: np.ndarray, label_end: pd.Series) -> np.ndarray:
    """Average uniqueness (n,) in (0, 1] of the labels of `rows` (positions in the tensor, in its order).

    The label of candle ``t`` spans the candles from ``t+1`` to the last one before its `label_end` (n_rows of the
    tensor). Only labels of the same pair, and only those of `rows`, overlap.
    """
    run = np.cumsum(np.diff(tensor.pair.codes, prepend=tensor.pair.codes[:1]) != 0)
    first_date = tensor.date.min()

    def key(pair_run: np.ndarray, date: pd.DatetimeIndex) -> np.ndarray:
        return (pair_run << 42) + (date - first_date).as_unit("ms").asi8  # 2**42 ms are 139 years

    ends = pd.DatetimeIndex(label_end.iloc[rows])
    stop = np.searchsorted(key(run, tensor.date), key(run[rows], ends))
    return average_uniqueness(rows + 1, stop, len(tensor.date))


def average_uniqueness(first: np.ndarray, stop: np.ndarray, n_candles: int) -> np.ndarray:
    """Mean over each label's candles ``[first, stop)`` of 1 / (labels that span the candle), shape (n_labels,).

    López de Prado 2018, §4.3, in O(n_labels + n_candles) through running sums. Spans must hold a candle.
    """
    change = np.bincount(first, minlength=n_candles + 1) - np.bincount(stop, minlength=n_candles + 1)
    concurrent = np.cumsum(change)  # (n_candles + 1,)
    share = np.divide(1.0, concurrent, out=np.zeros(len(concurrent)), where=concurrent > 0)
    total = np.concatenate([[0.0], np.cumsum(share)])
    return (total[stop] - total[first]) / (stop - first)
