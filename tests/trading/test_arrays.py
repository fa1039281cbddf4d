"""Backtests on arrays beside those on tables."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading import (
    BacktestOptions,
    market_arrays,
    pack_signals,
    run_arrays,
    signals_of,
    simulate,
    snapshot_markets,
    sweep_scores,
    sweep_thresholds,
)
from agent_market.trading.kernels.layout import EXIT_REASONS, LEAVE, WORD
from agent_market.trading.signals import SIGNALS

PAIRS = ["A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT"]
HOW = {"timeframe": "1h", "trading_mode": "futures"}


@pytest.fixture
def candles(random_candles):
    """B begins later than the others and C ends earlier."""
    table = random_candles(PAIRS, 400)
    row = table.groupby("pair").cumcount()
    return table[~((table["pair"] == PAIRS[1]) & (row < 70)) & ~((table["pair"] == PAIRS[2]) & (row > 300))]


def _markets(candles, mode="futures"):
    return snapshot_markets(candles, fee=0.001, trading_mode=mode)


def _grid(rows, column, market, missing):
    """(candles, pairs) of a long table."""
    table = rows.pivot(index="date", columns="pair", values=column)
    table = table.reindex(index=market.dates, columns=market.pairs)
    return table.to_numpy() if missing is None else table.fillna(missing).to_numpy(dtype=type(missing))


@pytest.mark.parametrize("max_open_trades", [1, 2])
@pytest.mark.parametrize("sized", [False, True])
def test_arrays_give_the_trades_and_the_equity_of_tables(candles, random_positions, max_open_trades, sized):
    positions = random_positions(candles)
    positions["position"] *= 0.5 if sized else 1.0
    signals = signals_of(positions)
    options = BacktestOptions(max_open_trades=max_open_trades, leverage=3, stoploss=-0.05)
    expected = simulate(candles, signals, _markets(candles), options, **HOW)
    market = market_arrays(candles, _markets(candles), **HOW)
    flags = [_grid(signals, name, market, name.startswith("exit")) for name in SIGNALS]
    size = _grid(signals, "size", market, 0.0) if sized else None
    result = run_arrays(market, pack_signals(market, *flags, size=size), options)
    np.testing.assert_array_equal(result.equity, expected.equity["equity"])
    trades = pd.DataFrame(
        {
            "open_date": market.dates[result.trades["opened"]],
            "pair": np.array(market.pairs)[result.trades["pair"]],
            "close_date": market.dates[result.trades["closed"]],
            "exit_reason": np.array(EXIT_REASONS)[result.trades["reason"]],
            "is_short": result.trades["side"] < 0,
            **{name: result.trades[name] for name in ("open_rate", "close_rate", "leverage", "profit_ratio")},
            "profit_abs": result.trades["profit"],
        }
    ).sort_values(["open_date", "pair"], kind="stable", ignore_index=True)
    assert len(trades) > 30
    assert set(trades["pair"]) == (set(PAIRS) if max_open_trades > 1 else set(trades["pair"]))
    pd.testing.assert_frame_equal(trades, expected.trades[list(trades)], check_dtype=False, rtol=0, atol=0)


@pytest.mark.parametrize("n_pairs", [1, 3])
@pytest.mark.parametrize("n_candles", [63, 64, 65, 66, 200])
def test_a_flag_is_the_bit_of_the_next_candle(random_candles, n_pairs, n_candles):
    table = random_candles(PAIRS[:n_pairs], n_candles)
    market = market_arrays(table, _markets(table), **HOW)
    never, flags = np.zeros(market.shape, dtype=bool), np.random.default_rng(0).random(market.shape) < 0.5
    leave = pack_signals(market, never, flags).planes[0, LEAVE, :, :-1].view("uint64")
    for pair in range(n_pairs):
        bits = "".join(f"{word:064b}"[::-1] for word in leave[:, pair])
        asked = "".join(map(str, flags[:-1, pair].astype(int)))
        assert bits == ("0" + asked).ljust(len(bits), "0")


def test_a_sweep_of_scores_is_the_sweep_of_predictions(candles):
    drawn = np.random.default_rng(3).normal(0, 1, len(candles))
    predictions = candles[["pair", "date"]].assign(prediction=np.where(np.abs(drawn) < 0.05, np.nan, drawn))
    levels = pd.DataFrame({"enter_long": [0.5, 2], "exit_long": [0.0, -1], "enter_short": [-1, -2], "exit_short": 0.0})
    expected = sweep_thresholds(candles, predictions, _markets(candles), BacktestOptions(), levels, **HOW)
    market = market_arrays(candles, _markets(candles), **HOW)
    swept = sweep_scores(market, _grid(predictions, "prediction", market, None), levels, BacktestOptions())
    assert swept["trades"].min() > 10
    pd.testing.assert_frame_equal(swept, expected)


def test_a_signal_of_the_last_candle_or_outside_a_pairs_own_candles_enters_nothing(candles):
    market = market_arrays(candles, _markets(candles), **HOW)
    never, always = np.zeros(market.shape, dtype=bool), np.ones(market.shape, dtype=bool)
    late = never.copy()
    late[-2:] = True
    assert not run_arrays(market, pack_signals(market, late, never), BacktestOptions()).trades.size
    trades = run_arrays(market, pack_signals(market, always, never), BacktestOptions()).trades
    assert dict(zip(trades["pair"].tolist(), trades["opened"].tolist(), strict=True)) == {0: 1, 1: 71, 2: 1}


def test_arrays_that_do_not_fit_are_refused(candles):
    market = market_arrays(candles, _markets(candles), **HOW)
    flags = np.zeros(market.shape, dtype=bool)
    with pytest.raises(DataError, match=r"enter_long is bool of shape \(400, 2\); expected bool of shape \(400, 3\)"):
        pack_signals(market, flags[:, :2], flags)
    with pytest.raises(DataError, match="exit_long is float64"):
        pack_signals(market, flags, flags.astype(float))
    with pytest.raises(DataError, match="size must lie from 0 to 1"):
        pack_signals(market, flags, flags, size=np.full(market.shape, 1.5))
    with pytest.raises(ParameterError, match="enter_short and exit_short together"):
        pack_signals(market, flags, flags, flags)
    with pytest.raises(ParameterError, match=r"is paid in USDT, but backtest.stake_currency is EUR"):
        run_arrays(market, pack_signals(market, flags, flags), BacktestOptions(stake_currency="EUR"))


def test_shorts_in_spot_are_refused(random_candles):
    candles = random_candles(["A/USDT"], 50)
    market = market_arrays(candles, _markets(candles, "spot"), timeframe="1h", trading_mode="spot")
    flags = np.zeros(market.shape, dtype=bool)
    with pytest.raises(ParameterError, match=r"need market.trading_mode futures"):
        pack_signals(market, flags, flags, flags, flags)


def test_candles_that_cannot_be_are_refused(candles):
    with pytest.raises(DataError, match="missing columns: high"):
        market_arrays(candles.drop(columns="high"), _markets(candles), **HOW)
    with pytest.raises(DataError, match="the market snapshot lacks B/USDT:USDT"):
        market_arrays(candles, {PAIRS[0]: {}, PAIRS[2]: {}}, **HOW)
    with pytest.raises(DataError, match="there more than once"):
        market_arrays(pd.concat([candles, candles[:1]]), _markets(candles), **HOW)


@pytest.mark.parametrize("length", [2, 63, 64, 65, 128, 130])
def test_signals_act_one_candle_later(random_candles, length):
    """At the turns from one word of bits to the next, too."""
    pairs = ["A/USDT", "B/USDT"]
    candles = random_candles(pairs, length)
    market = market_arrays(candles, _markets(candles, "spot"), timeframe="1h", trading_mode="spot")
    leaves = np.random.default_rng(length).random(market.shape) < 0.4
    signals = pack_signals(market, np.zeros_like(leaves), leaves)
    words = signals.planes[0, LEAVE, :, :-1]
    bits = (words[:, None, :] >> np.arange(WORD)[None, :, None]) & 1
    acting = bits.reshape(-1, len(pairs)).astype(bool)
    np.testing.assert_array_equal(acting[1:length], leaves[:-1])
    assert not acting[0].any()
    assert not acting[length:].any()
