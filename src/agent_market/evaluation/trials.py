"""Pictures of a study: how well each value of each option did, and which options matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from agent_market.evaluation.drawing import GREY, OKABE_ITO, finish

if TYPE_CHECKING:
    import plotly.graph_objects as go

NO_OPTION = {"trial", "value", "pruned"}


def slice_figure(trials: pd.DataFrame, *, objective: str) -> go.Figure:
    """The score of each trial against the value of each option; trials that were pruned are hollow.

    `trials` has one row per trial: trial, value, pruned, score_<inner fold>, and a column per option.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    options = [name for name in trials if name not in NO_OPTION and not name.startswith("score_")]
    figure = make_subplots(rows=1, cols=max(len(options), 1), shared_yaxes=True, horizontal_spacing=0.02)
    for column, option in enumerate(options, 1):
        for pruned, look in ((False, "circle"), (True, "circle-open")):
            part = trials[trials["pruned"] == pruned]
            values = part[option] if pd.api.types.is_numeric_dtype(part[option]) else part[option].astype("str")
            figure.add_trace(
                go.Scatter(
                    x=values.tolist(),
                    y=part["value"].tolist(),
                    text=[f"trial {number}" for number in part["trial"]],
                    name="pruned" if pruned else "whole",
                    mode="markers",
                    marker={"symbol": look, "size": 8, "color": GREY if pruned else OKABE_ITO[0]},
                    legendgroup=str(pruned),
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=option, row=1, col=column)
        span = trials[option].max() / trials[option].min() if _positive(trials[option]) else 1.0
        if span > 30:
            figure.update_xaxes(type="log", row=1, col=column)
    figure.update_yaxes(title_text=f"{objective}, mean of inner folds", row=1, col=1)
    return finish(figure, "Trials by option", hovermode="closest")


def option_importance_figure(importance: pd.DataFrame) -> go.Figure:
    """The share of each option in how well trials did, the largest on top; columns option, importance."""
    import plotly.graph_objects as go

    ordered = importance.sort_values("importance")
    bars = go.Bar(x=ordered["importance"].tolist(), y=ordered["option"].tolist(), orientation="h")
    figure = go.Figure(bars.update(marker_color=OKABE_ITO[0], hovertemplate="%{x:.0%}"))
    figure.update_xaxes(title_text="Share in the differences between trials", tickformat=".0%")
    return finish(figure, "Options that matter", height=120 + 40 * max(len(ordered), 1), hovermode="closest")


def _positive(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and bool((values > 0).all())
