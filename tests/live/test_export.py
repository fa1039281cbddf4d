import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agent_market import trading
from agent_market.errors import ModelError, ParameterError
from agent_market.live import export_user_data, load_traded_model, strategy_name
from agent_market.market import load_candles
from agent_market.market.options import MarketOptions
from agent_market.testing.fake_binance import FakeBinance
from exported import assert_same_trades, python, trades_in
from traded_models import pipeline_signals, walked


@pytest.fixture(scope="session")
def futures():
    """The same on futures, with funding every eight hours."""
    market = MarketOptions(n_pairs=3, n_candles=24 * 60, signal_strength=0.2, trading_mode="futures")
    chain = walked(load_candles(market), market, "trees")
    due = chain.candles[chain.candles["date"].dt.hour % 8 == 0]
    rate = 1e-4 * np.sin(np.arange(len(due)))
    chain.funding = due[["pair", "date"]].assign(funding_rate=rate, mark_price=due["open"]).reset_index(drop=True)
    return chain


def markets_of(chain):
    return trading.snapshot_markets(chain.candles, fee=0.001, trading_mode=chain.traded.market.trading_mode)


def write(chain, folder, **more):
    found = {"candles": chain.candles, "predictions": chain.predictions, "markets": markets_of(chain)} | more
    return export_user_data(folder, found.pop("traded", chain.traded), **found)


def with_exchange_options(chain, options):
    return replace(chain.traded, market=chain.traded.market.model_copy(update={"exchange_options": options}))


def expected_trades(chain, funding=None):
    traded = chain.traded
    how = {"timeframe": "1h", "trading_mode": traded.market.trading_mode, "funding": funding}
    return trading.simulate(chain.candles, pipeline_signals(chain), markets_of(chain), traded.backtest, **how).trades


BACKTEST = ["backtesting", "--userdir", "user_data", "--config", "user_data/config.json", "--cache", "none"]


def test_freqtrade_run_by_a_user_makes_the_pipelines_trades(chain, tmp_path):
    candles = chain.candles
    frames = {(str(pair), "1h", "spot"): rows.drop(columns="pair") for pair, rows in candles.groupby("pair")}
    with FakeBinance(frames, now=candles["date"].max()) as fake:
        write(chain, tmp_path / "user_data", traded=with_exchange_options(chain, fake.exchange_options()))
        run = python("-m", "freqtrade", *BACKTEST, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    assert_same_trades(trades_in(tmp_path / "user_data"), expected_trades(chain))


def test_futures_trade_the_same_without_a_network(futures, tmp_path):
    write(futures, tmp_path / "user_data", funding=futures.funding)
    snapshot = "user_data/agent_market/trees/market_snapshot.json"
    run = python("-m", "agent_market.trading.freqtrade_offline", snapshot, *BACKTEST, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    found = trades_in(tmp_path / "user_data")
    assert found["is_short"].any()
    assert (found["leverage"] == 2).all()
    assert found["funding_fees"].abs().sum() > 0
    assert_same_trades(found, expected_trades(futures, futures.funding))


@pytest.fixture(scope="module")
def exported(chain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "user_data"
    write(chain, folder)
    return folder


def test_the_configuration_is_complete_and_holds_no_secrets(exported, chain):
    config = json.loads((exported / "config.json").read_text())
    assert config["dry_run"] is True
    assert config["exchange"]["pair_whitelist"] == list(chain.traded.pairs)
    assert config["strategy"] == strategy_name(chain.traded.name)
    for name in ("stoploss", "trailing_stop", "max_open_trades", "stake_amount"):
        assert config[name] == getattr(chain.traded.backtest, name)
    assert not {"key", "secret", "password", "apiKey"} & set(config["exchange"])
    first = pd.Timestamp(int(config["timerange"].split("-")[0]), unit="s", tz="UTC")
    assert first == chain.traded.folds["test_start"].min()


def test_the_stored_model_is_the_one_that_was_exported(exported, chain):
    again = load_traded_model(exported / "agent_market" / chain.traded.name)
    assert again.fingerprint() == chain.traded.fingerprint()
    assert json.loads((exported / "config.json").read_text())["agent_market"]["fingerprint"] == again.fingerprint()


def test_what_is_there_is_replaced_only_by_force_and_the_rest_stays(chain, tmp_path):
    folder = tmp_path / "user_data"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "mine.log").write_text("mine")
    write(chain, folder, data=False)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ParameterError, match=r"config\.json,? .*--force"):
        write(chain, folder, data=False)
    assert (folder / "config.json").read_text() == "{}"
    write(chain, folder, force=True)
    assert json.loads((folder / "config.json").read_text())["strategy"]
    assert (folder / "logs" / "mine.log").read_text() == "mine"
    assert len(list((folder / "data" / "binance").glob("*.feather"))) == len(chain.traded.pairs)
    assert {path.name for path in tmp_path.iterdir()} == {"user_data"}, "no draft is left"


def test_an_export_that_fails_leaves_nothing_behind(chain, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr("agent_market.live.export.write_candles", full)
    with pytest.raises(OSError, match="disk is full"):
        write(chain, tmp_path / "user_data")
    assert list(tmp_path.iterdir()) == []


def test_predictions_of_another_run_are_refused(chain, tmp_path):
    other = chain.predictions.assign(prediction=chain.predictions["prediction"].to_numpy()[::-1])
    with pytest.raises(ModelError, match="come from different runs"):
        write(chain, tmp_path / "user_data", predictions=other)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_exchange_is_refused_with_the_nearest_name(chain, tmp_path):
    market = chain.traded.market.model_copy(update={"exchange": "binanse"})
    with pytest.raises(ParameterError, match="did you mean binance"):
        write(chain, tmp_path / "user_data", traded=replace(chain.traded, market=market))


def test_a_model_of_another_market_is_refused(chain):
    with pytest.raises(ModelError, match=r"market\.max_gap=0, and market\.max_gap is 3 now"):
        replace(chain.traded, market=chain.traded.market.model_copy(update={"max_gap": 3}))


def test_a_history_longer_than_the_exchange_gives_is_said(chain, tmp_path):
    assert not any("look back" in said for said in write(chain, tmp_path / "short"))
    rule = chain.traded.backtest.positions.model_copy(update={"window": "300d"})
    long = replace(chain.traded, backtest=chain.traded.backtest.model_copy(update={"positions": rule}))
    said = write(chain, tmp_path / "long", traded=long)
    assert any("look back" in line and "4999" in line for line in said)
    assert (
        "startup_candle_count = 4999"
        in (tmp_path / "long" / "strategies" / f"{strategy_name(long.name)}.py").read_text()
    )
