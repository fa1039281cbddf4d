"""Features that say nothing of their time: the same values, moved around the circle of dates."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from agent_market.errors import ParameterError


def rotate_features(features: pd.DataFrame, offset: int) -> pd.DataFrame:
    """The table with the features of `offset` dates before in each row; the first rows get those of the last dates.

    All pairs move together, so what the pairs show beside one another at one date stays, and so does how features
    follow each other; only what they have to do with the labels and prices of their own time is gone. It is the same as
    to move labels and prices together against the features. Where a pair has no candle at the other date, it has no
    features.

    Args:
        features: pair, date and one column per feature, sorted by pair and date.
        offset: dates, of those that any pair has.
    """
    dates = pd.DatetimeIndex(features["date"].unique()).sort_values()
    at = dates.get_indexer(pd.DatetimeIndex(features["date"]))
    codes = features["pair"].cat.codes.to_numpy()
    row_of = np.full((int(codes.max()) + 1, len(dates)), -1)
    row_of[codes, at] = np.arange(len(features))
    source = row_of[codes, (at - offset) % len(dates)]
    rotated = features.copy()
    names = [name for name in features if name not in ("pair", "date")]
    values = features[names].to_numpy()[source]
    values[source < 0] = np.nan
    rotated[names] = values
    return rotated


def draw_offsets(n_dates: int, least: int, count: int, *, seed: int) -> list[int]:
    """`count` different offsets, `least` dates or more in both directions of the circle; same seed, same offsets.

    A larger `count` only adds offsets.

    Raises:
        ParameterError: There are not so many.
    """
    possible = max(n_dates - 2 * least + 1, 0)
    if possible < count:
        raise ParameterError(
            f"placebo.rotations is {count}, but of {n_dates} dates only {possible} offsets are {least} candles or more "
            "from where they were in both directions: ask for fewer rotations, lower placebo.min_offset, or load more "
            "candles"
        )
    return (least + np.random.default_rng(seed).permutation(possible)[:count]).tolist()


def least_offset(asked: int, look_backs: Iterable[int], horizon: int) -> int:
    """The least offset in candles: what was asked for, and no less than the features look back and labels ahead."""
    return max(asked, max(look_backs, default=1) + horizon + 1)
