import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.evaluation.metrics import trading_metrics
from agent_market.trading import (
    BacktestOptions,
    signals_of,
    simulate,
    snapshot_markets,
    sweep_options,
    sweep_thresholds,
    threshold_signals,
)
from agent_market.trading.sweep import FIGURES

PAIRS = ["A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT"]
HOW = {"timeframe": "1h", "trading_mode": "futures"}
LEVELS = pd.DataFrame(
    {
        "enter_long": [0.5, 1.0, 1.5, np.inf],
        "exit_long": [0.0, 0.5, -1.0, -np.inf],
        "enter_short": [-0.5, -1.5, -1.5, -np.inf],
        "exit_short": [0.0, 0.0, 1.0, np.inf],
    }
)


@pytest.fixture
def candles(random_candles):
    return random_candles(PAIRS, 400)


@pytest.fixture
def signals(candles, random_positions):
    return signals_of(random_positions(candles))


@pytest.fixture
def predictions(candles):
    drawn = np.random.default_rng(3).normal(0, 1, len(candles))
    return candles[["pair", "date"]].assign(prediction=np.where(np.abs(drawn) < 0.05, np.nan, drawn))


@pytest.fixture
def funding(candles):
    dates = candles["date"].drop_duplicates()[::8]
    tables = [pd.DataFrame({"pair": pair, "date": dates, "funding_rate": 1e-4, "mark_price": 90.0}) for pair in PAIRS]
    return pd.concat(tables, ignore_index=True)


def _markets(candles):
    return snapshot_markets(candles, fee=0.001, trading_mode="futures")


def _figures(result, options):
    figures = trading_metrics(result.equity, result.trades, starting_balance=options.starting_balance, trading_days=365)
    return [np.nan if figures[name] is None else figures[name] for name in FIGURES]


SETS = [
    BacktestOptions(),
    BacktestOptions(max_open_trades=1, fee=0.01),
    BacktestOptions(stake_amount=500, stoploss=-0.02, leverage=3),
    BacktestOptions(trailing_stop=True, stoploss=-0.05, minimal_roi={0: 0.02, 600: 0.0}),
    BacktestOptions(leverage=20, max_open_trades=2, starting_balance=333.0),
    BacktestOptions(starting_balance=7),  # too little for the smallest stake of a third
]


def test_each_set_of_options_has_the_figures_of_its_own_backtest(candles, signals, funding):
    swept = sweep_options(candles, signals, _markets(candles), SETS, funding=funding, **HOW)
    assert swept["trades"].max() > 50
    for number, options in enumerate(SETS):
        result = simulate(candles, signals, _markets(candles), options, funding=funding, **HOW)
        expected = _figures(result, options)
        assert swept.loc[number].tolist() == pytest.approx(expected, rel=1e-9, nan_ok=True)
        assert swept.loc[number, "final_balance"] == pytest.approx(result.equity["equity"].iloc[-1], rel=1e-12)


def test_ruined_account_stays_ruined(candles, signals):
    ruin = BacktestOptions(leverage=20, fee=0.05, max_open_trades=1, tradable_balance_ratio=1.0)
    swept = sweep_options(candles, signals, _markets(candles), [ruin], **HOW)
    result = simulate(candles, signals, _markets(candles), ruin, **HOW)
    assert swept.loc[0].tolist() == pytest.approx(_figures(result, ruin), rel=1e-9, nan_ok=True)
    assert swept.loc[0, "final_balance"] == 0
    assert swept.loc[0, "max_drawdown"] == -1


def test_each_row_of_levels_has_the_figures_of_its_own_signals(candles, predictions, funding):
    options = BacktestOptions(stoploss=-0.1, max_open_trades=2)
    swept = sweep_thresholds(candles, predictions, _markets(candles), options, LEVELS, funding=funding, **HOW)
    assert swept[list(LEVELS)].equals(LEVELS)
    assert swept["trades"].iloc[:3].min() > 20
    assert swept["trades"].iloc[3] == 0
    for number, levels in LEVELS.iterrows():
        signals = threshold_signals(predictions, levels)
        result = simulate(candles, signals, _markets(candles), options, funding=funding, **HOW)
        expected = _figures(result, options)
        assert swept.loc[number, list(FIGURES)].tolist() == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_without_levels_for_shorts_there_are_none(candles, predictions):
    table = LEVELS[["enter_long", "exit_long"]]
    swept = sweep_thresholds(candles, predictions, _markets(candles), BacktestOptions(), table, **HOW)
    signals = threshold_signals(predictions, {"enter_long": 0.5, "exit_long": 0.0})
    assert not signals["enter_short"].any()
    result = simulate(candles, signals, _markets(candles), BacktestOptions(), **HOW)
    assert not result.trades["is_short"].any()
    assert swept.loc[0, "trades"] == len(result.trades)


def test_threads_and_the_order_of_sets_do_not_matter(candles, signals):
    many = SETS * 4
    alone = sweep_options(candles, signals, _markets(candles), many, threads=1, **HOW)
    three = sweep_options(candles, signals, _markets(candles), many, threads=3, **HOW)
    backwards = sweep_options(candles, signals, _markets(candles), many[::-1], threads=2, **HOW)
    pd.testing.assert_frame_equal(alone, three, check_exact=True)
    pd.testing.assert_frame_equal(alone, backwards[::-1].reset_index(drop=True), check_exact=True)


def test_signals_of_thresholds_are_strict_and_flat_where_the_prediction_is_missing():
    predictions = pd.DataFrame({"pair": "A/USDT", "date": range(5), "prediction": [1.0, 1.1, 0.4, 0.5, np.nan]})
    signals = threshold_signals(predictions, {"enter_long": 1.0, "exit_long": 0.5})
    assert signals["enter_long"].tolist() == [False, True, False, False, False]
    assert signals["exit_long"].tolist() == [False, False, True, False, True]


def test_no_options_and_options_in_two_currencies_are_refused(candles, signals):
    with pytest.raises(ParameterError, match="the list is empty"):
        sweep_options(candles, signals, _markets(candles), [], **HOW)
    two = [BacktestOptions(), BacktestOptions(stake_currency="BTC")]
    with pytest.raises(ParameterError, match=r"backtest.stake_currency differs between the sets: BTC, USDT"):
        sweep_options(candles, signals, _markets(candles), two, **HOW)


def test_levels_that_contradict_one_another_are_refused_with_their_row(candles, predictions):
    levels = LEVELS.copy()
    levels.loc[2, "exit_long"] = 1.6
    with pytest.raises(ParameterError, match="levels, row 2: a long is left below exit_long"):
        sweep_thresholds(candles, predictions, _markets(candles), BacktestOptions(), levels, **HOW)
    with pytest.raises(DataError, match="missing: exit_long"):
        sweep_thresholds(
            candles, predictions, _markets(candles), BacktestOptions(), levels.drop(columns="exit_long"), **HOW
        )
    with pytest.raises(DataError, match="a level is missing"):
        sweep_thresholds(
            candles, predictions, _markets(candles), BacktestOptions(), levels.assign(enter_short=np.nan), **HOW
        )
    with pytest.raises(DataError, match="levels: sharpe are names of figures"):
        sweep_thresholds(candles, predictions, _markets(candles), BacktestOptions(), LEVELS.assign(sharpe=1.0), **HOW)


def test_levels_for_shorts_in_spot_are_refused(random_candles):
    candles = random_candles(["A/USDT"], 50)
    predictions = candles[["pair", "date"]].assign(prediction=0.0)
    markets = snapshot_markets(candles, fee=0.001, trading_mode="spot")
    with pytest.raises(ParameterError, match=r"shorts need market\.trading_mode futures"):
        sweep_thresholds(candles, predictions, markets, BacktestOptions(), LEVELS, timeframe="1h", trading_mode="spot")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stake_beyond_the_last_tier_stops_a_sweep_as_it_stops_a_backtest(candles, signals, threads):
    markets = _markets(candles)
    for market in markets.values():
        market["leverageTiers"] = [market["leverageTiers"][0] | {"maxNotional": 50_000.0}]
    rich = BacktestOptions(starting_balance=1e9, leverage=2)
    with pytest.raises(ParameterError, match="beyond the last of its leverageTiers"):
        simulate(candles, signals, markets, rich, **HOW)
    with pytest.raises(ParameterError, match="beyond the last of its leverageTiers"):
        sweep_options(candles, signals, markets, [BacktestOptions(), rich], threads=threads, **HOW)
