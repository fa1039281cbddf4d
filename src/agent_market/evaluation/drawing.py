"""The one look of all figures: colours, numbers, axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from agent_market.evaluation.leaderboard import BENCHMARKS
from agent_market.evaluation.series import MAX_POINTS

if TYPE_CHECKING:
    import plotly.graph_objects as go

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
"""Colours of Okabe & Ito (2008); black and yellow, unreadable on dark or white, are left out."""
DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#8a8a8a"
MAX_POINTS_PER_FIGURE = 14_000


def models_in(table: pd.DataFrame) -> list[str]:
    """The models of a table in order of appearance, benchmarks last."""
    names = [str(name) for name in table["model"].unique()]
    return [n for n in names if n not in BENCHMARKS] + [n for n in BENCHMARKS if n in names]


def line_styles(models: list[str]) -> dict[str, dict]:
    """A line style per model: colours first, then dashes, so that no two of 24 are alike."""
    styles, at = {}, 0
    for model in models:
        if model in BENCHMARKS:
            dash = DASHES[1 + BENCHMARKS.index(model)]
            styles[model] = {"color": GREY, "dash": dash, "width": 1.6}
        else:
            dash = DASHES[at // len(OKABE_ITO) % len(DASHES)]
            styles[model] = {"color": OKABE_ITO[at % len(OKABE_ITO)], "dash": dash, "width": 1.6}
            at += 1
    return styles


def pattern(style: dict) -> str:
    """A hatching for bars where a line would be dashed."""
    return {"solid": "", "dash": "/", "dot": ".", "dashdot": "x"}[style["dash"]]


def points(n_series: int) -> int:
    """How many points each of `n_series` may have, so that a figure stays light."""
    return max(min(MAX_POINTS, MAX_POINTS_PER_FIGURE // max(n_series, 1)), 200)


def times(index: pd.Index) -> list[str]:
    """Dates as Plotly reads them, to the minute."""
    return pd.DatetimeIndex(index).strftime("%Y-%m-%d %H:%M").tolist()


def digits(series: pd.Series) -> list[float]:
    """Six significant digits: all that a picture shows, at half the size."""
    return [float(f"{value:.6g}") for value in series.to_numpy(dtype=float)]


def error_bars(value: pd.Series, low: pd.Series, high: pd.Series, *, thin: bool = False) -> dict:
    """Bars from `low` to `high` about `value`."""
    bars = {"type": "data", "symmetric": False, "thickness": 1.0 if thin else 1.4, "width": 2 if thin else 3}
    return bars | {"array": digits(high - value), "arrayminus": digits(value - low), "color": GREY}


def menu(buttons: list[dict], *, dropdown: bool = False) -> dict:
    """A row of buttons, or a drop-down, above the figure."""
    menu = {"buttons": buttons, "x": 1.0, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "showactive": True}
    # Dark on light in any theme: Plotly paints the pressed button nearly white.
    look = {"bgcolor": "#e4e7eb", "bordercolor": GREY, "borderwidth": 1, "font": {"color": "#1b1f24", "size": 12}}
    kind = {"type": "dropdown"} if dropdown else {"type": "buttons", "direction": "right"}
    return menu | look | kind


def finish(figure: go.Figure, title: str, *, height: int = 440, hovermode: str = "x unified") -> go.Figure:
    """The one look of all figures: no background of its own, so that it sits on a light or a dark page."""
    figure.update_layout(
        title={"text": title, "x": 0.0, "xanchor": "left", "xref": "container", "pad": {"l": 8}, "font": {"size": 16}},
        template="none",  # what a template would say is said here: copying one into each figure takes its time
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        height=height,
        margin={"l": 64, "r": 16, "t": 72, "b": 48},
        legend={"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0.0},
        hovermode=hovermode,
        hoverlabel={"bgcolor": "#ffffff", "font": {"color": "#1b1f24"}},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": OKABE_ITO[0]},
        colorway=list(OKABE_ITO),
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(automargin=True, title_font={"size": 13}, title_standoff=10)
    return figure
