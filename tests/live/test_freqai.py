import json

import numpy as np
import pandas as pd
import pytest

from agent_market import trading
from agent_market.errors import ParameterError
from agent_market.learning.folds import FoldOptions
from agent_market.learning.labels import build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.live import export_user_data
from agent_market.live.freqai_config import freqai_config
from agent_market.market import load_candles
from agent_market.market.options import MarketOptions
from exported import python
from traded_models import FOLDS, LABELS, walked

pytest.importorskip("datasieve", reason="FreqAI needs the extra freqai")


@pytest.fixture(scope="module")
def chain():
    market = MarketOptions(n_pairs=3, n_candles=24 * 60, signal_strength=0.2)
    return walked(load_candles(market), market, "trees")


def config_of(chain, folds=FOLDS, **training):
    return freqai_config(chain.traded, labels=LABELS, training=TrainingOptions(**training), folds=folds)


def backtest(chain, folder, freqai):
    markets = trading.snapshot_markets(chain.candles, fee=0.001, trading_mode="spot")
    found = {"candles": chain.candles, "predictions": chain.predictions, "markets": markets, "freqai": freqai}
    export_user_data(folder / "user_data", chain.traded, **found)
    snapshot = "user_data/agent_market/trees/market_snapshot.json"
    configs = ["--config", "user_data/config.json", "--config", "user_data/freqai.json"]
    command = ["-m", "agent_market.trading.freqtrade_offline", snapshot, "backtesting", "--userdir", "user_data"]
    return python(*command, *configs, "--cache", "none", cwd=folder)


def test_freqai_trains_our_adapter_on_our_folds_and_foretells_what_it_foretells(chain, tmp_path):
    run = backtest(chain, tmp_path, config_of(chain))
    assert run.returncode == 0, run.stderr[-3000:]
    (models,) = (tmp_path / "user_data" / "models").iterdir()
    files = sorted((models / "backtesting_predictions").glob("*.feather"))
    traded = chain.traded
    assert len(files) == len(chain.traded.folds) * 3

    features = traded.features(chain.candles)
    labels = build_labels(chain.candles, LABELS, timeframe="1h")
    compared = 0
    for pair in traded.pairs:
        coin = pair.split("/")[0].lower()
        parts = [pd.read_feather(file) for file in files if f"_{coin}_" in file.name]
        found = pd.concat(parts).set_index("date")["&-target"]
        alone = features[features["pair"] == pair].reset_index(drop=True)
        of_pair = labels[labels["pair"] == pair].reset_index(drop=True)
        training = TrainingOptions()
        _, expected = walk_forward(
            alone, traded.factors, of_pair, traded.folds, traded.model.options, training, timeframe="1h"
        )
        expected = expected.set_index("date")["prediction"]
        np.testing.assert_allclose(found[expected.index], expected, rtol=1e-9)
        compared += len(expected)
    assert compared > 1000
    pickles = [path.name for path in models.rglob("*") if path.suffix in (".pkl", ".joblib")]
    assert pickles == []
    assert len(list(models.rglob("model.txt"))) == len(files)


def test_a_training_that_fails_ends_the_backtest_with_its_reason(chain, tmp_path):
    freqai = config_of(chain)
    freqai["freqai"]["model_training_parameters"]["params"] = {"objective": "no_such_objective"}
    run = backtest(chain, tmp_path, freqai)
    assert run.returncode != 0
    assert "lightgbm could not be trained for" in run.stderr
    assert "no_such_objective" in run.stderr


@pytest.mark.parametrize(
    ("block", "wrong", "said"),
    [
        ("model_training_parameters", {"num_leafs": 3}, "num_leafs: .* did you mean num_leaves"),
        ("model_training_parameters", {"adapter": "lightgbn"}, "Did you mean lightgbm"),
        ("agent_market", {"embargos": 1}, "embargos: .* did you mean embargo"),
    ],
)
def test_an_unknown_option_is_an_error_that_names_it(chain, tmp_path, block, wrong, said):
    from freqtrade.exceptions import OperationalException

    from agent_market.live.freqai_model import AgentMarketRegressor

    config = {"user_data_dir": tmp_path, "timeframe": "1h", **json.loads(json.dumps(config_of(chain)))}
    config["freqai"][block] |= wrong
    with pytest.raises(OperationalException, match=said):
        AgentMarketRegressor(config)


def test_windows_are_those_of_the_folds(chain):
    config = config_of(chain)
    first, last = (pd.Timestamp(int(text), unit="s", tz="UTC") for text in config["timerange"].split("-"))
    folds = chain.traded.folds
    assert (first, last) == (folds["test_start"].iloc[0], folds["test_end"].iloc[-1])
    train = pd.Timedelta(days=config["freqai"]["train_period_days"])
    assert first - train == folds["train_start"].iloc[0]
    assert pd.Timedelta(days=config["freqai"]["backtest_period_days"]) == folds["test_start"].diff().iloc[1]


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        (FoldOptions(train="30d", valid="5d", test="10d", expanding=True), "expanding"),
        (FoldOptions(train="700h", valid="5d", test="10d"), "whole days"),
    ],
)
def test_windows_that_freqai_cannot_have_are_refused(chain, folds, said):
    with pytest.raises(ParameterError, match=said):
        config_of(chain, folds)


def test_a_stored_model_foretells_the_same_after_a_restart(chain, tmp_path):
    from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

    from agent_market.live.freqai_model import AgentMarketRegressor

    config = {"user_data_dir": tmp_path, "timeframe": "1h", **config_of(chain)}
    config["exchange"] = {"pair_whitelist": list(chain.traded.pairs)}
    pair, features = chain.traded.pairs[0], chain.traded.features(chain.candles)
    frame = features[features["pair"] == pair].rename(columns={name: f"%-{name}" for name in chain.traded.factors})

    def predictions(trained=None):
        model = AgentMarketRegressor(config)
        model.dd.set_pair_dict_info({"pair": pair})
        dk = FreqaiDataKitchen(config, live=True, pair=pair)
        dk.label_list = ["&-target"]
        dk.find_features(frame)
        dk.set_paths(pair, 1_700_000_000)
        if trained is not None:
            dk.set_new_model_names(pair, 1_700_000_000)
            model.dd.save_data(trained, pair, dk)
        model.model = model.dd.load_data(pair, dk)
        return model.predict(frame, dk)

    before, after = predictions(chain.traded.model.folds[-1]), predictions()
    assert before[0]["&-target"].std() > 0
    pd.testing.assert_frame_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
