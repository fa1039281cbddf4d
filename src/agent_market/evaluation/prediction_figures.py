"""Pictures and tables of how good one model's predictions are, when, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agent_market.evaluation.account_figures import POINTS
from agent_market.evaluation.drawing import GREY, OKABE_ITO, digits, error_bars, finish, times
from agent_market.evaluation.panel import build_panel
from agent_market.evaluation.series import bucket_extremes
from agent_market.evaluation.significance import mean_interval, overlap_lags

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROLLING_DAYS = 30
TITLES = {"pair": "Pair", "hour": "Hour (UTC)", "volatility": "Volatility", "trend": "Trend"}


def ic_course_figure(series: pd.DataFrame) -> go.Figure:
    """RankIC of one model: its mean over the last 30 days, and added up; `series` as of `ic_series`."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    known = series.dropna(subset=["rank_ic"]).set_index("date")["rank_ic"]
    least = max(len(known.loc[: known.index.min() + pd.Timedelta("7D")]), 2) if len(known) else 2
    lines = (known.rolling(f"{ROLLING_DAYS}D", min_periods=least).mean().dropna(), known.cumsum())
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for row, line in enumerate(lines, 1):
        thin = bucket_extremes(line, POINTS)
        trace = go.Scatter(
            x=times(thin.index), y=digits(thin), mode="lines", line={"color": OKABE_ITO[0], "width": 1.6},
            showlegend=False, hovertemplate="%{y:.4f}<extra></extra>" if row == 1 else "%{y:.1f}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(trace, row=row, col=1)
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_yaxes(title_text="RankIC, 30 days", row=1, col=1)
    figure.update_yaxes(title_text="Cumulative", row=2, col=1)
    figure.update_xaxes(title_text="Date (UTC)", row=2, col=1)
    return finish(figure, "RankIC over time", height=480)


def calibration_table(
    predictions: pd.DataFrame, labels: pd.DataFrame, horizon: int, *, demeaned: bool, bins: int = 10
) -> pd.DataFrame:
    """Predicted beside realised by decile of the prediction: bin, predicted, realised, low, high, rows.

    Returns are in basis points per horizon, probabilities in percent; positions and scores have no unit of their own
    and no rows. Intervals are of 95 %, corrected for overlap.
    """
    panel = build_panel(predictions, labels, horizon=horizon, demeaned=demeaned)
    columns = ["bin", "predicted", "realised", "low", "high", "rows"]
    if panel.kind not in ("return", "probability") or not panel.evaluated.any():
        return pd.DataFrame(columns=columns, dtype=float)
    unit = 100.0 if panel.kind == "probability" else 1e4
    outcome = panel.up if panel.kind == "probability" else panel.outcome
    said = np.where(panel.evaluated, panel.prediction, np.nan)
    edges = np.unique(np.nanquantile(said, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
    place = np.where(panel.evaluated, np.searchsorted(edges, said, side="right"), -1)
    rows = []
    for number in range(len(edges) + 1):
        member = place == number
        if not member.any():
            continue
        size = member.sum(axis=1)
        mean = outcome[member].mean()
        error = np.where(member, outcome - mean, 0.0).sum(axis=1) / size.mean()
        interval = mean_interval(error, overlap_lags(horizon, len(error)))
        values = (said[member].mean(), mean, mean + interval.low, mean + interval.high)
        rows.append((number + 1, *(unit * value for value in values), int(member.sum())))
    return pd.DataFrame(rows, columns=columns)


def calibration_figure(table: pd.DataFrame, kind: str) -> go.Figure:
    """Deciles of the prediction: predicted against realised; on the dotted line what was said is what came."""
    import plotly.graph_objects as go

    unit = "%" if kind == "probability" else "bp"
    name = "probability of a rise (%)" if kind == "probability" else "return (basis points per horizon)"
    figure = go.Figure()
    ends = [float(table["predicted"].min()), float(table["predicted"].max())]
    figure.add_trace(
        go.Scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "dash": "dot"}, name="as said", hoverinfo="skip")
    )
    figure.add_trace(
        go.Scatter(
            x=digits(table["predicted"]),
            y=digits(table["realised"]),
            error_y=error_bars(table["realised"], table["low"], table["high"]),
            mode="markers",
            marker={"color": OKABE_ITO[0], "size": 8},
            name="deciles, 95 % interval",
            hovertemplate=f"said %{{x:.1f}} {unit}, came %{{y:.1f}} {unit}",
        )
    )
    figure.update_layout(xaxis_title=f"Predicted {name}", yaxis_title=f"Realised {name}")
    return finish(figure, "Calibration", hovermode="closest")


def slice_figure(slices: pd.DataFrame, kind: str) -> go.Figure:
    """RankIC with 95 % intervals by one `slice` of the table of `slice_performance`."""
    import plotly.graph_objects as go

    part = slices[(slices["slice"] == kind) & slices["rank_ic"].notna()]
    figure = go.Figure(
        go.Scatter(
            x=part["name"].astype(str).tolist(),
            y=digits(part["rank_ic"]),
            error_y=error_bars(part["rank_ic"], part["rank_ic_low"], part["rank_ic_high"]),
            mode="markers",
            marker={"color": OKABE_ITO[0], "size": 8},
            hovertemplate="%{x}: %{y:.4f}<extra></extra>",
        )
    )
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text=TITLES[kind], type="category")
    figure.update_yaxes(title_text="RankIC, 95 % interval")
    return finish(figure, f"RankIC by {TITLES[kind].lower()}", height=360, hovermode="closest")


def regime_table(slices: pd.DataFrame) -> pd.DataFrame:
    """The regimes of `slice_performance` as text-ready columns: what the model and the market earned in each."""
    part = slices[slices["slice"].isin(("volatility", "trend"))]
    return pd.DataFrame(
        {
            "regime": part["slice"] + ": " + part["name"],
            "time (%)": (100.0 * part["share"]).round(1),
            "model (%)": (100.0 * part["net_return"]).round(1),
            "buy and hold (%)": (100.0 * part["market_return"]).round(1),
            "RankIC": part["rank_ic"].round(4),
            "low": part["rank_ic_low"].round(4),
            "high": part["rank_ic_high"].round(4),
        }
    )
