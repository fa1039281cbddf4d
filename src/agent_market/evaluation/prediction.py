"""How good predictions are: information coefficients, their errors under overlap, and prediction errors."""

import re
from typing import Any

import bottleneck
import numpy as np
import pandas as pd

from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.panel import Panel, build_panel, label_horizons
from agent_market.evaluation.significance import mean_interval, overlap_lags

MIN_PAIRS = 3
"""Fewer pairs than this at a date give no correlation across pairs."""

SEED = re.compile(r"prediction_seed\d+")
"""Columns of what each member of an ensemble of seeds says."""


def prediction_metrics(
    predictions: pd.DataFrame, labels: pd.DataFrame, *, horizon: int, demeaned: bool
) -> dict[str, Any]:
    """The prediction figures of one model on its test rows, JSON-safe; a figure that is not defined is None.

    Intervals are of 95 % and, like the t values, corrected for the overlap of labels (see `overlap_lags`).
    Rows without a label are left out and counted in `n_unlabelled`. Of an ensemble of seeds (`prediction_seed0`, …)
    there is also the spread of IC and RankIC over its members, each taken alone.

    Args:
        predictions: pair, date, prediction, kind of one model, and `prediction_seed<i>` where it has several seeds.
        labels: pair, date and the columns of that horizon.
        horizon: candles from the entry to the end of the label.
        demeaned: whether the model predicts `excess_<horizon>` rather than `return_<horizon>`.
    """
    panel = build_panel(predictions, labels, horizon=horizon, demeaned=demeaned)
    ic, rank_ic = _ic_by_date(panel)
    lags = {"horizon": horizon}
    metrics: dict[str, Any] = {"kind": panel.kind}
    metrics |= _ic_summary("ic", ic, **lags) | _ic_summary("rank_ic", rank_ic, **lags)
    metrics |= _fit_metrics(panel)
    metrics |= _hit_rate(panel, **lags)
    metrics |= _seed_metrics(predictions, labels, horizon=horizon, demeaned=demeaned)
    if panel.kind == "probability":
        metrics |= _probability_metrics(panel)
    seen = panel.dates[panel.evaluated.any(axis=1)]
    metrics |= {
        "horizon": horizon,
        "demeaned": demeaned,
        "ic_method": "cross-sectional" if panel.cross_sectional else "time-series",
        "n_rows": int(panel.evaluated.sum()),
        "n_dates": int(np.isfinite(rank_ic).sum()),
        "n_pairs": len(panel.pairs),
        "n_unlabelled": panel.unlabelled,
        "n_unpredicted": panel.unpredicted,
        "first_date": seen[0] if len(seen) else None,
        "last_date": seen[-1] if len(seen) else None,
    }
    return to_jsonable(metrics)


def ic_series(predictions: pd.DataFrame, labels: pd.DataFrame, horizon: int, *, demeaned: bool = False) -> pd.DataFrame:
    """The information coefficient of each date: columns date, ic (Pearson), rank_ic (Spearman); NaN if undefined.

    With three pairs or more it is the correlation across pairs at that date. With one or two, it is the mean over
    pairs of the product of standardised values (ranks): its mean over dates is the pairs' correlation over time.
    """
    panel = build_panel(predictions, labels, horizon=horizon, demeaned=demeaned)
    ic, rank_ic = _ic_by_date(panel)
    return pd.DataFrame({"date": panel.dates, "ic": ic, "rank_ic": rank_ic})


def ic_decay(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    horizons: list[int] | None = None,
    *,
    demeaned: bool = False,
) -> pd.DataFrame:
    """RankIC of the same predictions at each label horizon: horizon, rank_ic, rank_ic_low, rank_ic_high, n_dates.

    Without `horizons` these are all that the labels have. Intervals are of 95 %, each with its horizon's lags.
    """
    rows = []
    for horizon in horizons or label_horizons(labels, "excess" if demeaned else "return"):
        series = ic_series(predictions, labels, horizon, demeaned=demeaned)["rank_ic"].to_numpy()
        summary = _ic_summary("rank_ic", series, horizon=horizon)
        rows.append({"horizon": horizon} | summary | {"n_dates": int(np.isfinite(series).sum())})
    columns = ["horizon", "rank_ic", "rank_ic_low", "rank_ic_high", "n_dates"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[1:4], float))


def fold_ic(predictions: pd.DataFrame, labels: pd.DataFrame, horizon: int, *, demeaned: bool = False) -> pd.DataFrame:
    """RankIC of each fold's test rows: fold, start, end, rank_ic, rank_ic_low, rank_ic_high, n_dates."""
    rows = []
    for fold, part in predictions.groupby("fold", sort=True):
        series = ic_series(part, labels, horizon, demeaned=demeaned)
        values = series["rank_ic"].to_numpy()
        row = {"fold": fold, "start": series["date"].iloc[0], "end": series["date"].iloc[-1]}
        rows.append(row | _ic_summary("rank_ic", values, horizon=horizon) | {"n_dates": int(np.isfinite(values).sum())})
    columns = ["fold", "start", "end", "rank_ic", "rank_ic_low", "rank_ic_high", "n_dates"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:6], float))


def quantile_returns(predictions: pd.DataFrame, labels: pd.DataFrame, horizon: int, n: int = 5) -> pd.DataFrame:
    """Mean return by quantile of the prediction, basis points per `horizon` candles, with a 95 % interval.

    Columns quantile ("1" lowest … "n" highest, then "spread": highest less lowest), mean_bp, low_bp, high_bp, n_rows.
    With three pairs or more, quantiles are taken across pairs at each date (at most as many as pairs) and returns
    are in excess of the date's mean. With one or two, each pair's rows are ranked over the whole test span and
    returns are plain; that sorting knows the whole span, which judges a prediction but could not be traded.
    """
    panel = build_panel(predictions, labels, horizon=horizon)
    rows = panel.evaluated
    prediction = np.where(rows, panel.prediction, np.nan)
    outcome = np.where(rows, panel.outcome, np.nan)
    axis = 1 if panel.cross_sectional else 0
    n = min(n, len(panel.pairs)) if panel.cross_sectional else n
    count = rows.sum(axis=axis, keepdims=True)
    enough = rows & (count >= n)
    if panel.cross_sectional:
        outcome = outcome - np.where(rows, outcome, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    share = (bottleneck.nanrankdata(prediction, axis=axis) - 0.5) / np.maximum(count, 1)
    bucket = np.where(enough, np.floor(np.where(enough, share, 0.0) * n), -1)

    means, errors, sizes = [], [], []
    for quantile in range(n):
        member = bucket == quantile
        size = member.sum(axis=1)
        mean = np.where(member, outcome, 0.0).sum(axis=1) / np.maximum(size, 1) * 1e4
        at = size > 0
        centre = mean[at].mean() if at.any() else np.nan
        means.append(centre)
        # What each date adds to the mean; zero where the bucket is empty, so that lags stay candles.
        errors.append(np.where(at, mean - centre, 0.0) / at.mean() if at.any() else np.zeros(len(at)))
        sizes.append(int(size.sum()))
    means.append(means[-1] - means[0])
    errors.append(errors[-1] - errors[0])
    sizes.append(sizes[-1] + sizes[0])
    intervals = [mean_interval(error, overlap_lags(horizon, len(error))) for error in errors]
    return pd.DataFrame(
        {
            "quantile": [str(q + 1) for q in range(n)] + ["spread"],
            "mean_bp": means,
            "low_bp": [mean + interval.low for mean, interval in zip(means, intervals, strict=True)],
            "high_bp": [mean + interval.high for mean, interval in zip(means, intervals, strict=True)],
            "n_rows": sizes,
        }
    )


def _ic_by_date(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Pearson and Spearman coefficients of each date, NaN where they are not defined."""
    rows = panel.evaluated
    x = np.where(rows, panel.prediction, np.nan)
    y = np.where(rows, panel.outcome, np.nan)
    axis = 1 if panel.cross_sectional else 0
    ranks = bottleneck.nanrankdata(x, axis=axis), bottleneck.nanrankdata(y, axis=axis)
    return _coefficients(x, y, axis), _coefficients(*ranks, axis)


def rank_products(panel: Panel) -> np.ndarray:
    """Products of standardised ranks of predictions and outcomes (n_dates, n_pairs), NaN where there is none.

    Their mean over the pairs of a date is the RankIC of the date.
    """
    axis = 1 if panel.cross_sectional else 0
    x, y = (np.where(panel.evaluated, values, np.nan) for values in (panel.prediction, panel.outcome))
    products = _standardise(bottleneck.nanrankdata(x, axis=axis), axis) * _standardise(
        bottleneck.nanrankdata(y, axis=axis), axis
    )
    if axis == 1:
        products[np.isfinite(products).sum(axis=1) < MIN_PAIRS] = np.nan
    return products


def _coefficients(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """At each date the mean over pairs of products of values standardised across pairs (axis 1) or dates (axis 0).

    Standardised across pairs, that mean is the correlation of the date.
    """
    product = _standardise(x, axis) * _standardise(y, axis)
    known = np.isfinite(product)
    count = known.sum(axis=1)
    total = np.where(known, product, 0.0).sum(axis=1)
    enough = count >= (MIN_PAIRS if axis == 1 else 1)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=enough)


def _standardise(values: np.ndarray, axis: int) -> np.ndarray:
    """(value - mean) / standard deviation (ddof 0) along an axis, ignoring NaN; NaN where all values are equal."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=axis, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(axis=axis, keepdims=True) / count
    centred = np.where(known, values - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=axis, keepdims=True) / count)
    largest = np.where(known, np.abs(values), 0.0).max(axis=axis, keepdims=True)
    varies = known & (deviation > 1e-12 * largest)
    return np.divide(centred, deviation, out=np.full(values.shape, np.nan), where=varies)


def _ic_summary(name: str, series: np.ndarray, *, horizon: int) -> dict[str, float | None]:
    """Mean, 95 % interval, overlap-corrected t and mean/deviation (not annualised) of a series of coefficients."""
    values = series[np.isfinite(series)]
    interval = mean_interval(values, overlap_lags(horizon, len(values)))
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {
        name: interval.mean,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        f"{name}_t": interval.t,
        f"{name}ir": interval.mean / deviation if deviation > 1e-12 else None,
    }


def _seed_metrics(
    predictions: pd.DataFrame, labels: pd.DataFrame, *, horizon: int, demeaned: bool
) -> dict[str, int | float | list[float] | None]:
    """`n_seeds`, and of IC and RankIC the value of each seed, their mean and their deviation (ddof 1)."""
    seeds = [column for column in predictions if SEED.fullmatch(str(column))]
    metrics: dict[str, int | float | list[float] | None] = {"n_seeds": len(seeds) or None}
    alone = [
        _ic_by_date(
            build_panel(predictions.assign(prediction=predictions[seed]), labels, horizon=horizon, demeaned=demeaned)
        )
        for seed in seeds
    ]
    for position, name in enumerate(("ic", "rank_ic")):
        series = [both[position] for both in alone]
        means = [
            float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else np.nan for values in series
        ]
        metrics[f"{name}_seeds"] = means or None
        metrics[f"{name}_seed_mean"] = float(np.mean(means)) if means else None
        metrics[f"{name}_seed_std"] = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return metrics


def _fit_metrics(panel: Panel) -> dict[str, float | None]:
    """`r2_oos` against the forecast of knowing nothing (a return of 0, a probability of one half), and `r2`.

    A position or a score has other units than the return that came: there is nothing to subtract.
    """
    rows = panel.evaluated
    if panel.kind in ("position", "score") or not rows.any():
        return {"r2_oos": None, "r2": None}
    if panel.kind == "probability":
        x, y = panel.prediction[rows] - 0.5, panel.up[rows] - 0.5
    else:
        x, y = panel.prediction[rows], panel.outcome[rows]
    error = float(((y - x) ** 2).sum())
    total, spread = float((y**2).sum()), float(((y - y.mean()) ** 2).sum())
    return {
        "r2_oos": 1.0 - error / total if total > 0.0 else None,
        "r2": 1.0 - error / spread if spread > 1e-12 * total else None,
    }


def _hit_rate(panel: Panel, *, horizon: int) -> dict[str, float | None]:
    """The share of rows whose direction was right; rows without a direction on either side do not count."""
    if panel.kind == "probability":
        said, came = np.sign(panel.prediction - 0.5), np.sign(panel.up - 0.5)
    else:
        said, came = np.sign(panel.prediction), np.sign(panel.outcome)
    counts = panel.evaluated & (said != 0.0) & (came != 0.0)
    size = counts.sum(axis=1)
    if not size.any():
        return {"hit_rate": None, "hit_rate_low": None, "hit_rate_high": None}
    hits = (counts & (said == came)).sum(axis=1)
    rate = hits.sum() / size.sum()
    # Linearised ratio of sums: each date adds its hits beyond the mean rate.
    interval = mean_interval((hits - rate * size) / size.mean(), overlap_lags(horizon, len(size)))
    return {
        "hit_rate": rate,
        "hit_rate_low": max(rate + interval.low, 0.0),
        "hit_rate_high": min(rate + interval.high, 1.0),
    }


def _probability_metrics(panel: Panel) -> dict[str, float | None]:
    """Log loss (nats) and the area under the ROC curve (Mann-Whitney)."""
    rows = panel.evaluated
    if not rows.any():
        return {"logloss": None, "auc": None}
    up, probability = panel.up[rows], np.clip(panel.prediction[rows], 1e-15, 1.0 - 1e-15)
    loss = -(up * np.log(probability) + (1.0 - up) * np.log1p(-probability)).mean()
    n_up = float(up.sum())
    n_down = len(up) - n_up
    auc = None
    if n_up and n_down:
        ranks = bottleneck.rankdata(panel.prediction[rows])
        auc = (ranks[up == 1.0].sum() - n_up * (n_up + 1) / 2) / (n_up * n_down)
    return {"logloss": loss, "auc": auc}
