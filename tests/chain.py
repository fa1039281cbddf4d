"""The way from candles to equity in plain function calls, for tests of the whole of it."""

from dataclasses import dataclass

import pandas as pd

from agent_market import evaluation, trading
from agent_market.adapters import parse_model_options
from agent_market.factors import compute_factors, load_factors
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.trading.options import BacktestOptions

HORIZON = 12
FOLDS = FoldOptions(train="60d", valid="10d", test="30d")
BACKTEST = BacktestOptions()


@dataclass(frozen=True)
class Outcome:
    """What one model made of some candles."""

    features: pd.DataFrame
    labels: pd.DataFrame
    folds: pd.DataFrame
    predictions: pd.DataFrame
    positions: pd.DataFrame
    trades: pd.DataFrame
    equity: pd.DataFrame


def run_chain(
    candles: pd.DataFrame,
    model: dict,
    *,
    markets: dict | None = None,
    features=compute_factors,
    windows: FoldOptions = FOLDS,
) -> Outcome:
    """Features, labels, folds, out-of-sample predictions, positions, trades and equity of one model."""
    factors = load_factors("basic", {})
    table = features(candles, factors, timeframe="1h")
    labels = build_labels(candles, LabelOptions(horizons=(1, 12)), timeframe="1h")
    folds = make_folds(candles["date"], windows, timeframe="1h")
    _, predictions = walk_forward(
        table, factors, labels, folds, parse_model_options(model), TrainingOptions(horizon=HORIZON), timeframe="1h"
    )
    positions = trading.decide_positions(predictions, BACKTEST.positions, allow_short=False)
    markets = markets or trading.snapshot_markets(candles, fee=BACKTEST.fee, trading_mode="spot")
    signals = trading.signals_of(positions)
    result = trading.simulate(candles, signals, markets, BACKTEST, timeframe="1h", trading_mode="spot")
    return Outcome(table, labels, folds, predictions, positions, result.trades, result.equity)


def accounts(candles: pd.DataFrame, outcomes: dict[str, Outcome]) -> tuple[dict[str, pd.Series], pd.Series]:
    """Daily net returns of each model, and of buy-and-hold over the same time."""
    one = next(iter(outcomes.values()))
    dates = one.positions["date"]
    markets = trading.snapshot_markets(candles, fee=BACKTEST.fee, trading_mode="spot")
    held = trading.buy_and_hold(candles, markets, BACKTEST, start=dates.min(), end=dates.max(), timeframe="1h")

    def daily(equity: pd.DataFrame) -> pd.Series:
        return evaluation.daily_returns(equity, starting_balance=BACKTEST.starting_balance)

    return {model: daily(outcome.equity) for model, outcome in outcomes.items()}, daily(held.equity)


def judge(candles: pd.DataFrame, outcomes: dict[str, Outcome]) -> dict[str, dict]:
    """The verdict on each model, as the report has it."""
    return evaluation.edge_verdict(
        *accounts(candles, outcomes),
        {
            model: evaluation.ic_series(outcome.predictions, outcome.labels, HORIZON).set_index("date")["rank_ic"]
            for model, outcome in outcomes.items()
        },
        horizon=HORIZON,
        trading_days=365,
    )


def weigh(candles: pd.DataFrame, outcomes: dict[str, Outcome]) -> dict:
    """How likely the results are luck, as the report has it."""
    return evaluation.weigh_evidence(*accounts(candles, outcomes), dict.fromkeys(outcomes, 1))
