"""What the predictions of a trained model rest on: a description after the fact, which nothing learns from.

All of it is of rows in the test windows, each explained by the model of its own fold.
"""

import joblib
import numpy as np
import pandas as pd
from pydantic import Field

from agent_market.adapters import Adapter
from agent_market.learning.drift import drawn_rows, largest_gap, stability_index
from agent_market.learning.folds import test_rows
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.trained import FoldModel, TrainedModel
from agent_market.options import Options
from agent_market.parallel import run_parallel

HISTORY = 512
"""Candles before a window that a model may look back at, or by which a policy finds the position that it holds."""

COLUMNS = ("fold", "feature", "method", "value", "share", "direction", "rows")


class AttributionOptions(Options):
    """How many rows are looked at."""

    rows: int = Field(2000, ge=50, description="test rows per fold of which each feature's contribution is taken")
    permuted_rows: int = Field(
        160,
        ge=50,
        description="test rows per fold that are foretold again without each feature, where a model has no exact "
        "contributions; policies take six times as many, because theirs must be adjacent",
    )


def attribute(
    model: TrainedModel, features: pd.DataFrame, folds: pd.DataFrame, options: AttributionOptions, *, n_jobs: int = 1
) -> pd.DataFrame:
    """How strongly each fold's predictions of its test window rest on each feature: columns `COLUMNS`.

    `value` is, by `method`,

    - `shap`, `coefficient`: the mean size of the feature's contribution to a prediction, where the adapter has
      `contributions`, in the units of the prediction (of a classification, log-odds);
    - `permutation`: the root mean square change of the prediction when the feature is rotated in time within the test
      window, separately for each pair: its distribution and its autocorrelation stay, what it knows is gone.

    `share` is the value over its sum in the fold. `direction` is the rank correlation of the feature and its
    contribution, -1 to 1: whether more of it raises the prediction; NaN for permutations. Labels are not looked at:
    on so few rows the loss of IC by one feature is far smaller than its error.
    """
    tensor = FeatureTensor.from_frame(features, timeframe=model.timeframe, max_gap=model.max_gap)
    by_fold = [joblib.delayed(_attribute_fold)(model, part, tensor, folds, options) for part in model.folds]
    return pd.concat(run_parallel(by_fold, n_jobs=n_jobs, backend="threading"), ignore_index=True)


def prediction_drift(
    model: TrainedModel, features: pd.DataFrame, predictions: pd.DataFrame, folds: pd.DataFrame, *, rows: int = 4000
) -> pd.DataFrame:
    """Per fold how far predictions of the test window are from those of the validation window before it.

    Columns fold, psi, ks, mean_before, mean_test, deviation_before, deviation_test, in units of the prediction. What
    the model says of the rows it was fitted to is no measure: it says more there than of rows that are new to it.
    A fold without a validation window is left out; of the others at most `rows` are foretold, but all of them for
    a policy, whose positions depend on those before.
    """
    tensor = FeatureTensor.from_frame(features, timeframe=model.timeframe, max_gap=model.max_gap)
    table = []
    for part in model.folds:
        fold = folds.set_index("fold").loc[part.fold]
        valid = _known(tensor, test_rows(tensor.date, fold["valid_start"], fold["valid_end"]))
        if not len(valid):
            continue
        window, valid = _window(tensor, valid)
        if model.kind != "position":
            valid = spread_rows(window.date, valid, rows)
        before = part.predict(model.adapter, window, valid)
        after = predictions.loc[predictions["fold"] == part.fold, "prediction"].to_numpy(float)
        table.append(
            {
                "fold": part.fold,
                "psi": stability_index(before, after),
                "ks": largest_gap(before, after),
                "mean_before": before.mean(),
                "mean_test": after.mean(),
                "deviation_before": before.std(),
                "deviation_test": after.std(),
            }
        )
    columns = ["psi", "ks", "mean_before", "mean_test", "deviation_before", "deviation_test"]
    return pd.DataFrame(table, columns=["fold", *columns]).astype({"fold": "int64"} | dict.fromkeys(columns, float))


def spread_rows(date: pd.DatetimeIndex, rows: np.ndarray, limit: int) -> np.ndarray:
    """About `limit` of the rows: those of dates drawn by chance, with all pairs of a date, in their order."""
    dates = date[rows].unique().sort_values()
    n_dates = max(limit * len(dates) // len(rows), 1)
    if n_dates >= len(dates):
        return rows
    return rows[date[rows].isin(dates[drawn_rows(np.arange(len(dates)), n_dates)])]


def _attribute_fold(
    model: TrainedModel, part: FoldModel, tensor: FeatureTensor, folds: pd.DataFrame, options: AttributionOptions
) -> pd.DataFrame:
    adapter = model.adapter
    window, test = _window(tensor, _test_rows(tensor, folds, part.fold))
    if hasattr(adapter, "contributions"):
        method, rows = getattr(adapter, "CONTRIBUTIONS", "shap"), spread_rows(window.date, test, options.rows)
        value, direction = _contributed(adapter, part, window, rows)
    else:
        method = "permutation"
        rows = _rows_to_repeat(window.date, test, options.permuted_rows, model.kind)
        value, direction = _rotated(adapter, part, window, test, rows), np.full(len(tensor.names), np.nan)
    total = value.sum()
    columns = (part.fold, tensor.names, method, value, value / total if total > 0 else value, direction, len(rows))
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _window(tensor: FeatureTensor, rows: np.ndarray) -> tuple[FeatureTensor, np.ndarray]:
    """A small tensor of the rows and of the history before them, and where they are in it: models that scale or copy
    all that they are given are then quick."""
    first, last = tensor.date[rows].min(), tensor.date[rows].max()
    inside = (tensor.date >= first) & (tensor.date <= last)
    near = np.convolve(inside, np.ones(HISTORY + 1), "full")[HISTORY:] > 0.0  # up to HISTORY rows before
    kept = np.flatnonzero(inside | (near & (tensor.date < first)))
    start = np.searchsorted(kept, tensor.segment_start[kept])  # of a segment cut off, its first row that is kept
    small = FeatureTensor(tensor.values[kept], tensor.names, tensor.pair[kept], tensor.date[kept], start)
    return small, np.searchsorted(kept, rows)


def _rows_to_repeat(date: pd.DatetimeIndex, test: np.ndarray, limit: int, kind: str) -> np.ndarray:
    """Rows spread over the window, or for a policy, whose positions depend on those before, adjacent ones."""
    if kind != "position":
        return spread_rows(date, test, limit)
    dates = date[test].unique().sort_values()
    n_dates = min(max(6 * limit * len(dates) // len(test), 1), len(dates))
    first = (len(dates) - n_dates) // 2
    return test[(date[test] >= dates[first]) & (date[test] <= dates[first + n_dates - 1])]


def _contributed(
    adapter: Adapter, part: FoldModel, tensor: FeatureTensor, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean size of each feature's contributions, and how they go with the feature: both (n_features,)."""
    samples = part.samples(tensor, rows)
    added = np.asarray(adapter.contributions(part.model, samples), float) * part.target_scale  # (n, d)
    values = pd.DataFrame(samples.X.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = values.rank().corrwith(pd.DataFrame(added).rank()).to_numpy()
    return np.abs(added).mean(axis=0), direction


def _rotated(
    adapter: Adapter, part: FoldModel, tensor: FeatureTensor, test: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Root mean square change of the predictions of `rows` with each feature rotated in `test`: (n_features,)."""
    samples = part.samples(tensor, rows)
    values = samples.tensor.values.copy()
    rotated = _rotation(tensor, test, seed=part.fold)
    said = _first(adapter.predict(part.model, samples.with_values(values)))
    changes = np.empty(values.shape[1])
    for feature in range(values.shape[1]):
        kept = values[test, feature].copy()
        values[test, feature] = values[rotated, feature]
        other = _first(adapter.predict(part.model, samples.with_values(values)))
        values[test, feature] = kept
        changes[feature] = np.sqrt(np.mean((other - said) ** 2))
    return changes * part.target_scale


def _rotation(tensor: FeatureTensor, test: np.ndarray, *, seed: int) -> np.ndarray:
    """For each of the rows `test` the row of the same pair whose value it gets: a quarter to three quarters later."""
    rng = np.random.default_rng(seed)
    source = test.copy()
    pair = tensor.pair.codes[test]
    for code in np.unique(pair):
        own = np.flatnonzero(pair == code)
        source[own] = np.roll(test[own], -int(len(own) * rng.uniform(0.25, 0.75)))
    return source


def _first(said: np.ndarray) -> np.ndarray:
    said = np.asarray(said, float)
    return said if said.ndim == 1 else said[:, 0]


def _test_rows(tensor: FeatureTensor, folds: pd.DataFrame, number: int) -> np.ndarray:
    fold = folds.set_index("fold").loc[number]
    return _known(tensor, test_rows(tensor.date, fold["test_start"], fold["test_end"]))


def _known(tensor: FeatureTensor, rows: np.ndarray) -> np.ndarray:
    return rows[np.isfinite(tensor.values[rows]).any(axis=1)]
