"""How trials are scored: each objective beside its plain definition, on the inner window alone."""

import math

import numpy as np
import pytest

from agent_market import trading
from agent_market.evaluation import ic_series, trading_metrics
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.tuning.search import before, known_by
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.pipelines.tuning import scorer
from agent_market.trading.options import BacktestOptions
from panels import random_candles, scramble_after

CANDLES = random_candles(4, 24 * 40)
LABELS = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
END = CANDLES["date"].min() + 24 * 35 * (CANDLES["date"].iloc[1] - CANDLES["date"].iloc[0])
BACKTEST = BacktestOptions(positions={"rule": "sign"}, max_open_trades=4)
MARKETS = trading.snapshot_markets(CANDLES, fee=BACKTEST.fee, trading_mode="spot")
RNG = np.random.default_rng(0)
TABLE = before(CANDLES, END)[["pair", "date"]]
RETURNS = TABLE.assign(prediction=RNG.normal(size=len(TABLE)), kind="return", fold=0)
CHANCES = TABLE.assign(prediction=RNG.uniform(0.2, 0.8, size=len(TABLE)), kind="probability", fold=0)


def score(objective, predictions, candles=CANDLES, labels=LABELS):
    judge = scorer(objective, TrainingOptions(horizon=2), MarketOptions(), BACKTEST, MARKETS, None)
    return judge(predictions, known_by(labels, END), before(candles, END))


@pytest.mark.parametrize("objective", ["ic", "rank_ic"])
def test_a_coefficient_is_the_mean_over_dates_of_labels_known_by_the_end(objective):
    known = LABELS.copy()
    known.loc[~(LABELS["label_end_2"] <= END), "return_2"] = np.nan
    assert score(objective, RETURNS) == ic_series(RETURNS, known, 2)[objective].mean()


def test_a_sharpe_ratio_is_that_of_the_backtest_after_costs():
    candles = before(CANDLES, END)
    positions = trading.decide_positions(RETURNS, BACKTEST.positions, allow_short=False)
    how = {"timeframe": "1h", "trading_mode": "spot"}
    account = trading.simulate(candles, trading.signals_of(positions), MARKETS, BACKTEST, **how)
    balance = {"starting_balance": BACKTEST.starting_balance, "trading_days": 365}
    expected = trading_metrics(account.equity, account.trades, **balance)["sharpe"]
    assert score("sharpe", RETURNS) == pytest.approx(expected, rel=1e-12)
    assert expected < -5, "noise that trades all the time pays for it"


def test_a_log_loss_is_that_of_the_probabilities_said():
    up = known_by(LABELS, END)["up_2"].to_numpy()[np.asarray(CANDLES["date"] < END)]
    known = np.isfinite(up)
    chance = np.where(up == 1, CHANCES["prediction"], 1 - CHANCES["prediction"])[known]
    assert score("logloss", CHANCES) == pytest.approx(-np.mean(np.log(chance)), rel=1e-12)


def test_what_says_nothing_scores_nothing():
    nothing = RETURNS.assign(prediction=0.0)
    assert score("rank_ic", nothing) == score("sharpe", nothing) == 0.0
    assert math.isclose(score("logloss", CHANCES.assign(prediction=0.5)), math.log(2))


@pytest.mark.parametrize("objective", ["ic", "rank_ic", "sharpe"])
def test_no_score_depends_on_what_comes_after_its_window(objective):
    changed = scramble_after(CANDLES, END - (CANDLES["date"].iloc[1] - CANDLES["date"].iloc[0]))
    labels = build_labels(scramble_after(CANDLES, END), LabelOptions(horizons=(2,)), timeframe="1h")
    assert score(objective, RETURNS, changed, labels) == score(objective, RETURNS)
    earlier = scramble_after(CANDLES, END - 30 * (CANDLES["date"].iloc[1] - CANDLES["date"].iloc[0]))
    labels = build_labels(earlier, LabelOptions(horizons=(2,)), timeframe="1h")
    assert score(objective, RETURNS, earlier, labels) != score(objective, RETURNS)
