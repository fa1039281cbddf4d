"""Pictures and tables of what one model's account did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from agent_market.evaluation.drawing import DASHES, GREY, OKABE_ITO, digits, finish, times
from agent_market.evaluation.metrics import daily_returns, periods_per_year
from agent_market.evaluation.series import bucket_extremes

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from agent_market.evaluation.significance import BootstrapSharpe

POINTS = 600
"""Most points of a line on a model's own page: there is one such page per model."""
MOST_TRADES = 1000
ROLLING_DAYS = (30, 90)
BLUE, ORANGE, GREEN = OKABE_ITO[:3]


def account_figure(
    net: pd.DataFrame, gross: pd.DataFrame | None, benchmark: pd.DataFrame, *, starting_balance: float
) -> go.Figure:
    """Equity net and gross of costs beside buy-and-hold (times the start, log scale), and net drawdown (%)."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    lines = [("net of costs", net, BLUE, "solid"), ("buy and hold", benchmark, GREY, "dash")]
    if gross is not None:
        lines.insert(1, ("before costs", gross, ORANGE, "dot"))
    for name, account, colour, dash in lines:
        growth = pd.Series(account["equity"].to_numpy() / starting_balance, index=pd.DatetimeIndex(account["date"]))
        thin = bucket_extremes(growth[growth > 0.0], POINTS)
        line = {"color": colour, "dash": dash, "width": 1.6}
        figure.add_trace(_line(thin, name, line, "%{y:.3f} ×"), row=1, col=1)
    growth = pd.Series(net["equity"].to_numpy() / starting_balance, index=pd.DatetimeIndex(net["date"]))
    fall = bucket_extremes(100.0 * (growth / np.maximum(growth.cummax(), 1.0) - 1.0), POINTS)
    under = _line(fall, "drawdown, net", {"color": BLUE, "width": 1.0}, "%{y:.1f} %")
    under.update(fill="tozeroy", fillcolor="rgba(0, 114, 178, 0.25)", showlegend=False)
    figure.add_trace(under, row=2, col=1)
    figure.update_yaxes(title_text="Equity (× start, log)", type="log", row=1, col=1)
    figure.update_yaxes(title_text="Drawdown (%)", row=2, col=1)
    figure.update_xaxes(title_text="Date (UTC)", row=2, col=1)
    return finish(figure, "Equity and drawdown", height=560)


def rolling_figure(
    equity: pd.DataFrame, folds: pd.DataFrame, *, starting_balance: float, trading_days: int
) -> go.Figure:
    """Annualised Sharpe ratio and volatility (%) of the last 30 and 90 days; grey lines: a new model took over."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    returns = daily_returns(equity, starting_balance=starting_balance)
    periods = periods_per_year(pd.DatetimeIndex(returns.index), trading_days)
    for days, colour, dash in zip(ROLLING_DAYS, (ORANGE, BLUE), ("dot", "solid"), strict=True):
        window = returns.rolling(days)
        deviation = window.std()
        ratio = (window.mean() / deviation.where(deviation > 1e-12) * np.sqrt(periods)).dropna()
        line = {"color": colour, "dash": dash, "width": 1.6}
        figure.add_trace(_line(bucket_extremes(ratio, POINTS), f"{days} days", line, "%{y:.2f}"), row=1, col=1)
        spread = bucket_extremes((100.0 * deviation * np.sqrt(periods)).dropna(), POINTS)
        figure.add_trace(_line(spread, f"{days} days", line, "%{y:.0f} %").update(showlegend=False), row=2, col=1)
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1}, row=1, col=1)
    for start in folds["test_start"].iloc[1:]:
        figure.add_vline(x=times([start])[0], line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_yaxes(title_text="Sharpe ratio", row=1, col=1)
    figure.update_yaxes(title_text="Volatility (% a year)", row=2, col=1)
    figure.update_xaxes(title_text="Date (UTC)", row=2, col=1)
    return finish(figure, "Rolling Sharpe ratio and volatility", height=520)


def drawdown_table(equity: pd.DataFrame, *, starting_balance: float, top: int = 5) -> pd.DataFrame:
    """The deepest drawdowns, deepest first: from (the peak), lowest, recovered (missing: not yet), depth (%), days.

    The starting balance is the first peak; `days` is from the peak to the recovery, or to the end.
    """
    values = np.concatenate([[starting_balance], equity["equity"].to_numpy(float)])
    dates = pd.DatetimeIndex(equity["date"])
    dates = dates[:1].append(dates)
    peak = np.maximum.accumulate(values)
    under = values < peak
    starts = np.flatnonzero(under & ~np.concatenate([[False], under[:-1]])) - 1
    rows = []
    for start in starts:
        later = np.flatnonzero(~under[start + 1 :])
        end = start + 1 + later[0] if len(later) else len(values) - 1
        lowest = start + int(np.argmin(values[start : end + 1]))
        rows.append(
            {
                "from": dates[start],
                "lowest": dates[lowest],
                "recovered": dates[end] if len(later) else pd.NaT,
                "depth (%)": round(100.0 * (values[lowest] / peak[start] - 1.0), 2),
                "days": round((dates[end] - dates[start]) / pd.Timedelta("1D"), 1),
            }
        )
    table = pd.DataFrame(rows, columns=["from", "lowest", "recovered", "depth (%)", "days"])
    return table.sort_values("depth (%)", kind="stable", ignore_index=True).head(top)


def trade_figure(trades: pd.DataFrame) -> go.Figure:
    """Each closed trade: hours held against its profit (%), net of costs, by exit reason.

    Of more than 1,000 trades every k-th is shown.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    shown = trades.iloc[:: -(-max(len(trades), 1) // MOST_TRADES)]
    for at, (reason, part) in enumerate(shown.groupby("exit_reason", sort=True, observed=True)):
        figure.add_trace(
            go.Scatter(
                x=digits(part["trade_duration"] / 60.0),
                y=digits(100.0 * part["profit_ratio"]),
                text=part["pair"].astype(str) + " " + pd.DatetimeIndex(part["open_date"]).strftime("%Y-%m-%d %H:%M"),
                name=str(reason),
                mode="markers",
                marker={"color": OKABE_ITO[at % len(OKABE_ITO)], "size": 5, "opacity": 0.6, "symbol": at},
                hovertemplate="%{text}: %{x:.0f} h, %{y:.2f} %",
            )
        )
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_layout(xaxis_title="Held (hours)", yaxis_title="Profit (% of the stake, net)", showlegend=True)
    return finish(figure, "Trades", hovermode="closest")


def trade_table(trades: pd.DataFrame, by: str) -> pd.DataFrame:
    """Closed trades by a column (pair, exit_reason): trades, share won (%), mean profit (%), profit (stake currency).

    Means are of the profit per stake, net of costs; rows with the largest profit come first.
    """
    groups = trades.assign(won=trades["profit_abs"] > 0.0).groupby(by, observed=True)
    table = pd.DataFrame(
        {
            "trades": groups.size(),
            "won (%)": (100.0 * groups["won"].mean()).round(1),
            "mean profit (%)": (100.0 * groups["profit_ratio"].mean()).round(3),
            "mean hours": (groups["trade_duration"].mean() / 60.0).round(1),
            "profit": groups["profit_abs"].sum().round(2),
        }
    )
    table = table.sort_values("profit", ascending=False, kind="stable").reset_index()
    return table.rename(columns={by: by.replace("_", " ")})


def cost_figure(curve: pd.DataFrame) -> go.Figure:
    """Total return (%) and Sharpe ratio of the same positions at 0 to 3 times the costs.

    `curve` has multiple, cost (per side, fraction), total_return, sharpe, as of `trading.sweep_costs`.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(specs=[[{"secondary_y": True}]])
    x = digits(100.0 * curve["cost"])
    gains, ratios = digits(100.0 * curve["total_return"]), digits(curve["sharpe"])
    look = {"mode": "lines+markers", "x": x, "customdata": digits(curve["multiple"])}
    told = "%{customdata:.2f} × costs: "
    figure.add_trace(
        go.Scatter(y=gains, name="total return (%)", line={"color": BLUE}, hovertemplate=told + "%{y:.1f} %", **look)
    )
    line = {"color": ORANGE, "dash": "dash"}
    ratio = go.Scatter(y=ratios, name="Sharpe ratio", line=line, hovertemplate=told + "%{y:.2f}", **look)
    figure.add_trace(ratio, secondary_y=True)
    assumed = float(np.interp(1.0, curve["multiple"], 100.0 * curve["cost"]))
    figure.add_vline(x=assumed, line={"color": GREY, "dash": "dot"}, annotation_text="assumed")
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title_text="Fee and slippage per side (%)")
    figure.update_yaxes(title_text="Total return (%)", secondary_y=False)
    figure.update_yaxes(title_text="Sharpe ratio", secondary_y=True, showgrid=False)
    return finish(figure, "What costs do", hovermode="closest")


def bootstrap_figure(
    sample: BootstrapSharpe, interval: tuple[float, float], *, hurdle: float | None = None
) -> go.Figure:
    """The annualised Sharpe ratios of resampled days: all of the return, and what is left beyond buy-and-hold.

    Lines mark zero, the ends of the alpha ratio's `interval`, and `hurdle`: the best Sharpe ratio that as many trials
    without skill would be expected to show.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    draws = {
        "Sharpe ratio": (sample.sharpe_draws, ORANGE, "/"),
        "alpha Sharpe ratio": (sample.alpha_sharpe_draws, BLUE, ""),
    }
    edges = np.linspace(*np.quantile(np.concatenate([d for d, _, _ in draws.values()]), [0.001, 0.999]), 61)
    for name, (values, colour, shape) in draws.items():
        counts, _ = np.histogram(values, edges)
        figure.add_trace(
            go.Bar(
                x=digits(pd.Series((edges[1:] + edges[:-1]) / 2.0)),
                y=digits(pd.Series(100.0 * counts / len(values))),
                name=name,
                opacity=0.65,
                marker={"color": colour, "pattern": {"shape": shape}, "line": {"width": 0}},
                hovertemplate="%{x:.2f}: %{y:.1f} % of resamples",
            )
        )
    low, high = interval
    marks = {"zero": (0.0, "solid"), "low": (low, "dash"), "high": (high, "dash")}
    if hurdle is not None:
        marks["best of the trials by luck"] = (hurdle, "dot")
    for name, (at, dash) in marks.items():
        figure.add_vline(x=at, line={"color": GREY, "dash": dash}, annotation_text=name, annotation_textangle=-90)
    figure.update_layout(barmode="overlay", bargap=0.0)
    figure.update_xaxes(title_text="Annualised Sharpe ratio")
    figure.update_yaxes(title_text="Share of resamples (%)")
    return finish(figure, "Resampled Sharpe ratios", hovermode="closest")


def position_figure(positions: pd.DataFrame) -> go.Figure:
    """What a policy does, month by month: share of candles and pairs (%) long, flat and short."""
    import plotly.graph_objects as go

    month = pd.DatetimeIndex(positions["date"]).strftime("%Y-%m")
    side = np.sign(positions["prediction"].to_numpy(float))
    figure = go.Figure()
    for value, name, colour, shape in (
        (1.0, "long", BLUE, ""),
        (0.0, "flat", GREY, "."),
        (-1.0, "short", OKABE_ITO[3], "/"),
    ):
        share = 100.0 * pd.Series(side == value).groupby(month).mean()
        if value < 0.0 and not share.any():
            continue
        figure.add_trace(
            go.Bar(
                x=share.index.tolist(),
                y=digits(share),
                name=name,
                marker={"color": colour, "pattern": {"shape": shape}},
                hovertemplate="%{y:.0f} %",
            )
        )
    figure.update_layout(barmode="stack", xaxis={"title": "Month (UTC)", "type": "category"})
    figure.update_yaxes(title_text="Share of candles and pairs (%)", range=[0, 100])
    return finish(figure, "Action mix")


def learning_figure(curve: pd.DataFrame, measure: str, title: str) -> go.Figure:
    """A measure on the validation rows over the steps of the fit, a line per fold, the mean of its seeds.

    `curve` has fold, seed, step and the measure, as of `learning_curve`.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for at, (fold, part) in enumerate(curve.dropna(subset=[measure]).groupby("fold")):
        mean = part.groupby("step")[measure].mean()
        line = {"color": OKABE_ITO[at % len(OKABE_ITO)], "dash": DASHES[at // len(OKABE_ITO) % len(DASHES)]}
        figure.add_trace(
            go.Scatter(
                x=mean.index.tolist(), y=digits(mean), name=f"fold {fold}", mode="lines+markers", line=line,
                marker={"size": 4}, hovertemplate="%{y:.4g}",
            )
        )  # fmt: skip
    figure.update_layout(xaxis_title="Step (epochs, updates)", yaxis_title=title, showlegend=True)
    return finish(figure, "Learning curve")


def _line(series: pd.Series, name: str, line: dict, unit: str) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(x=times(series.index), y=digits(series), name=name, mode="lines", line=line, hovertemplate=unit)
