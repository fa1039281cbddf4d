"""Predictions beside what came of them, as matrices of dates by pairs."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.errors import DataError

KINDS = ("return", "probability", "position", "score")


@dataclass(frozen=True)
class Panel:
    """Predictions and outcomes of the same rows; NaN where there is none. Arrays are (n_dates, n_pairs)."""

    dates: pd.DatetimeIndex
    pairs: pd.Index
    kind: str
    prediction: np.ndarray
    outcome: np.ndarray  # return_<h>, or excess_<h> where the label is de-meaned
    up: np.ndarray  # 1.0 or 0.0; all NaN unless the kind is a probability
    unpredicted: int  # rows whose prediction is NaN
    unlabelled: int  # rows with a prediction whose outcome is not known

    @property
    def evaluated(self) -> np.ndarray:
        """The rows that have both a prediction and an outcome, bool (n_dates, n_pairs)."""
        return np.isfinite(self.prediction) & np.isfinite(self.outcome)

    @property
    def cross_sectional(self) -> bool:
        """Whether there are the three pairs that a comparison across pairs needs."""
        return len(self.pairs) >= 3


def build_panel(predictions: pd.DataFrame, labels: pd.DataFrame, *, horizon: int, demeaned: bool = False) -> Panel:
    """Line up predictions with `return_<horizon>` (`excess_<horizon>` if `demeaned`) of the same pair and date.

    Raises:
        DataError: no rows, a repeated (pair, date), an unknown or mixed `kind`, or a label column that is missing.
    """
    if len(predictions) == 0:
        raise DataError("there are no predictions to evaluate; check that some fold has test rows")
    kinds = list(predictions["kind"].unique())
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise DataError(f"predictions are of kind {kinds}; expected one of {', '.join(KINDS)} for all rows")
    kind = str(kinds[0])
    dates = pd.DatetimeIndex(predictions["date"].unique()).sort_values()
    pairs = pd.Index(sorted(map(str, predictions["pair"].unique())))

    prediction = _matrix(predictions, "prediction", dates, pairs)
    outcome = _matrix(labels, label_column(labels, "excess" if demeaned else "return", horizon), dates, pairs)
    up = np.full_like(outcome, np.nan)
    if kind == "probability":
        up = _matrix(labels, label_column(labels, "up", horizon), dates, pairs)
        outcome = np.where(np.isfinite(up), outcome, np.nan)
    missing = ~np.isfinite(prediction)
    rows = len(predictions)
    return Panel(
        dates,
        pairs,
        kind,
        np.where(missing, np.nan, prediction),
        np.where(np.isfinite(outcome), outcome, np.nan),
        up,
        unpredicted=rows - int((~missing).sum()),
        unlabelled=int((~missing & ~np.isfinite(outcome)).sum()),
    )


def label_column(labels: pd.DataFrame, target: str, horizon: int) -> str:
    """The name `<target>_<horizon>`, if the labels have it."""
    name = f"{target}_{horizon}"
    if name not in labels:
        known = ", ".join(f"{h}" for h in label_horizons(labels, target)) or "none"
        raise DataError(
            f"labels have no column {name!r}; horizons of {target!r} found: {known}. "
            "Add the horizon to the labels' parameters and build the labels again"
        )
    return name


def label_horizons(labels: pd.DataFrame, target: str = "return") -> list[int]:
    """The horizons (candles) for which the labels have a column `<target>_<h>`, in order."""
    found = (re.fullmatch(rf"{target}_(\d+)", str(name)) for name in labels.columns)
    return sorted(int(match.group(1)) for match in found if match)


def _matrix(frame: pd.DataFrame, column: str, dates: pd.DatetimeIndex, pairs: pd.Index) -> np.ndarray:
    category = frame["pair"].astype("category").cat
    pair_at = pairs.get_indexer(category.categories.astype(str))[category.codes.to_numpy()]
    date_at = dates.get_indexer(pd.DatetimeIndex(frame["date"]))
    known = (pair_at >= 0) & (date_at >= 0)
    at = date_at[known] * len(pairs) + pair_at[known]
    taken = np.zeros(len(dates) * len(pairs), dtype=bool)
    taken[at] = True
    if taken.sum() != len(at):
        raise DataError(f"the table with column {column!r} has repeated rows of a pair and date; drop them")
    values = np.full(len(dates) * len(pairs), np.nan)
    values[at] = frame[column].to_numpy(dtype=float, na_value=np.nan)[known]
    return values.reshape(len(dates), len(pairs))
