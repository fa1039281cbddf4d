"""How far rows have moved from those that came before: of features, and of what a model says."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.learning.samples import KEYS

BINS = 10
LEAST_SHARE = 1e-4
"""What stands for the share of an empty bin, so that its logarithm exists."""


def stability_index(before: np.ndarray, after: np.ndarray, *, bins: int = BINS) -> float:
    """The population stability index Σ (q − p) ln(q / p) over quantile bins of `before`, gaps in one more bin.

    0 is no move; by custom 0.1 is a small one and 0.25 a large one (Siddiqi 2006). Both must have values.
    """
    edges = np.unique(np.nanquantile(before, np.linspace(0.0, 1.0, bins + 1)[1:-1])) if _some(before) else np.array([])
    p, q = (_shares(values, edges) for values in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


def largest_gap(before: np.ndarray, after: np.ndarray) -> float:
    """The Kolmogorov-Smirnov statistic, the largest gap between both distributions, 0 to 1; NaN without values."""
    known, new = (np.sort(values[np.isfinite(values)]) for values in (before, after))
    if not len(known) or not len(new):
        return float("nan")
    points = np.concatenate([known, new])
    gaps = [np.searchsorted(values, points, side="right") / len(values) for values in (known, new)]
    return float(np.abs(gaps[0] - gaps[1]).max())


def feature_drift(features: pd.DataFrame, folds: pd.DataFrame, *, rows: int = 20_000) -> pd.DataFrame:
    """Per fold and feature how far the test window is from the training window: fold, feature, psi, ks.

    Of each window at most `rows` are compared, drawn by chance: every k-th would meet the same hours of the day.
    """
    date = pd.DatetimeIndex(features["date"])
    names = [name for name in features if name not in KEYS]
    values, tables = features[names].to_numpy(np.float32), []
    for fold in folds.to_dict("records"):
        windows = []
        for part in ("train", "test"):
            inside = np.flatnonzero((date >= fold[f"{part}_start"]) & (date < fold[f"{part}_end"]))
            if not len(inside):
                raise DataError(f"fold {fold['fold']} has no rows of features in its {part} window")
            windows.append(drawn_rows(inside, rows))
        before, after = (values[window] for window in windows)
        tables.append(
            pd.DataFrame(
                {
                    "fold": fold["fold"],
                    "feature": names,
                    "psi": [stability_index(x, y) for x, y in zip(before.T, after.T, strict=True)],
                    "ks": [largest_gap(x, y) for x, y in zip(before.T, after.T, strict=True)],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def drawn_rows(rows: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of some rows, in their order: the same draw for the same rows."""
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, limit, replace=False))


def _some(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    if not len(values):
        raise DataError("there are no values to compare; check that each window of the folds has rows")
    place = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), len(edges) + 1)
    return np.maximum(np.bincount(place, minlength=len(edges) + 2) / len(values), LEAST_SHARE)
