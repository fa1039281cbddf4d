import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pandas as pd
import pytest

from agent_market import trading
from agent_market.learning.folds import FoldOptions
from agent_market.live import export_user_data
from agent_market.market import load_candles
from agent_market.market.options import MarketOptions
from agent_market.testing.fake_binance import FakeBinance
from agent_market.trading.options import BacktestOptions
from projects import PROJECT
from traded_models import walked

MINUTE = pd.Timedelta(minutes=1)
CANDLES = 3
WANTED = re.compile(r"TreesStrategy: at (\S+ \S+) (.*)")


@pytest.fixture(scope="module")
def chain():
    """Simulated candles as if they were of one minute, and a model whose rule is nearly always in the market."""
    hourly = load_candles(MarketOptions(n_pairs=4, n_candles=1600, signal_strength=0.2))
    start = hourly["date"].min()
    raw = hourly.assign(date=(start + (hourly["date"] - start) / 60).astype(hourly["date"].dtype))
    market = MarketOptions(source="freqtrade_datadir", datadir="data", timeframe="1m")
    windows = FoldOptions(train="720m", valid="120m", test="240m")
    backtest = BacktestOptions(positions={"rule": "sign"}, max_open_trades=4, stoploss=-0.5)
    return walked(raw, market, "trees", windows=windows, backtest=backtest)


def export(chain, folder, fake):
    market = chain.traded.market.model_copy(update={"exchange_options": fake.exchange_options()})
    markets = trading.snapshot_markets(chain.candles, fee=0.001, trading_mode="spot")
    traded = chain.traded.__class__(**vars(chain.traded) | {"market": market})
    export_user_data(folder, traded, candles=chain.candles, predictions=chain.predictions, markets=markets)


def run_bot(folder, *, until, timeout=330):
    """What `freqtrade trade --dry-run` logs until `until(log)`; it is stopped as by Ctrl-C."""
    command = [
        sys.executable, "-u", "-m", "freqtrade", "trade", "--dry-run", "--userdir", "user_data", "--config",
        "user_data/config.json", "--db-url", "sqlite:///trades.sqlite",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "src"), "COLUMNS": "300"}
    log, deadline = folder / "bot.log", time.monotonic() + timeout
    with (
        log.open("w") as written,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=written, stderr=subprocess.STDOUT) as bot,
    ):
        try:
            while not until(log.read_text()):
                assert bot.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(1)
            time.sleep(8)  # the last decision is acted on
        finally:
            bot.terminate()  # a shell may have told what it runs in the background to ignore an interrupt
            try:
                bot.wait(timeout=60)
            except subprocess.TimeoutExpired:  # leaving `with` would wait for ever
                bot.kill()
                raise
    return log.read_text()


@pytest.mark.slow
def test_a_dry_run_enters_and_leaves_as_predicted(chain, tmp_path):
    rows = {(str(pair), "1m", "spot"): table.drop(columns="pair") for pair, table in chain.raw.groupby("pair")}
    with FakeBinance(rows, replay_from=chain.raw["date"].iloc[1500]) as fake:
        export(chain, tmp_path / "user_data", fake)
        log = run_bot(tmp_path, until=lambda text: len(WANTED.findall(text)) >= CANDLES)
    shown = chain.raw.assign(date=(chain.raw["date"] + fake.moved_by).astype(chain.raw["date"].dtype))
    decided = {pd.Timestamp(date): said for date, said in WANTED.findall(log)}
    longs = {}
    for date, said in decided.items():
        signals = chain.traded.signals(shown[shown["date"] <= date])
        longs[date] = set(signals.loc[(signals["date"] == date) & signals["enter_long"], "pair"])
        assert said == (", ".join(f"long {pair}" for pair in sorted(longs[date])) or "nothing"), date

    with closing(sqlite3.connect(tmp_path / "trades.sqlite")) as database:
        trades = pd.read_sql("select pair, open_date, close_date, exit_reason from trades", database)
    trades["open_date"], trades["close_date"] = (
        pd.to_datetime(trades[c], utc=True) for c in ("open_date", "close_date")
    )
    assert len(trades)
    for trade in trades.itertuples():
        assert trade.pair in longs[trade.open_date.floor("min") - MINUTE]
        if not pd.isna(trade.close_date):
            assert trade.exit_reason == "exit_signal"
            assert trade.pair not in longs[trade.close_date.floor("min") - MINUTE]
    first, last = min(longs), max(longs)
    assert set(trades.loc[trades["open_date"] < first + 2 * MINUTE, "pair"]) == longs[first]
    assert set(trades.loc[trades["close_date"].isna(), "pair"]) == longs[last]
