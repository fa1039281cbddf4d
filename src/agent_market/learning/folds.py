"""The one calendar that models, ensembles, backtests and freqtrade share."""

import numpy as np
import pandas as pd
from pydantic import Field

from agent_market.errors import DataError, ParameterError
from agent_market.options import Options, Span, timeframe_delta

COLUMNS = ("fold", "train_start", "train_end", "valid_start", "valid_end", "test_start", "test_end")


class FoldOptions(Options):
    """Walk-forward windows: train, then validate, then test, then step on by one test window."""

    train: Span = Field("365d", description="length of the training window; its first length when expanding")
    valid: Span = Field("30d", description="length of the validation window (early stopping, tuning)")
    test: Span = Field("60d", description="length of the test window and of the step")
    expanding: bool = Field(False, description="keep the first training date, so that the window grows")
    embargo: int = Field(0, ge=0, description="candles left out after each boundary")


def make_folds(dates: pd.Series, options: FoldOptions, *, timeframe: str) -> pd.DataFrame:
    """Walk-forward folds over the span of `dates`, one row per fold, all intervals half-open ``[start, end)``.

    The first fold starts at the first date; test windows follow one another without overlap, and only whole ones
    are used, so that folds stay what they are when candles are added. Times are datetime64[ms, UTC].

    Raises:
        ParameterError: The data is shorter than one fold.
    """
    first, end = dates.min(), dates.max() + timeframe_delta(timeframe)
    train, valid, test = (timeframe_delta(span) for span in (options.train, options.valid, options.test))
    embargo = options.embargo * timeframe_delta(timeframe)
    needed = train + valid + test + 2 * embargo
    if end - first < needed:
        raise ParameterError(
            f"folds: one fold takes {_days(needed)} (train {options.train} + valid {options.valid} + test "
            f"{options.test} + embargo), but the candles cover {_days(end - first)}, from {first} to {end}. "
            "Shorten folds.train, folds.valid or folds.test, or load more candles."
        )
    rows = []
    while (start := first + len(rows) * test) + needed <= end:
        train_end = start + train
        valid_start = train_end + embargo
        test_start = valid_start + valid + embargo
        rows.append(
            {
                "fold": len(rows),
                "train_start": first if options.expanding else start,
                "train_end": train_end,
                "valid_start": valid_start,
                "valid_end": valid_start + valid,
                "test_start": test_start,
                "test_end": test_start + test,
            }
        )
    times = dict.fromkeys(COLUMNS[1:], "datetime64[ms, UTC]")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(times)


def inner_folds(start: pd.Timestamp, end: pd.Timestamp, n: int, *, timeframe: str, embargo: int = 0) -> pd.DataFrame:
    """Expanding walk-forward folds within ``[start, end)``, such as a training window; columns of `make_folds`.

    The latter half is `n` test windows, one after the other; before each lies a validation window of half its length,
    and before that all that there is since `start` trains. `embargo` candles are left out after each boundary.

    Raises:
        ParameterError: A window would be shorter than a candle.
    """
    step = timeframe_delta(timeframe)
    test = (end - start) / 2 / n // step * step
    valid = test / 2 // step * step
    if valid < step or end - start - n * test - valid - 2 * embargo * step < step:
        raise ParameterError(
            f"{n} inner folds within {_days(end - start)}, from {start} to {end}, leave windows shorter than a candle: "
            "lower tuning.folds or folds.embargo, or lengthen folds.train"
        )
    rows = []
    for number in range(n):
        test_start = end - (n - number) * test
        valid_end = test_start - embargo * step
        train_end = valid_end - valid - embargo * step
        edges = (start, train_end, train_end + embargo * step, valid_end, test_start, test_start + test)
        rows.append((number, *edges))
    times = dict.fromkeys(COLUMNS[1:], "datetime64[ms, UTC]")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(times)


def training_rows(dates: pd.Series, label_end: pd.Series, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray:
    """Positions of the rows in ``[start, end)`` whose label is known by `end`: what reaches beyond is purged."""
    return np.flatnonzero((dates >= start) & (dates < end) & (label_end <= end))


def test_rows(dates: pd.Series, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray:
    """Positions of all rows in ``[start, end)``; whether their label is known yet does not matter."""
    return np.flatnonzero((dates >= start) & (dates < end))


test_rows.__test__ = False  # not a pytest test, in spite of its name


def check_out_of_sample(predictions: pd.DataFrame, folds: pd.DataFrame, *, name: str) -> None:
    """Raise DataError unless each prediction lies in the test window of the fold that it names."""
    windows = folds.set_index("fold").reindex(predictions["fold"])
    date = predictions["date"].to_numpy()
    outside = ~((date >= windows["test_start"].to_numpy()) & (date < windows["test_end"].to_numpy()))
    if outside.any():
        row = predictions.iloc[int(np.argmax(outside))]
        raise DataError(
            f"{name}: {outside.sum()} of {len(predictions)} predictions lie outside the test window of their fold, "
            f"the first at {row['date']} ({row['pair']}, fold {row['fold']}). They were made with another fold "
            "calendar: train the model again with the present one."
        )


def _days(span: pd.Timedelta) -> str:
    return f"{span / pd.Timedelta(days=1):g} days"
