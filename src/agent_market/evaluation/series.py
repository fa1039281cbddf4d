"""Long series made short enough to draw, with their extremes kept."""

import numpy as np
import pandas as pd

MAX_POINTS = 2000


def bucket_extremes(series: pd.Series, max_points: int = MAX_POINTS) -> pd.Series:
    """At most `max_points` of a series: the lowest and highest of each of equal buckets, in order, and both ends."""
    values = series.to_numpy(dtype=float)
    n = len(values)
    if n <= max_points:
        return series
    size = int(np.ceil(n / ((max_points - 2) // 2)))
    starts = np.arange(0, n, size)
    padded = np.concatenate([values, np.full(len(starts) * size - n, np.nan)]).reshape(len(starts), size)
    some = np.isfinite(padded).any(axis=1)
    lowest = starts + np.argmin(np.where(np.isnan(padded), np.inf, padded), axis=1)
    highest = starts + np.argmax(np.where(np.isnan(padded), -np.inf, padded), axis=1)
    return series.iloc[np.unique(np.concatenate([[0], lowest[some], highest[some], [n - 1]]))]
