"""Which rows a model is fitted to: those whose label is known in time, and of these a part where there are many."""

import numpy as np
import pandas as pd

from agent_market.learning.folds import training_rows
from agent_market.learning.samples import FeatureTensor
from agent_market.options import timeframe_delta


def labelled_rows(
    tensor: FeatureTensor,
    labels: pd.DataFrame,
    target: str,
    label_end: str,
    start: pd.Timestamp,
    end: pd.Timestamp,
) -> np.ndarray:
    """Positions of the rows in ``[start, end)`` with a feature and with the label `target`, known by `end`."""
    rows = training_rows(tensor.date, labels[label_end], start, end)
    usable = np.isfinite(labels[target].to_numpy()[rows]) & np.isfinite(tensor.values[rows]).any(axis=1)
    return rows[usable]


def every_kth(tensor: FeatureTensor, rows: np.ndarray, stride: int, *, timeframe: str) -> np.ndarray:
    """Those of `rows` whose candle is a `stride`-th one of the clock since 1970: the same dates for all pairs."""
    if stride == 1:
        return rows
    number = tensor.date[rows].as_unit("ms").asi8 // (timeframe_delta(timeframe) // pd.Timedelta(1, "ms"))
    return rows[number % stride == 0]


def bootstrap(
    rows: np.ndarray, uniqueness: np.ndarray, *, seed: int | tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows drawn with replacement in proportion to the `uniqueness` (n,) of their labels, and how often each was.

    As many draws as the labels are worth independent ones: their total uniqueness. Rows come out once each, in their
    order, with the count to weigh them by. López de Prado 2018, §4.5, with probabilities that are not updated after
    each draw: that would cost O(n²).
    """
    total = uniqueness.sum()
    count = np.random.default_rng(seed).multinomial(max(round(total), 1), uniqueness / total)
    return rows[count > 0], count[count > 0].astype(float)
