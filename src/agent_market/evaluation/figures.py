"""The pictures of a run as Plotly figures, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.evaluation.leaderboard import BENCHMARKS
from agent_market.evaluation.metrics import monthly_returns
from agent_market.evaluation.series import MAX_POINTS, bucket_extremes

if TYPE_CHECKING:
    import plotly.graph_objects as go

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
"""Colours of Okabe & Ito (2008); black and yellow, unreadable on dark or white, are left out."""
DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#8a8a8a"
MAX_POINTS_PER_FIGURE = 24_000
TOP_FEATURES = 20
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def equity_figure(equity: pd.DataFrame, *, starting_balance: float) -> go.Figure:
    """Equity (times the starting balance) and drawdown (%) of each `model` in `equity`, with a linear/log switch.

    Rows of the models `buy_and_hold` and `always_flat` are drawn grey.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    models = _models(equity)
    for model, style in _styles(models).items():
        part = equity[equity["model"] == model]
        growth = pd.Series(part["equity"].to_numpy() / starting_balance, index=pd.DatetimeIndex(part["date"]))
        fall = 100.0 * (growth / np.maximum(growth.cummax(), 1.0) - 1.0)
        for row, series, unit in ((1, growth, "%{y:.4f} ×"), (2, fall, "%{y:.2f} %")):
            thin = bucket_extremes(series, _points(len(models) * 2))
            figure.add_trace(
                go.Scatter(
                    x=_times(thin.index),
                    y=_digits(thin),
                    name=model,
                    mode="lines",
                    line=style,
                    legendgroup=model,
                    showlegend=row == 1,
                    hovertemplate=unit,
                ),
                row=row,
                col=1,
            )
    figure.update_yaxes(title_text="Equity (× start)", row=1, col=1)
    figure.update_yaxes(title_text="Drawdown (%)", row=2, col=1)
    figure.update_xaxes(title_text="Date (UTC)", row=2, col=1)
    scales = [("Linear", "linear"), ("Log", "log")]
    figure.update_layout(
        updatemenus=[_menu([{"label": t, "method": "relayout", "args": [{"yaxis.type": k}]} for t, k in scales])]
    )
    return _finish(figure, "Equity and drawdown, net of costs", height=600)


def ic_figure(rank_ic: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Cumulative RankIC over time of each model; `rank_ic` maps it to its `ic_series` (date, rank_ic).

    A steady climb is a steady signal; a line that wanders about zero is none.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for model, style in _styles(list(rank_ic)).items():
        series = rank_ic[model].dropna(subset=["rank_ic"]).set_index("date")["rank_ic"].cumsum()
        thin = bucket_extremes(series, _points(len(rank_ic)))
        figure.add_trace(
            go.Scatter(
                x=_times(thin.index),
                y=_digits(thin),
                name=model,
                mode="lines",
                line=style,
                hovertemplate="%{y:.2f}",
            )
        )
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_layout(xaxis_title="Date (UTC)", yaxis_title="Cumulative RankIC", hovermode="x unified")
    return _finish(figure, "Information coefficient over time")


def ic_decay_figure(decay: Mapping[str, pd.DataFrame]) -> go.Figure:
    """RankIC by label horizon with 95 % intervals; `decay` maps each model to its `ic_decay`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    horizons = sorted({int(h) for table in decay.values() for h in table["horizon"]})
    place = {horizon: at for at, horizon in enumerate(horizons)}
    for at, (model, style) in enumerate(_styles(list(decay)).items()):
        table = decay[model].sort_values("horizon")
        # Side by side, so that intervals of many models can be read.
        shift = (at - (len(decay) - 1) / 2.0) * 0.7 / max(len(decay), 1)
        figure.add_trace(
            go.Scatter(
                x=[place[int(h)] + shift for h in table["horizon"]],
                y=_digits(table["rank_ic"]),
                error_y=_error_bars(table["rank_ic"], table["rank_ic_low"], table["rank_ic_high"]),
                name=model,
                mode="markers",
                marker={"color": style["color"], "size": 8, "symbol": at // len(OKABE_ITO)},
                customdata=table[["horizon", "rank_ic_low", "rank_ic_high"]].to_numpy(),
                hovertemplate="%{customdata[0]} candles: %{y:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]",
            )
        )
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_xaxes(
        title="Horizon (candles)", zeroline=False, tickvals=list(place.values()), ticktext=[str(h) for h in place]
    )
    figure.update_yaxes(title="RankIC, 95 % interval")
    return _finish(figure, "Decay of the information coefficient")


def quantile_figure(quantiles: Mapping[str, pd.DataFrame], *, horizon: int) -> go.Figure:
    """Mean return (basis points) by quantile of the prediction, 95 % intervals; model → its `quantile_returns`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for model, style in _styles(list(quantiles)).items():
        table = quantiles[model]
        figure.add_trace(
            go.Bar(
                x=table["quantile"].replace({"spread": f"{len(table) - 1} − 1"}),
                y=_digits(table["mean_bp"]),
                error_y=_error_bars(table["mean_bp"], table["low_bp"], table["high_bp"], thin=True),
                name=model,
                marker={"color": style["color"], "pattern": {"shape": _pattern(style)}},
                hovertemplate="%{y:.1f} bp",
            )
        )
    figure.update_layout(
        barmode="group",
        xaxis={"title": "Quantile of the prediction (1: lowest)", "type": "category", "tickangle": 0},
        yaxis_title=f"Mean return (bp per {horizon} candle{'s' if horizon != 1 else ''})",
    )
    return _finish(figure, "Return by quantile of the prediction, before costs")


def importance_figure(importance: pd.DataFrame, *, top: int = TOP_FEATURES) -> go.Figure:
    """The `top` features of each model: mean share of importance (%) with the lowest and highest fold.

    `importance` has columns model, fold, feature, importance (0 or more, any unit). A menu selects the model.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    models = _models(importance)
    for at, model in enumerate(models):
        share = importance_shares(importance[importance["model"] == model]).head(top).iloc[::-1]
        figure.add_trace(
            go.Bar(
                x=_digits(100.0 * share["share"]),
                y=share["feature"].astype(str),
                error_x=_error_bars(100.0 * share["share"], 100.0 * share["low"], 100.0 * share["high"]),
                orientation="h",
                name=model,
                visible=at == 0,
                marker_color=OKABE_ITO[0],
                hovertemplate="%{x:.2f} %",
            )
        )
    figure.update_xaxes(title="Share (%), mean and range of folds", rangemode="tozero")
    figure.update_yaxes(automargin=True, type="category")
    _select_model(figure, models, "Feature importance")
    return _finish(figure, _titled("Feature importance", models), height=620, hovermode="closest")


def importance_shares(importance: pd.DataFrame) -> pd.DataFrame:
    """Features of one model by falling mean share (fraction) over folds: feature, share, low and high (of a fold)."""
    table = importance.pivot_table(index="fold", columns="feature", values="importance", aggfunc="sum", observed=True)
    table = table.fillna(0.0).clip(lower=0.0)
    total = table.sum(axis=1)
    share = table[total > 0.0].div(total[total > 0.0], axis=0)
    shares = pd.DataFrame({"share": share.mean(), "low": share.min(), "high": share.max()})
    shares = shares.rename_axis("feature").reset_index().dropna()
    return shares.sort_values(["share", "feature"], ascending=[False, True], ignore_index=True)


def monthly_figure(equity: pd.DataFrame, *, starting_balance: float, models: list[str] | None = None) -> go.Figure:
    """Monthly and yearly returns (%) as a heat map; a menu selects among `models` (default all), the first shown."""
    import plotly.graph_objects as go

    figure = go.Figure()
    models = models or [model for model in _models(equity) if model != "always_flat"]
    for at, model in enumerate(models):
        part = equity[equity["model"] == model]
        if part.empty:
            raise DataError(f"the equity table has no model {model!r}; it has {', '.join(_models(equity))}")
        table = 100.0 * monthly_returns(part, starting_balance=starting_balance)
        values = table.to_numpy()
        reach = max(float(np.nanmax(np.abs(values[:, :12]))), 0.1)
        figure.add_trace(
            go.Heatmap(
                z=np.round(values, 4),
                x=[*_MONTHS, "Year"],
                y=table.index.astype(str),
                text=np.where(np.isfinite(values), np.char.mod("%.1f", np.nan_to_num(values)), ""),
                texttemplate="%{text}",
                # Blue to vermillion: told apart with any kind of colour vision.
                colorscale=[[0.0, "#D55E00"], [0.5, "#f2f2f2"], [1.0, "#56B4E9"]],
                zmin=-reach,
                zmax=reach,
                xgap=2,
                ygap=2,
                name=model,
                visible=at == 0,
                colorbar={"title": {"text": "%"}},
                hovertemplate="%{x} %{y}: %{z:.2f} %<extra></extra>",
            )
        )
    figure.update_yaxes(title="Year", autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(title="Month (UTC)", showgrid=False, type="category")
    _select_model(figure, models, "Monthly returns")
    years = max((len(trace.y) for trace in figure.data), default=1)
    return _finish(figure, _titled("Monthly returns", models), height=230 + 46 * years, hovermode="closest")


def _models(table: pd.DataFrame) -> list[str]:
    """The models of a table in order of appearance, benchmarks last."""
    names = [str(name) for name in table["model"].unique()]
    return [n for n in names if n not in BENCHMARKS] + [n for n in BENCHMARKS if n in names]


def _styles(models: list[str]) -> dict[str, dict]:
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


def _pattern(style: dict) -> str:
    return {"solid": "", "dash": "/", "dot": ".", "dashdot": "x"}[style["dash"]]


def _points(n_series: int) -> int:
    return max(min(MAX_POINTS, MAX_POINTS_PER_FIGURE // max(n_series, 1)), 200)


def _times(index: pd.Index) -> list[str]:
    return pd.DatetimeIndex(index).strftime("%Y-%m-%d %H:%M").tolist()


def _digits(series: pd.Series) -> list[float]:
    """Six significant digits: all that a picture shows, at half the size."""
    return [float(f"{value:.6g}") for value in series.to_numpy(dtype=float)]


def _error_bars(value: pd.Series, low: pd.Series, high: pd.Series, *, thin: bool = False) -> dict:
    bars = {"type": "data", "symmetric": False, "thickness": 1.0 if thin else 1.4, "width": 2 if thin else 3}
    return bars | {"array": _digits(high - value), "arrayminus": _digits(value - low), "color": GREY}


def _titled(title: str, models: list[str]) -> str:
    return f"{title}: {models[0]}" if models else title


def _select_model(figure: go.Figure, models: list[str], title: str) -> None:
    """A drop-down that shows one model's trace and names it in the title."""
    if len(models) < 2:
        return
    buttons = [
        {
            "label": model,
            "method": "update",
            "args": [{"visible": [other == model for other in models]}, {"title.text": _titled(title, [model])}],
        }
        for model in models
    ]
    figure.update_layout(updatemenus=[_menu(buttons, dropdown=True)])


def _menu(buttons: list[dict], *, dropdown: bool = False) -> dict:
    menu = {"buttons": buttons, "x": 1.0, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "showactive": True}
    # Dark on light in any theme: Plotly paints the pressed button nearly white.
    look = {"bgcolor": "#e4e7eb", "bordercolor": GREY, "borderwidth": 1, "font": {"color": "#1b1f24", "size": 12}}
    kind = {"type": "dropdown"} if dropdown else {"type": "buttons", "direction": "right"}
    return menu | look | kind


def _finish(figure: go.Figure, title: str, *, height: int = 440, hovermode: str = "x unified") -> go.Figure:
    """The one look of all figures: no background of its own, so that it sits on a light or a dark page."""
    figure.update_layout(
        title={"text": title, "x": 0.0, "xanchor": "left", "xref": "container", "pad": {"l": 8}, "font": {"size": 16}},
        template="plotly_white",
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
    return figure
