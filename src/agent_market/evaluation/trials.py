"""What a study of options brought, and its pictures: how well each value of each option did, which options matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.evaluation.drawing import GREY, OKABE_ITO, finish
from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.prediction import ic_series
from agent_market.evaluation.significance import mean_interval, overlap_lags

if TYPE_CHECKING:
    import plotly.graph_objects as go

NO_OPTION = {"trial", "value", "pruned"}


def tuning_gain(
    model: str,
    tuned: pd.DataFrame,
    configured: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    horizon: int,
    trials: int,
) -> dict[str, Any]:
    """RankIC in the test windows of predictions with `tuned` and with `configured` options, and their difference.

    JSON-ready: model, trials, configured, tuned, gain, gain_low, gain_high; the interval of the mean difference of
    dates is of 95 % and allows for overlapping labels.
    """
    series = [ic_series(table, labels, horizon).set_index("date")["rank_ic"] for table in (tuned, configured)]
    difference = (series[0] - series[1]).dropna().to_numpy()
    gain = mean_interval(difference, overlap_lags(horizon, len(difference)))
    found = {"model": model, "trials": trials, "configured": series[1].mean(), "tuned": series[0].mean()}
    return to_jsonable(found | {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high})


def tuning_sentence(gain: Mapping[str, Any]) -> str:
    """What tuning brought, in words: a gain is one only where its whole interval lies above zero."""
    low, high = gain["gain_low"], gain["gain_high"]
    said = f"{gain['tuned']:+.4f} with tuned and {gain['configured']:+.4f} with the configured options"
    if low is None:
        return (
            f"Tuning {gain['model']} in {gain['trials']} trials: a RankIC of {said}; too few dates to tell them apart."
        )
    told = "beat" if low > 0 else "did worse than" if high < 0 else "did not beat"
    return (
        f"The tuned options of {gain['model']} ({gain['trials']} trials, chosen before all test windows) {told} the "
        f"configured ones in the test windows: a RankIC of {said}, a difference of {gain['gain']:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]."
    )


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
