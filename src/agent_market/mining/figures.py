"""Figures of a round of mining."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#f0e442")
ARM_COLOURS = {"genetic": "#0072b2", "zoo": "#009e73", "llm": "#d55e00", "control": "#999999"}


def gains_figure(traced: pd.DataFrame) -> go.Figure:
    """Summed gains of each nominee over search and gate; the gate is where its line is thick."""
    figure = go.Figure()
    for number, (_, rows) in enumerate(traced.groupby("id", sort=False)):
        colour, passed = COLOURS[number % len(COLOURS)], bool(rows["passed"].iloc[0])
        text = rows["expression"].iloc[0]
        label = f"{'✓' if passed else '✗'} {text if len(text) <= 60 else text[:59] + '…'}"
        before = 0.0
        for segment, part in rows.groupby("segment", sort=False):
            total = before + part["gain"].fillna(0.0).cumsum()
            before = float(total.iloc[-1])
            line = {"color": colour, "width": 3 if segment == "gate" else 1.3, "dash": "solid" if passed else "dot"}
            figure.add_scatter(
                x=part["date"], y=total, mode="lines", name=label, legendgroup=text, line=line,
                showlegend=segment != "gate", hovertemplate=f"{segment}: %{{y:.2f}}<extra></extra>",
            )  # fmt: skip
    return _finished(figure, "Gains of the nominees", "summed rank correlation, blocks")


def trials_figure(trials: pd.DataFrame, required: float) -> go.Figure:
    """How the trials' |t| on the search segment are spread, by arm, and what is required."""
    figure = go.Figure()
    t = trials["t"].abs().to_numpy(float)
    bins = {"start": 0.0, "end": float(np.ceil(max(t.max(initial=1.0), required) + 0.5)), "size": 0.25}
    for arm, rows in trials.groupby("arm", sort=True):
        figure.add_histogram(
            x=rows["t"].abs(), name=arm, xbins=bins, marker_color=ARM_COLOURS.get(arm, "#444444"),
            hovertemplate=f"{arm}: %{{y}} trials at %{{x}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=required, line={"color": "#aa0000", "dash": "dash"}, annotation_text=f"required: {required:.2f}")
    figure.update_layout(barmode="stack", bargap=0.05)
    return _finished(figure, "All trials on the search segment", "trials", x="|t|")


def _finished(figure: go.Figure, title: str, y: str, x: str = "") -> go.Figure:
    figure.update_layout(
        title=title,
        template="plotly_white",
        height=420,
        hovermode="x unified" if not x else "closest",
        legend={"orientation": "h", "y": -0.2},
        margin={"l": 60, "r": 20, "t": 50, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_yaxes(title=y)
    figure.update_xaxes(title=x)
    return figure
