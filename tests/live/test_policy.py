"""Policies go to freqtrade as other models do, once they have passed their gate."""

import logging
from dataclasses import replace

import pytest

from agent_market import trading
from agent_market.errors import ParameterError
from agent_market.learning.folds import FoldOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.live import export_user_data, load_traded_model
from agent_market.live.freqai_config import freqai_config
from agent_market.live.history import history_needed
from exported import assert_same_trades, python, trades_in
from traded_models import pipeline_signals

FAILED = {"passed": False, "reasons": ["net of costs it lost: a log return of -0.0123"]}
PASSED = {"passed": True, "reasons": []}
BACKTEST = ["backtesting", "--userdir", "user_data", "--config", "user_data/config.json", "--cache", "none"]


def judged(policy, gate):
    return replace(policy.traded, model=replace(policy.traded.model, gate=gate))


def write(policy, folder, gate, **more):
    markets = trading.snapshot_markets(policy.candles, fee=0.001, trading_mode="spot")
    tables = {"candles": policy.candles, "predictions": policy.predictions, "markets": markets}
    return export_user_data(folder, judged(policy, gate), **tables, **more)


@pytest.mark.parametrize(("gate", "said"), [(FAILED, "net of costs it lost"), (None, "no go-live gate has judged")])
def test_a_policy_that_did_not_pass_is_exported_only_by_force(policy, tmp_path, caplog, gate, said):
    with pytest.raises(ParameterError, match=rf"policy .*{said}.*--force exports it all the same"):
        write(policy, tmp_path / "user_data", gate, data=False)
    assert list(tmp_path.iterdir()) == []
    told = write(policy, tmp_path / "user_data", gate, data=False, force=True)
    assert said in told[0]
    assert told[0].endswith("it was forced")
    with caplog.at_level(logging.WARNING):
        again = load_traded_model(tmp_path / "user_data" / "agent_market" / "policy")
    assert again.model.gate == gate
    assert (said in caplog.text) == (gate is not None)


def test_freqtrade_makes_the_trades_of_the_policys_positions(policy, tmp_path):
    told = write(policy, tmp_path / "user_data", PASSED)
    assert not any("forced" in line for line in told)
    snapshot = "user_data/agent_market/policy/market_snapshot.json"
    run = python("-m", "agent_market.trading.freqtrade_offline", snapshot, *BACKTEST, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    markets = trading.snapshot_markets(policy.candles, fee=0.001, trading_mode="spot")
    how = {"timeframe": "1h", "trading_mode": "spot"}
    expected = trading.simulate(policy.candles, pipeline_signals(policy), markets, policy.traded.backtest, **how)
    assert_same_trades(trades_in(tmp_path / "user_data"), expected.trades)


def test_a_bot_gets_the_candles_that_settle_what_is_held(policy, chain):
    assert policy.traded.model.options.lookback == 201
    assert history_needed(policy.traded) > 201
    ranked = replace(policy.traded, model=replace(policy.traded.model, kind="score"))
    assert history_needed(policy.traded) < history_needed(ranked), "no rule ranks what a policy says"


def test_freqai_does_not_train_policies(policy):
    with pytest.raises(ParameterError, match="policy is a policy"):
        freqai_config(policy.traded, labels=LabelOptions(), training=TrainingOptions(), folds=FoldOptions())
