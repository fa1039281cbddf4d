"""What a model is asked to foretell: returns from the next open, their excess over the market, and up or down."""

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from agent_market.market.candles import contiguous_segments
from agent_market.options import Options

MIN_PAIRS_FOR_EXCESS = 3


class LabelOptions(Options):
    """Which labels are built."""

    horizons: tuple[int, ...] = Field((1, 4, 12, 24), min_length=1, description="holding times, candles")
    up_threshold: float = Field(0.0, description="`up_<h>` is 1 where the return is above this, fraction")

    @field_validator("horizons")
    @classmethod
    def _positive_and_unique(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if min(horizons) < 1 or len(set(horizons)) != len(horizons):
            raise ValueError(f"horizons must be distinct whole numbers of candles >= 1, got {list(horizons)}")
        return horizons


def build_labels(candles: pd.DataFrame, options: LabelOptions, *, timeframe: str, max_gap: int = 0) -> pd.DataFrame:
    """Labels of every candle and horizon, one row per candle, sorted by (pair, date).

    For horizon ``h`` (candles) and a decision at the close of candle ``t``, executed at the next open:

    - ``return_<h>`` = ``open[t+1+h] / open[t+1] - 1``;
    - ``excess_<h>`` = that return minus its mean over the pairs known at the same date (only with three pairs or more);
    - ``up_<h>`` = 1.0 where the return is above ``up_threshold``, else 0.0;
    - ``label_end_<h>`` = date of candle ``t+1+h``, at whose open the label is known.

    A label is NaN (NaT) where it is not yet known, where it would reach over a hole of more than `max_gap` missing
    candles, and where candle ``t``, the entry or the exit candle was filled in: nobody could trade there.
    """
    labels = candles[["pair", "date"]].copy()
    ends = _segment_ends(contiguous_segments(candles, timeframe, max_gap))
    opens = candles["open"].to_numpy()
    dates = pd.DatetimeIndex(candles["date"])
    real = ~candles["filled"].to_numpy()
    by_excess = candles["pair"].nunique() >= MIN_PAIRS_FOR_EXCESS
    row = np.arange(len(candles))
    for horizon in options.horizons:
        entry, leave = np.minimum(row + 1, len(row) - 1), np.minimum(row + 1 + horizon, len(row) - 1)
        known = (row + 1 + horizon < ends) & real & real[entry] & real[leave]
        change = np.where(known, opens[leave] / opens[entry] - 1.0, np.nan)
        labels[f"return_{horizon}"] = change
        if by_excess:
            market = pd.Series(change).groupby(dates).transform("mean").to_numpy()
            labels[f"excess_{horizon}"] = change - market
        labels[f"up_{horizon}"] = np.where(known, (change > options.up_threshold).astype(float), np.nan)
        labels[f"label_end_{horizon}"] = dates[leave].where(known)
    return labels


def _segment_ends(starts: np.ndarray) -> np.ndarray:
    """For each row, one past the last row of its contiguous segment."""
    return np.repeat(starts[1:], np.diff(starts))
