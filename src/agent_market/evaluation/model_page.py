"""All that the page of one model shows below its claim."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agent_market.evaluation.account_figures import (
    account_figure,
    bootstrap_figure,
    cost_figure,
    drawdown_table,
    learning_figure,
    position_figure,
    rolling_figure,
    trade_figure,
    trade_table,
)
from agent_market.evaluation.attribution_figures import (
    attribution_figure,
    direction_table,
    drift_figure,
    drift_table,
    importance_stability,
)
from agent_market.evaluation.figures import ic_decay_figure, importance_shares, monthly_figure, quantile_figure
from agent_market.evaluation.formatting import format_value
from agent_market.evaluation.metrics import daily_returns, periods_per_year
from agent_market.evaluation.prediction import ic_decay, ic_series, quantile_returns
from agent_market.evaluation.prediction_figures import (
    calibration_figure,
    calibration_table,
    ic_course_figure,
    regime_table,
    slice_figure,
)
from agent_market.evaluation.sections import Section, Table
from agent_market.evaluation.sharpe import expected_best_sharpe
from agent_market.evaluation.significance import stationary_bootstrap

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class ModelResults:
    """What one model left behind; tables are of this model alone. What it does not have is None.

    `gross_equity` is that of the same positions without costs, `benchmark` buy-and-hold's, and `trials` how many
    configurations were tried in all, those of other models included. `members` are those of an ensemble with their
    weight and IC, and the figures those of a tuning study.
    """

    name: str
    predictions: pd.DataFrame
    labels: pd.DataFrame
    equity: pd.DataFrame
    benchmark: pd.DataFrame
    trades: pd.DataFrame
    folds: pd.DataFrame
    verdict: dict[str, Any]
    slices: pd.DataFrame
    horizon: int
    demeaned: bool
    starting_balance: float
    trading_days: int
    gross_equity: pd.DataFrame | None = None
    cost_curve: pd.DataFrame | None = None
    importance: pd.DataFrame | None = None
    attribution: pd.DataFrame | None = None
    feature_drift: pd.DataFrame | None = None
    prediction_drift: pd.DataFrame | None = None
    learning_curve: pd.DataFrame | None = None
    trials: int = 1
    members: dict[str, dict[str, float]] | None = None
    slice_figure: "go.Figure | None" = None
    option_figure: "go.Figure | None" = None


def model_sections(results: ModelResults) -> list[Section]:
    """The parts of a model's page, in their order; a part without anything to show is left out."""
    parts = [_account(results), _luck(results), _predictions(results), _places(results), _trades(results)]
    parts += [_costs(results), _members(results), _attribution(results), _drift(results), _learning(results)]
    parts += [_tuning(results)]
    return [part for part in parts if part is not None]


def _account(results: ModelResults) -> Section:
    money = {"starting_balance": results.starting_balance}
    equity = results.equity.assign(model=results.name)
    return Section(
        "Account",
        figures={
            "Equity and drawdown": account_figure(results.equity, results.gross_equity, results.benchmark, **money),
            "Monthly returns": monthly_figure(equity, **money),
            "Rolling Sharpe ratio and volatility": rolling_figure(
                results.equity, results.folds, **money, trading_days=results.trading_days
            ),
        },
        notes={
            "Equity and drawdown": "Times the starting balance, on a log scale: equal steps are equal percentages. "
            "Before costs: the same positions, traded without fees and slippage.",
            "Rolling Sharpe ratio and volatility": "Of daily net returns. Dotted vertical lines are where a newly "
            "trained model took over.",
        },
        tables=[Table(drawdown_table(results.equity, **money), "Deepest drawdowns", "Net of costs; UTC.")],
    )


def _luck(results: ModelResults) -> Section | None:
    both = [
        daily_returns(account, starting_balance=results.starting_balance)
        for account in (results.equity, results.benchmark)
    ]
    days = pd.concat(both, axis=1, join="inner")
    if results.verdict["alpha_sharpe"] is None or not (days.iloc[:, 0] != 0.0).any():
        return None
    periods = periods_per_year(pd.DatetimeIndex(days.index), results.trading_days)
    sample = stationary_bootstrap(days.iloc[:, 0], days.iloc[:, 1], periods=periods, seed=0)
    note = (
        f"Days drawn anew in blocks of {sample.block:.0f} on average, {len(sample.sharpe_draws):,} times. Dashed lines "
        f"are the ends of the {100.0 * (1.0 - results.verdict['level']):.4g} % interval of the alpha Sharpe ratio, "
        "which must lie above zero for a claim."
    )
    hurdle = expected_best_sharpe(results.trials, 1.0 / np.sqrt(len(days) - 1.0)) * np.sqrt(periods)
    if hurdle > 0.0:
        note += f" Dotted: the ratio that the best of {results.trials} trials without skill is expected to show."
    figure = bootstrap_figure(sample, results.verdict["alpha_sharpe_ci"], hurdle=hurdle or None)
    return Section("Luck", figures={"Resampled Sharpe ratios": figure}, notes={"Resampled Sharpe ratios": note})


def _predictions(results: ModelResults) -> Section:
    what, horizon = (results.predictions, results.labels), results.horizon
    calibration = calibration_table(*what, horizon, demeaned=results.demeaned)
    kind = results.predictions["kind"].iloc[0]
    figures = {
        "RankIC over time": ic_course_figure(ic_series(*what, horizon)),
        "Decay of the RankIC": ic_decay_figure({results.name: ic_decay(*what)}),
        "Returns by quantile of the prediction": quantile_figure(
            {results.name: quantile_returns(*what, horizon)}, horizon=horizon
        ),
    }
    if len(calibration):
        figures["Calibration"] = calibration_figure(calibration, kind)
    return Section(
        "Predictions",
        figures=figures,
        notes={
            "RankIC over time": "A steady climb of the cumulative line is a steady signal; one that wanders is none.",
            "Returns by quantile of the prediction": f"Basis points per {horizon} candles, before costs; the last bar "
            "is the highest quantile less the lowest.",
            "Calibration": "Test rows in ten groups by what was predicted; on the dotted line, what was said is what "
            "came.",
        },
    )


def _places(results: ModelResults) -> Section:
    return Section(
        "Where it works",
        ["Regimes are those that could be known when the position was decided."],
        figures={
            "RankIC by pair": slice_figure(results.slices, "pair"),
            "RankIC by hour of the day": slice_figure(results.slices, "hour"),
        },
        notes={
            "RankIC by pair": "Across pairs, each pair's part of the RankIC of all: their mean is the whole.",
            "RankIC by hour of the day": "The hour in which the candle opens that is predicted from, UTC.",
        },
        tables=[
            Table(
                regime_table(results.slices),
                "Regimes of the market",
                "Volatility of 7 days among all values so far; a crash is a fall of 20 % or more from the highest "
                "close of 30 days. Returns are compounded over the candles in that regime, net of costs.",
            )
        ],
    )


def _trades(results: ModelResults) -> Section | None:
    if not len(results.trades):
        return None
    money = "Net of costs; profit in the stake currency, mean profit as share of the stake."
    return Section(
        "Trades",
        figures={"Profit against time held": trade_figure(results.trades)},
        tables=[
            Table(trade_table(results.trades, "exit_reason"), "By exit reason", money),
            Table(trade_table(results.trades, "pair"), "By pair", money),
        ],
    )


def _costs(results: ModelResults) -> Section | None:
    if results.cost_curve is None or not len(results.trades):
        return None
    note = "The same positions, traded at 0 to 3 times the assumed fee and slippage, each in a backtest of its own."
    return Section("Costs", figures={"What costs do": cost_figure(results.cost_curve)}, notes={"What costs do": note})


def _members(results: ModelResults) -> Section | None:
    if not results.members:
        return None
    table = pd.DataFrame.from_dict(results.members, orient="index").rename_axis("member").reset_index()
    note = (
        "Mean weight over folds, the IC on the validation rows that the weights rest on, and the one in the test "
        "windows: how much those rows flatter a member."
    )
    return Section("Members", tables=[Table(table.round(4), "What the ensemble is made of", note)])


def _tuning(results: ModelResults) -> Section | None:
    drawn = {"Trials by option": results.slice_figure, "Options that matter": results.option_figure}
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    text = ["Scores are of inner folds within the first training window; no test window was looked at."]
    return Section("Tuning", text, figures) if figures else None


def _attribution(results: ModelResults) -> Section | None:
    if results.attribution is None or not results.attribution["share"].gt(0.0).any():
        return None
    tables = [
        Table(
            importance_stability(results.attribution, results.importance),
            "How alike the folds are",
            "Spearman correlation of the features' ranking in each two folds; 1 is the same ranking.",
        )
    ]
    if results.attribution["direction"].notna().any():
        note = "Direction is the rank correlation of the feature and what it adds: 1, more of it raises the prediction."
        tables.append(Table(direction_table(results.attribution), "Direction of the strongest features", note))
    return Section(
        "Attribution",
        ["A description of the predictions in the test windows, made afterwards. Nothing is trained on it."],
        figures={"What predictions rest on": attribution_figure(results.attribution, results.importance)},
        tables=tables,
    )


def _drift(results: ModelResults) -> Section | None:
    if results.feature_drift is None:
        return None
    shares = None
    if results.attribution is not None:
        shares = importance_shares(results.attribution.rename(columns={"value": "importance"}))
    tables = []
    if results.prediction_drift is not None and len(results.prediction_drift):
        note = (
            "Of each test window against the validation window before it. A deviation far from 1 means positions of "
            "another size than those that the model was chosen by."
        )
        tables.append(Table(drift_table(results.prediction_drift), "Drift of predictions", note))
    return Section(
        "Drift",
        ["Population stability index: by custom, 0.1 is a small move and 0.25 a large one (dotted lines)."],
        figures={"Drift of features, training to test": drift_figure(results.feature_drift, shares)},
        tables=tables,
    )


def _learning(results: ModelResults) -> Section | None:
    figures = {}
    curve = results.learning_curve
    if curve is not None:
        for measure, title in {
            "gain": "Log return on validation rows, net",
            "ic": "IC on validation rows",
            "loss": "Loss on validation rows",
        }.items():
            if curve[measure].notna().any():
                figures[title] = learning_figure(curve, measure, title)
    if (results.predictions["kind"] == "position").all():
        figures["Action mix"] = position_figure(results.predictions)
    return Section("Learning", figures=figures) if figures else None


def model_doubts(results: ModelResults, metrics: dict[str, Any]) -> list[str]:
    """Why one model's claim, or the lack of one, may be wrong: what its own tables say against it, with the numbers."""
    return [
        *_doubts_of_the_account(results),
        *_doubts_of_the_predictions(results, metrics),
        *_doubts_of_the_model(results),
    ]


def _doubts_of_the_account(results: ModelResults) -> list[str]:
    doubts, verdict = [], results.verdict
    beta = verdict["beta"]
    if beta is not None and abs(beta) >= 0.3:
        doubts.append(
            f"Part of its return is the market's: beta is {beta:.2f}. The alpha takes that out only as far as beta is "
            "steady."
        )
    if 0 < len(results.trades) < 100:
        doubts.append(f"Only {len(results.trades)} trades: a few lucky ones can make the result.")
    curve = results.cost_curve
    if curve is not None and len(results.trades):
        lost = curve.loc[curve["total_return"] <= 0.0, "multiple"]
        if len(lost) and lost.iloc[0] > 1.0:
            doubts.append(f"At {lost.iloc[0]:g} times the assumed costs nothing is left.")
        elif len(lost) and lost.iloc[0] > 0.0:
            doubts.append(
                "The assumed costs eat up all that it earns; a smaller fee or fewer trades would change that."
            )
    return doubts


def _doubts_of_the_predictions(results: ModelResults, metrics: dict[str, Any]) -> list[str]:
    doubts = []
    pairs = results.slices[(results.slices["slice"] == "pair") & results.slices["rank_ic"].notna()]
    against = pairs.loc[pairs["rank_ic"] <= 0.0, "name"].astype(str).tolist()
    if against:
        doubts.append(f"The RankIC is not above zero for {len(against)} of {len(pairs)} pairs: {', '.join(against)}.")
    mean, spread = metrics.get("rank_ic_seed_mean"), metrics.get("rank_ic_seed_std")
    if mean is not None and spread is not None and spread > 0.5 * abs(mean):
        doubts.append(f"Its seeds disagree: their RankIC is {mean:.4f} ± {spread:.4f}.")
    regimes = results.slices[results.slices["slice"].isin(("volatility", "trend"))]
    bad = regimes[(regimes["net_return"] < 0.0) & (regimes["share"] > 0.05)]
    if len(bad):
        named = ", ".join(f"{row['name']} ({format_value(row['net_return'], 'percent')})" for _, row in bad.iterrows())
        doubts.append(f"It lost money in some regimes of the market: {named}.")
    return doubts


def _doubts_of_the_model(results: ModelResults) -> list[str]:
    doubts = []
    if results.attribution is not None and results.attribution["share"].gt(0.0).any():
        alike = importance_stability(results.attribution, None)["mean rank correlation"].iloc[0]
        if np.isfinite(alike) and alike < 0.5:
            doubts.append(
                f"From fold to fold it rests on other features: the mean rank correlation is {alike:.2f}. A signal "
                "that lasts would be found again."
            )
    drift = results.prediction_drift
    if drift is not None and len(drift) and drift["psi"].max() >= 0.25:
        far = drift.loc[drift["psi"] >= 0.25]
        folds = ", ".join(f"{int(row['fold'])} ({row['psi']:.2f})" for _, row in far.iterrows())
        doubts.append(f"Predictions moved far from those of the validation window in fold {folds} (stability index).")
    return doubts
