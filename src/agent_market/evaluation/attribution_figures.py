"""Pictures and tables of what one model rests on, how steadily, and how far its world has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agent_market.evaluation.drawing import GREY, OKABE_ITO, digits, error_bars, finish
from agent_market.evaluation.figures import importance_shares

if TYPE_CHECKING:
    import plotly.graph_objects as go

TOP = 20
SMALL_DRIFT, LARGE_DRIFT = 0.1, 0.25
"""Customary marks of the population stability index (Siddiqi 2006)."""
METHODS = {
    "shap": "SHAP, test rows",
    "coefficient": "coefficient × feature, test rows",
    "permutation": "change when rotated in time, test rows",
    "importance": "the model's own importance",
}
"""How each method is called on the page."""


def attribution_figure(attribution: pd.DataFrame, importance: pd.DataFrame | None) -> go.Figure:
    """The 20 features that predictions rest on most: mean share (%) with the lowest and highest fold.

    `attribution` has fold, feature, method, share (as of `attribute`), `importance` fold, feature, importance.
    """
    import plotly.graph_objects as go

    method = attribution["method"].iloc[0]
    tables = {method: attribution.rename(columns={"value": "importance"})}
    if importance is not None and len(importance):
        tables["importance"] = importance
    shares = {name: importance_shares(table).set_index("feature") for name, table in tables.items()}
    order = shares[method].head(TOP).index[::-1]
    figure = go.Figure()
    for at, (name, share) in enumerate(shares.items()):
        part = 100.0 * share.reindex(order).fillna(0.0)
        figure.add_trace(
            go.Bar(
                x=digits(part["share"]),
                y=order.astype(str).tolist(),
                error_x=error_bars(part["share"], part["low"], part["high"], thin=True),
                orientation="h",
                name=METHODS.get(name, name),
                marker={"color": OKABE_ITO[at], "pattern": {"shape": ("", "/")[at]}},
                hovertemplate="%{x:.2f} %",
            )
        )
    figure.update_xaxes(title="Share (%), mean and range of folds", rangemode="tozero")
    figure.update_yaxes(automargin=True, type="category")
    figure.update_layout(barmode="group", showlegend=True, legend={"traceorder": "reversed"})
    return finish(figure, "What predictions rest on", height=240 + 22 * len(order), hovermode="closest")


def importance_stability(attribution: pd.DataFrame, importance: pd.DataFrame | None) -> pd.DataFrame:
    """How alike the folds' rankings of features are: method, mean and lowest rank correlation, shared top 10.

    Rank correlations are Spearman's, of each pair of folds; `shared top 10` is the mean number of features that two
    folds have in common among their ten strongest. One fold alone has none.
    """
    tables = {}
    if len(attribution):
        tables[attribution["method"].iloc[0]] = ("share", attribution)
    if importance is not None and len(importance):
        tables["importance"] = ("importance", importance)
    rows = []
    for method, (column, table) in tables.items():
        wide = table.pivot_table(index="feature", columns="fold", values=column, aggfunc="sum", observed=True)
        pairs = [(a, b) for at, a in enumerate(wide) for b in list(wide)[at + 1 :]]
        alike = [wide[a].corr(wide[b], method="spearman") for a, b in pairs]
        top = {fold: set(wide[fold].nlargest(10).index) for fold in wide}
        rows.append(
            {
                "method": METHODS.get(method, method),
                "folds": wide.shape[1],
                "mean rank correlation": float(np.mean(alike)) if pairs else np.nan,
                "lowest": float(np.min(alike)) if pairs else np.nan,
                "shared top 10": float(np.mean([len(top[a] & top[b]) for a, b in pairs])) if pairs else np.nan,
            }
        )
    columns = ["method", "folds", "mean rank correlation", "lowest", "shared top 10"]
    return pd.DataFrame(rows, columns=columns).round(3)


def direction_table(attribution: pd.DataFrame, top: int = 10) -> pd.DataFrame:
    """The strongest features with their direction: feature, share (%), direction (mean, lowest, highest fold)."""
    groups = attribution.groupby("feature", observed=True)
    table = pd.DataFrame(
        {
            "share (%)": (100.0 * groups["share"].mean()).round(2),
            "direction": groups["direction"].mean().round(2),
            "lowest fold": groups["direction"].min().round(2),
            "highest fold": groups["direction"].max().round(2),
        }
    )
    return table.sort_values("share (%)", ascending=False, kind="stable").head(top).reset_index()


def drift_figure(drift: pd.DataFrame, shares: pd.DataFrame | None = None) -> go.Figure:
    """The 20 features that moved most from training to test: the folds' mean stability index, lowest and highest.

    With `shares` (feature, share) each bar tells on hover how much the model rests on the feature.
    """
    import plotly.graph_objects as go

    groups = drift.groupby("feature", observed=True)["psi"]
    table = pd.DataFrame({"mean": groups.mean(), "low": groups.min(), "high": groups.max()})
    table = table.sort_values("mean", ascending=False, kind="stable").head(TOP).iloc[::-1]
    rests = pd.Series(np.nan, index=table.index)
    if shares is not None:
        rests = 100.0 * shares.set_index("feature")["share"].reindex(table.index)
    figure = go.Figure(
        go.Bar(
            x=digits(table["mean"]),
            y=table.index.astype(str).tolist(),
            error_x=error_bars(table["mean"], table["low"], table["high"]),
            orientation="h",
            marker={"color": OKABE_ITO[0]},
            customdata=[f"{value:.1f} %" if np.isfinite(value) else "an unknown share" for value in rests],
            hovertemplate="%{x:.3f}; predictions rest on it by %{customdata}<extra></extra>",
        )
    )
    for mark in (SMALL_DRIFT, LARGE_DRIFT):
        figure.add_vline(x=mark, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title_text="Population stability index, mean and range of folds", rangemode="tozero")
    figure.update_yaxes(automargin=True, type="category")
    return finish(figure, "Drift of features", height=200 + 22 * len(table), hovermode="closest")


def drift_table(drift: pd.DataFrame) -> pd.DataFrame:
    """Drift of predictions for the page: per fold the stability index, the largest gap, spread and mean."""
    ratio = drift["deviation_test"] / drift["deviation_before"].where(drift["deviation_before"] > 0.0)
    return pd.DataFrame(
        {
            "fold": drift["fold"].astype(str),
            "stability index": drift["psi"].round(3),
            "largest gap (%)": (100.0 * drift["ks"]).round(1),
            "deviation, test over validation": ratio.round(2),
            "mean, validation": drift["mean_before"],
            "mean, test": drift["mean_test"],
        }
    )
