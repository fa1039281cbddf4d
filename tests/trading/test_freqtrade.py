import json
import logging
import os
import socket
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import AgentMarketError
from agent_market.trading import BacktestOptions, compare_trades, run_freqtrade, simulate, snapshot_markets

NAMES = ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF"]
PAIRS = {"spot": [f"{name}/USDT" for name in NAMES], "futures": [f"{name}/USDT:USDT" for name in NAMES]}


def _both(candles, positions, options, mode, timeframe="1h"):
    markets = snapshot_markets(candles, fee=options.fee, trading_mode=mode)
    how = {"timeframe": timeframe, "trading_mode": mode}
    return (
        simulate(candles, positions, markets, options, **how),
        run_freqtrade(candles, positions, markets, options, **how),
    )


def _assert_equal(embedded, freqtrade, options, *, at_least):
    report = compare_trades(embedded.trades, freqtrade.trades, starting_balance=options.starting_balance)
    assert report["verdict"] == "equal"
    assert report["matched"] >= at_least
    pd.testing.assert_frame_equal(embedded.trades, freqtrade.trades, rtol=1e-12)
    assert embedded.equity["equity"].iloc[-1] == pytest.approx(freqtrade.summary["final_balance"], abs=1e-6)


@pytest.mark.parametrize("max_open_trades", [1, 3])
@pytest.mark.parametrize("mode", ["spot", "futures"])
def test_both_engines_make_the_same_trades(random_candles, random_positions, mode, max_open_trades):
    candles = random_candles(PAIRS[mode], 250, seed=max_open_trades)
    options = BacktestOptions(max_open_trades=max_open_trades)
    embedded, freqtrade = _both(candles, random_positions(candles), options, mode)
    _assert_equal(embedded, freqtrade, options, at_least=15)
    assert freqtrade.summary["rejected_signals"] > 0  # slots were scarce, so the order of pairs mattered
    if mode == "futures":
        trades = freqtrade.trades
        assert set(trades["is_short"]) == {False, True}
        reversals = trades.merge(trades, left_on=["pair", "close_date"], right_on=["pair", "open_date"])
        assert len(reversals) > 0


@pytest.mark.parametrize("mode", ["spot", "futures"])
def test_same_trades_with_late_and_early_pairs_and_holes(random_candles, random_positions, mode):
    pairs = PAIRS[mode][:4]
    candles = random_candles(pairs, 300)
    row = candles.groupby("pair", observed=True).cumcount()
    starts = candles["pair"].map(dict(zip(pairs, [0, 50, 0, 299], strict=True))).astype(int)  # last: one candle
    ends = candles["pair"].map(dict(zip(pairs, [300, 300, 260, 300], strict=True))).astype(int)
    hole = row.between(100, 139) & (candles["pair"] != pairs[1]) | (row == 200)
    candles = candles[(row >= starts) & (row < ends) & ~hole].reset_index(drop=True)
    options = BacktestOptions(max_open_trades=2)
    embedded, freqtrade = _both(candles, random_positions(candles, change=0.05), options, mode)
    _assert_equal(embedded, freqtrade, options, at_least=5)


def test_same_trades_in_a_coin_that_costs_next_to_nothing(random_candles, random_positions):
    candles = random_candles(PAIRS["spot"][:4], 300, price=1.2e-5, decimals=9)
    options = BacktestOptions()
    _assert_equal(*_both(candles, random_positions(candles), options, "spot"), options, at_least=20)


def test_same_trades_where_prices_carry_float_noise(random_candles, random_positions):
    """Prices beyond 14 digits do not lie on their own tick: some exits are filled a candle later, in both engines."""
    candles = random_candles(PAIRS["spot"][:4], 300, decimals=17)
    options = BacktestOptions()
    embedded, freqtrade = _both(candles, random_positions(candles), options, "spot")
    _assert_equal(embedded, freqtrade, options, at_least=15)
    assert freqtrade.summary["timedout_exit_orders"] > 0


def test_same_trades_where_shorts_lose_everything(random_candles, random_positions):
    candles = random_candles(PAIRS["futures"][:4], 300)
    prices = ["open", "high", "low", "close"]
    rally = np.tile(np.exp(np.linspace(0, 4, 300)), 4)
    candles[prices] = candles[prices].mul(rally, axis=0).round(2)
    positions = candles[["pair", "date"]].assign(position=-1.0)
    options = BacktestOptions(max_open_trades=3)
    embedded, freqtrade = _both(candles, positions, options, "futures")
    _assert_equal(embedded, freqtrade, options, at_least=6)
    assert (freqtrade.trades["exit_reason"] == "stop_loss").sum() >= 3


def test_same_trades_with_other_costs_and_timeframe(random_candles, random_positions):
    candles = random_candles(PAIRS["futures"][:4], 200)
    candles["date"] = candles["date"].iloc[0] + (candles["date"] - candles["date"].iloc[0]) / 12  # 5 minutes
    options = BacktestOptions(fee=0.0005, slippage=0.001, starting_balance=300, tradable_balance_ratio=0.5)
    embedded, freqtrade = _both(candles, random_positions(candles), options, "futures", timeframe="5m")
    _assert_equal(embedded, freqtrade, options, at_least=20)
    assert set(freqtrade.trades["fee_open"]) == {0.0015}


@pytest.mark.parametrize(
    ("mode", "names"), [("spot", ["ADA", "BTC", "DOGE"]), ("futures", ["BTC", "ETH"])], ids=["spot", "futures"]
)
def test_same_trades_on_real_candles(shared_dir, random_positions, mode, names):
    tables = []
    for name in names:
        file, pair = f"{name}_USDT-1h.feather", f"{name}/USDT"
        if mode == "futures":
            file, pair = f"futures/{name}_USDT_USDT-1h-futures.feather", f"{name}/USDT:USDT"
        table = pd.read_feather(shared_dir / "market" / "binance" / file)
        months = table["date"].between(pd.Timestamp("2021-05-01", tz="UTC"), pd.Timestamp("2021-06-30", tz="UTC"))
        tables.append(table[months].assign(pair=pair, filled=False))
    candles = pd.concat(tables, ignore_index=True).astype({"pair": "category"})
    assert len(candles) > 1400 * len(names)
    options = BacktestOptions(max_open_trades=2)
    _assert_equal(*_both(candles, random_positions(candles), options, mode), options, at_least=80)


@pytest.fixture
def small(random_candles, random_positions):
    """Arguments of a small backtest."""
    candles = random_candles(PAIRS["futures"][:2], 60)
    options = BacktestOptions()
    markets = snapshot_markets(candles, fee=options.fee, trading_mode="futures")
    return (candles, random_positions(candles, change=0.3), markets, options), {
        "timeframe": "1h",
        "trading_mode": "futures",
    }


def test_no_connection_is_tried(small, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"network access: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(run_freqtrade(*small[0], **small[1]).trades) > 5


def test_repeated_runs_are_identical_and_leave_nothing_behind(small, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers, level = list(logging.root.handlers), logging.getLogger("freqtrade").level
    before = json.dumps(small[0][2])
    first, second = (run_freqtrade(*small[0], **small[1]) for _ in range(2))
    pd.testing.assert_frame_equal(first.trades, second.trades, check_exact=True)
    assert json.loads(json.dumps(first.summary, allow_nan=False)) == second.summary
    assert json.dumps(small[0][2]) == before
    assert os.listdir(tmp_path) == []
    assert (logging.root.handlers, logging.getLogger("freqtrade").level) == (handlers, level)
    assert capfd.readouterr() == ("", "")


def test_new_positions_give_new_trades(small):
    """freqtrade's own cache of results does not see that the positions changed; it must stay off."""
    (candles, positions, markets, options), how = small
    other = positions.assign(position=-positions["position"])
    first, second = (run_freqtrade(candles, table, markets, options, **how) for table in (positions, other))
    assert not first.trades["is_short"].equals(second.trades["is_short"])


def test_backtest_without_trades_gives_an_empty_table(small):
    (candles, positions, markets, options), how = small
    result = run_freqtrade(candles, positions.assign(position=0.0), markets, options, **how)
    assert result.trades.empty
    assert result.summary["total_trades"] == 0
    assert result.summary["final_balance"] == options.starting_balance


def test_refusal_of_freqtrade_is_an_error_that_says_why(small):
    (candles, positions, markets, options), how = small
    every_7_minutes = {
        name: table.assign(date=table["date"].iloc[0] + (table["date"] - table["date"].iloc[0]) / 60 * 7)
        for name, table in (("candles", candles), ("positions", positions))
    }
    with pytest.raises(AgentMarketError, match=r"Invalid timeframe '7m'.*set backtest\.freqtrade to false"):
        run_freqtrade(
            every_7_minutes["candles"], every_7_minutes["positions"], markets, options, **how | {"timeframe": "7m"}
        )


def test_missing_freqtrade_is_an_error_that_says_what_to_do(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "freqtrade.exceptions", None)
    with pytest.raises(AgentMarketError, match=r"install freqtrade, or set backtest\.freqtrade to false"):
        run_freqtrade(*small[0], **small[1])


def test_importing_the_package_does_not_import_freqtrade():
    code = "import sys, agent_market.trading; print([m for m in ('freqtrade', 'ccxt', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
