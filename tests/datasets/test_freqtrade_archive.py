import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from freqtrade.data import btanalysis

from agent_market.datasets import FreqtradeArchiveDataset
from agent_market.trading import run_freqtrade
from agent_market.trading.freqtrade_files import STRATEGY
from agent_market.trading.trades import as_trades
from backtests import draw_backtest


@pytest.fixture(scope="module")
def result():
    """A futures backtest with leverage and funding."""
    return draw_backtest(46).run(run_freqtrade)


@pytest.fixture
def folder(result, tmp_path) -> Path:
    """The folder of a model's archive, as the dataset gives it back."""
    dataset = FreqtradeArchiveDataset(filepath=str(tmp_path / "archive"))
    dataset.save({"ridge": result.archive, "lightgbm": result.archive})
    folders = dataset.load()
    assert list(folders) == ["ridge", "lightgbm"]
    return folders["lightgbm"]


def test_freqtrades_own_reader_finds_the_same_trades(result, folder):
    trades = as_trades(btanalysis.load_backtest_data(folder))
    assert len(trades) > 10
    pd.testing.assert_frame_equal(trades, result.trades, rtol=1e-14)


def test_freqtrades_own_readers_find_figures_wallet_market_and_signals(result, folder):
    stats = btanalysis.load_backtest_stats(folder)
    assert stats["strategy"][STRATEGY]["final_balance"] == pytest.approx(result.summary["final_balance"])
    (entry,) = btanalysis.get_backtest_resultlist(folder)
    assert entry["strategy"] == STRATEGY
    assert len(entry["run_id"]) == 40
    archive = folder / f"{entry['filename'].removesuffix('.meta')}.zip"
    assert len(btanalysis.get_backtest_wallet_change(archive, STRATEGY)) > 0
    assert len(btanalysis.get_backtest_market_change(archive)) > 0
    signals = btanalysis.load_backtest_analysis_data(folder, "signals")[STRATEGY]
    assert sum(len(rows) for rows in signals.values()) == len(result.trades)


def test_files_are_named_after_the_last_candle_and_not_after_the_clock(result):
    assert set(result.archive) == set(draw_backtest(46).run(run_freqtrade).archive)
    (name,) = (name for name in result.archive if name.endswith(".zip"))
    end = pd.Timestamp(result.summary["backtest_end"])
    assert name == f"backtest-result-{end:%Y-%m-%d_%H-%M-%S}.zip"


def test_the_archive_holds_the_strategy_that_was_run(result):
    (content,) = (content for name, content in result.archive.items() if name.endswith(".zip"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (source,) = (name for name in archive.namelist() if name.endswith(f"_{STRATEGY}.py"))
        assert f"class {STRATEGY}" in archive.read(source).decode()


@pytest.mark.parametrize("command", [["backtesting-show"], ["backtesting-analysis", "--analysis-groups", "1"]])
def test_freqtrades_command_line_shows_it(result, folder, tmp_path, command):
    pairs = sorted(result.trades["pair"].unique())
    config = {"exchange": {"name": "binance", "pair_whitelist": pairs}, "stake_currency": "USDT", "dry_run": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = ["--config", str(tmp_path / "config.json"), "--userdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "freqtrade", *command, *arguments, "--backtest-directory", str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert "long" in done.stdout  # the tag of the entries
    assert "short" in done.stdout


def test_nothing_is_an_archive_too(tmp_path):
    dataset = FreqtradeArchiveDataset(filepath=str(tmp_path / "archive"))
    assert not dataset.exists()
    dataset.save({})
    assert dataset.exists()
    assert dataset.load() == {}


def test_a_save_that_fails_leaves_what_was_there(result, tmp_path):
    dataset = FreqtradeArchiveDataset(filepath=str(tmp_path / "archive"))
    dataset.save({"ridge": result.archive})
    with pytest.raises(Exception, match="bytes-like"):
        dataset.save({"lightgbm": {"file.zip": None}})
    assert list(dataset.load()) == ["ridge"]
