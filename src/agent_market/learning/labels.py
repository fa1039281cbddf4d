"""What a model is asked to foretell: returns from the next open, and labels made of them or of their path."""

import math
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from agent_market.market.candles import contiguous_segments
from agent_market.options import Options

MIN_PAIRS = 3
"""Fewer pairs than this have no market to be compared with: no excess and no rank."""

LabelKind = Literal["scaled", "class", "barrier", "rank"]


class LabelOptions(Options):
    """Which labels are built."""

    horizons: tuple[int, ...] = Field((1, 4, 12, 24), min_length=1, description="holding times, candles")
    up_threshold: float = Field(0.0, description="`up_<h>` is 1 where the return is above this, fraction")
    kinds: tuple[LabelKind, ...] = Field((), description="labels to build beside return, excess and up")
    volatility_window: int = Field(100, ge=2, description="one-candle returns that the trailing volatility is made of")
    class_threshold: float = Field(0.5, ge=0, description="`class_<h>` is 1 above it, -1 below its negative, else 0")
    class_unit: Literal["volatility", "return"] = Field(
        "volatility", description="unit of class_threshold: the volatility of the horizon, or the return as a fraction"
    )
    take_profit: float = Field(1.0, gt=0, description="upper barrier above the entry, in volatilities of the horizon")
    stop_loss: float = Field(1.0, gt=0, description="lower barrier below the entry, in volatilities of the horizon")
    touch: Literal["high_low", "close"] = Field(
        "high_low", description="what touches a barrier: a candle's high or low, or its close (exit at the next open)"
    )

    @field_validator("horizons")
    @classmethod
    def _positive_and_unique(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if min(horizons) < 1 or len(set(horizons)) != len(horizons):
            raise ValueError(f"horizons must be distinct whole numbers of candles >= 1, got {list(horizons)}")
        return horizons

    def including(self, kind: str) -> "LabelOptions":
        """The same options with one more kind of label; `return` is always there."""
        if kind == "return" or kind in self.kinds:
            return self
        return self.model_copy(update={"kinds": (*self.kinds, kind)})


def build_labels(candles: pd.DataFrame, options: LabelOptions, *, timeframe: str, max_gap: int = 0) -> pd.DataFrame:
    """Labels of every candle and horizon, one row per candle, sorted by (pair, date).

    For horizon ``h`` (candles) and a decision at the close of candle ``t``, executed at the next open:

    - ``return_<h>`` = ``open[t+1+h] / open[t+1] - 1``;
    - ``excess_<h>`` = that return minus its mean over the pairs that are held over the same candles (only in a table
      of three pairs or more; NaN where one is held alone);
    - ``up_<h>`` = 1.0 where the return is above ``up_threshold``, else 0.0;
    - ``label_end_<h>`` = date of candle ``t+1+h``, at whose open all of these and the next three are known.

    Of `kinds`, with ``volatility`` = `trailing_volatility` at the close of ``t``, which becomes a column of its own:

    - ``scaled_<h>`` = ``return_<h> / (volatility * sqrt(h))``, and ``scaled_excess_<h>`` likewise of the excess;
    - ``class_<h>`` = 1.0, 0.0 or -1.0 as the return (or the scaled return) is above ``class_threshold``, between, or
      below its negative;
    - ``rank_<h>`` = rank of the return among the pairs held over the same candles, from -0.5 (lowest) to 0.5, ties at
      their mean (NaN for fewer than three);
    - ``barrier_<h>`` = 1.0, -1.0 or 0.0 as the price first touches the take-profit, the stop or neither within candles
      ``t+1`` … ``t+h``; ``barrier_return_<h>`` is the return at that exit, ``label_end_barrier_<h>`` the date of the
      candle after it. See `agent_market.learning.barriers`.

    A label is NaN (NaT) where it is not yet known, where it would reach over a hole of more than `max_gap` missing
    candles, and where candle ``t``, the entry or the exit candle was filled in: nobody could trade there. Labels in
    units of volatility are NaN also where that is not known yet, or is 0.
    """
    labels = candles[["pair", "date"]].copy()
    ends = _segment_ends(contiguous_segments(candles, timeframe, max_gap))
    volatility = None
    if needs_volatility(options):
        volatility = trailing_volatility(candles, options.volatility_window, timeframe=timeframe, max_gap=max_gap)
        labels["volatility"] = volatility
    for horizon in options.horizons:
        made = _of_return(candles, ends, options, horizon, same_end=max_gap > 0)
        if volatility is not None:
            made |= _by_volatility(candles, ends, options, horizon, volatility, made)
        for name, values in made.items():
            labels[f"{name}_{horizon}"] = values
    return labels


def label_end_column(target: str) -> str:
    """The column that says when the label in column `target` (such as `excess_12`) is known."""
    kind, _, horizon = target.rpartition("_")
    return f"label_end_barrier_{horizon}" if kind in ("barrier", "barrier_return") else f"label_end_{horizon}"


def needs_volatility(options: LabelOptions) -> bool:
    """Whether some label of the options is measured in units of trailing volatility."""
    by_volatility = {"scaled", "barrier"} | ({"class"} if options.class_unit == "volatility" else set())
    return bool(by_volatility & set(options.kinds))


def trailing_volatility(candles: pd.DataFrame, window: int, *, timeframe: str, max_gap: int = 0) -> np.ndarray:
    """Volatility per candle, known at each candle's close: float64 array of shape (n_rows,), a fraction.

    The root of the mean of the last `window` squared log returns from close to close; NaN where a pair's stretch
    without a hole of more than `max_gap` candles has fewer. Times ``sqrt(h)`` it is the volatility of `h` candles.
    A filled candle adds no movement, and the next one adds that of both: their mean is right.
    """
    starts = contiguous_segments(candles, timeframe, max_gap)
    step = np.diff(np.log(candles["close"].to_numpy()), prepend=np.nan)
    step[starts[:-1]] = np.nan
    segment = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    # By segment, so that no pair's sum carries the rounding of another's.
    mean = pd.Series(step**2).groupby(segment).rolling(window).mean()
    return np.sqrt(mean.to_numpy())


def _of_return(
    candles: pd.DataFrame, ends: np.ndarray, options: LabelOptions, horizon: int, *, same_end: bool
) -> dict[str, np.ndarray | pd.DatetimeIndex]:
    """Labels made of the return over the horizon, alone or beside other pairs'."""
    opens, dates = candles["open"].to_numpy(), pd.DatetimeIndex(candles["date"])
    real, row = ~candles["filled"].to_numpy(), np.arange(len(candles))
    entry, leave = np.minimum(row + 1, len(row) - 1), np.minimum(row + 1 + horizon, len(row) - 1)
    known = (row + 1 + horizon < ends) & real & real[entry] & real[leave]
    change = np.where(known, opens[leave] / opens[entry] - 1.0, np.nan)
    label_end = dates[leave].where(known)
    # A short gap may lie in one pair and not in another: then only what is known at the same time is compared.
    together = [dates, label_end] if same_end else [dates]
    by_pairs = candles["pair"].nunique() >= MIN_PAIRS
    made = {"return": change}
    if by_pairs:
        made["excess"] = _excess(pd.Series(change), together)
    made["up"] = np.where(known, (change > options.up_threshold).astype(float), np.nan)
    made["label_end"] = label_end
    if "class" in options.kinds and options.class_unit == "return":
        made["class"] = _class(change, options.class_threshold)
    if "rank" in options.kinds and by_pairs:
        made["rank"] = _centred_rank(pd.Series(change), together)
    return made


def _by_volatility(
    candles: pd.DataFrame,
    ends: np.ndarray,
    options: LabelOptions,
    horizon: int,
    volatility: np.ndarray,
    made: dict[str, np.ndarray],
) -> dict[str, np.ndarray | pd.DatetimeIndex]:
    """Labels in units of the horizon's volatility, from the returns that are `made` and from the path of the price."""
    width = np.where(volatility > 0, volatility, np.nan) * math.sqrt(horizon)
    further = {}
    if "scaled" in options.kinds:
        further["scaled"] = made["return"] / width
        if "excess" in made:
            further["scaled_excess"] = made["excess"] / width
    if "class" in options.kinds and options.class_unit == "volatility":
        further["class"] = _class(made["return"] / width, options.class_threshold)
    if "barrier" in options.kinds:
        further |= _barrier(candles, ends, options, horizon, width)
    return further


def _class(size: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(np.isfinite(size), (size > threshold) - 1.0 * (size < -threshold), np.nan)


def _excess(returns: pd.Series, together: list[pd.DatetimeIndex]) -> np.ndarray:
    """Returns less the mean of their group; NaN where there is no other pair to compare with."""
    groups = returns.groupby(together)
    mean = groups.transform("mean").where(groups.transform("count") > 1)
    return (returns - mean).to_numpy()


def _centred_rank(returns: pd.Series, together: list[pd.DatetimeIndex]) -> np.ndarray:
    """Ranks within each group, from -0.5 to 0.5; NaN in groups of fewer than MIN_PAIRS."""
    groups = returns.groupby(together)
    count = groups.transform("count")
    return ((groups.rank() - 1.0) / (count - 1.0).where(count >= MIN_PAIRS) - 0.5).to_numpy()


def _barrier(
    candles: pd.DataFrame, ends: np.ndarray, options: LabelOptions, horizon: int, width: np.ndarray
) -> dict[str, np.ndarray | pd.DatetimeIndex]:
    """Columns of the triple-barrier label of one horizon."""
    from agent_market.learning.barriers import first_touch  # numba is slow to import

    # Copies: an array that pandas marks as read-only would be another type to compile for.
    prices = (np.array(candles[column], float) for column in ("open", "high", "low", "close"))
    filled = np.array(candles["filled"], bool)
    barriers = options.take_profit, options.stop_loss, options.touch == "close"
    outcome, realised, end = first_touch(*prices, filled, ends, width, horizon, *barriers)
    known = pd.DatetimeIndex(candles["date"])[np.maximum(end, 0)].where(end >= 0)
    return {"barrier": outcome, "barrier_return": realised, "label_end_barrier": known}


def _segment_ends(starts: np.ndarray) -> np.ndarray:
    """For each row, one past the last row of its contiguous segment."""
    return np.repeat(starts[1:], np.diff(starts))
