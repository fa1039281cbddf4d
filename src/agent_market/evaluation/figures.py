"""The pictures of a run as Plotly figures, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.evaluation.drawing import (
    GREY,
    OKABE_ITO,
    digits,
    error_bars,
    finish,
    line_styles,
    menu,
    models_in,
    pattern,
    points,
    times,
)
from agent_market.evaluation.metrics import monthly_returns
from agent_market.evaluation.series import bucket_extremes

if TYPE_CHECKING:
    import plotly.graph_objects as go

TOP_FEATURES = 20
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def equity_figure(equity: pd.DataFrame, *, starting_balance: float) -> go.Figure:
    """Equity (times the starting balance) and drawdown (%) of each `model` in `equity`, with a linear/log switch.

    Rows of the models `buy_and_hold` and `always_flat` are drawn grey.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    models = models_in(equity)
    for model, style in line_styles(models).items():
        part = equity[equity["model"] == model]
        growth = pd.Series(part["equity"].to_numpy() / starting_balance, index=pd.DatetimeIndex(part["date"]))
        fall = 100.0 * (growth / np.maximum(growth.cummax(), 1.0) - 1.0)
        for row, series, unit in ((1, growth, "%{y:.4f} ×"), (2, fall, "%{y:.2f} %")):
            thin = bucket_extremes(series, points(len(models) * 2))
            figure.add_trace(
                go.Scatter(
                    x=times(thin.index),
                    y=digits(thin),
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
        updatemenus=[menu([{"label": t, "method": "relayout", "args": [{"yaxis.type": k}]} for t, k in scales])]
    )
    return finish(figure, "Equity and drawdown, net of costs", height=600)


def ic_figure(rank_ic: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Cumulative RankIC over time of each model; `rank_ic` maps it to its `ic_series` (date, rank_ic).

    A steady climb is a steady signal; a line that wanders about zero is none.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for model, style in line_styles(list(rank_ic)).items():
        series = rank_ic[model].dropna(subset=["rank_ic"]).set_index("date")["rank_ic"].cumsum()
        thin = bucket_extremes(series, points(len(rank_ic)))
        figure.add_trace(
            go.Scatter(
                x=times(thin.index),
                y=digits(thin),
                name=model,
                mode="lines",
                line=style,
                hovertemplate="%{y:.2f}",
            )
        )
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_layout(xaxis_title="Date (UTC)", yaxis_title="Cumulative RankIC", hovermode="x unified")
    return finish(figure, "Information coefficient over time")


def ic_decay_figure(decay: Mapping[str, pd.DataFrame]) -> go.Figure:
    """RankIC by label horizon with 95 % intervals; `decay` maps each model to its `ic_decay`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    horizons = sorted({int(h) for table in decay.values() for h in table["horizon"]})
    place = {horizon: at for at, horizon in enumerate(horizons)}
    for at, (model, style) in enumerate(line_styles(list(decay)).items()):
        table = decay[model].sort_values("horizon")
        # Side by side, so that intervals of many models can be read.
        shift = (at - (len(decay) - 1) / 2.0) * 0.7 / max(len(decay), 1)
        figure.add_trace(
            go.Scatter(
                x=[place[int(h)] + shift for h in table["horizon"]],
                y=digits(table["rank_ic"]),
                error_y=error_bars(table["rank_ic"], table["rank_ic_low"], table["rank_ic_high"]),
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
    return finish(figure, "Decay of the information coefficient")


def quantile_figure(quantiles: Mapping[str, pd.DataFrame], *, horizon: int) -> go.Figure:
    """Mean return (basis points) by quantile of the prediction, 95 % intervals; model → its `quantile_returns`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for model, style in line_styles(list(quantiles)).items():
        table = quantiles[model]
        figure.add_trace(
            go.Bar(
                x=table["quantile"].replace({"spread": f"{len(table) - 1} − 1"}),
                y=digits(table["mean_bp"]),
                error_y=error_bars(table["mean_bp"], table["low_bp"], table["high_bp"], thin=True),
                name=model,
                marker={"color": style["color"], "pattern": {"shape": pattern(style)}},
                hovertemplate="%{y:.1f} bp",
            )
        )
    figure.update_layout(
        barmode="group",
        xaxis={"title": "Quantile of the prediction (1: lowest)", "type": "category", "tickangle": 0},
        yaxis_title=f"Mean return (bp per {horizon} candle{'s' if horizon != 1 else ''})",
    )
    return finish(figure, "Return by quantile of the prediction, before costs")


def importance_figure(importance: pd.DataFrame, *, top: int = TOP_FEATURES) -> go.Figure:
    """The `top` features of each model: mean share of importance (%) with the lowest and highest fold.

    `importance` has columns model, fold, feature, importance (0 or more, any unit). A menu selects the model.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    models = models_in(importance)
    for at, model in enumerate(models):
        share = importance_shares(importance[importance["model"] == model]).head(top).iloc[::-1]
        figure.add_trace(
            go.Bar(
                x=digits(100.0 * share["share"]),
                y=share["feature"].astype(str),
                error_x=error_bars(100.0 * share["share"], 100.0 * share["low"], 100.0 * share["high"]),
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
    return finish(figure, _titled("Feature importance", models), height=620, hovermode="closest")


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
    models = models or [model for model in models_in(equity) if model != "always_flat"]
    for at, model in enumerate(models):
        part = equity[equity["model"] == model]
        if part.empty:
            raise DataError(f"the equity table has no model {model!r}; it has {', '.join(models_in(equity))}")
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
    return finish(figure, _titled("Monthly returns", models), height=230 + 46 * years, hovermode="closest")


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
    figure.update_layout(updatemenus=[menu(buttons, dropdown=True)])
