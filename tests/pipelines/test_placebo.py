"""The certificate: the same nodes in memory, resumed and in any number of processes the same, and cheats are found."""

import json

import numpy as np
import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.startup import bootstrap_project

from agent_market.errors import ParameterError
from agent_market.parameters import Parameters, digest_of
from agent_market.pipelines.data_engineering.nodes import clean_candles, fetch_candles, load_funding, snapshot_market
from agent_market.pipelines.placebo.nodes import certify_placebo
from agent_market.pipelines.placebo.rerun import START, nodes_for, run_nodes
from chain import HORIZON, judge, run_chain
from projects import PROJECT

TREE = {
    "market": {"n_pairs": 4, "n_candles": 24 * 120, "signal_strength": 0.08, "seed": 3},
    "features": {},
    "labels": {"horizons": [1, HORIZON]},
    "folds": {"train": "60d", "valid": "10d", "test": "20d"},
    "training": {"horizon": HORIZON, "n_jobs": 1},
    "models": {"ridge": {"adapter": "sklearn"}, "ppo": {"adapter": "stable_baselines3"}},
    "backtest": {},
    "placebo": {"markets": 2, "rotations": 1, "n_jobs": 1},
}


@pytest.fixture(scope="module", autouse=True)
def project():
    bootstrap_project(PROJECT)


@pytest.fixture(scope="module")
def market():
    """Candles of a market with a strong signal, its (no) funding, and its snapshot."""
    parameters = Parameters.model_validate(TREE)
    candles, _ = clean_candles(fetch_candles(parameters.market), parameters.market)
    return (
        candles,
        load_funding(candles, parameters.market),
        snapshot_market(candles, parameters.market, parameters.backtest),
    )


def certificate(market, **changes):
    tree = TREE | {name: TREE[name] | block for name, block in changes.items() if name != "models"}
    return certify_placebo(*market, tree | {"models": changes.get("models", TREE["models"])})


def test_the_pipeline_in_memory_comes_to_the_verdict_of_plain_calls(market):
    wanted = ["verdicts", "significance", "ridge.metrics"]
    tree = TREE | {"models": {"ridge": TREE["models"]["ridge"]}}
    nodes = nodes_for(tree, wanted, START)
    assert not any(node.name.endswith(("run_freqtrade", "write_report", "sweep_costs")) for node in nodes)
    made = run_nodes(nodes, Parameters.model_validate(tree), START, wanted)
    windows = Parameters.model_validate(tree).folds
    expected = judge(market[0], {"ridge": run_chain(market[0], {"adapter": "sklearn"}, windows=windows)})
    assert made["verdicts"]["ridge"]["rank_ic"] == expected["ridge"]["rank_ic"]
    assert made["verdicts"]["ridge"]["alpha_sharpe_ci"] == expected["ridge"]["alpha_sharpe_ci"]
    assert made["ridge.metrics"]["rank_ic_low"] > 0.0


def test_a_dataset_that_no_node_makes_is_named():
    with pytest.raises(LookupError, match="no node makes nothing_such"):
        nodes_for(TREE, ["nothing_such"], START)


def test_neither_silent_markets_nor_moved_features_have_the_signal_of_the_market(market):
    found = certificate(market, placebo={"markets": 4, "rotations": 4})
    assert found["models"] == ["ridge"]
    for world in ("markets", "rotations"):
        part = found["worlds"][world]
        assert part["runs"] == 4
        assert abs(part["figures"]["ridge"]["rank_ic_mean"]) < 0.05  # with the signal it is 0.14
        assert part["claims"]["edge"]["count"] == 0
    assert found["passed"] is True


def test_a_model_that_looks_ahead_fails_its_certificate(market):
    models = {"cheat": {"adapter": "toys.foresight"}}
    found = certificate(market, models=models, placebo={"markets": 4, "rotations": 0, "models": "cheat"})
    assert found["worlds"]["markets"]["claims"]["rank_ic"]["count"] == 4
    assert found["passed"] is False
    assert "RankIC above zero, corrected for the models (simulated markets without a signal)" in found["too_often"]


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(market):
    assert certificate(market, placebo={"n_jobs": 2}) == certificate(market)


def test_a_killed_certificate_goes_on(market, tmp_path):
    certificate(market, placebo={"folder": str(tmp_path / "a")})
    (place,) = (tmp_path / "a").iterdir()
    rows = sorted(place.iterdir())
    assert len(rows) == 3

    # what is there is taken as it is, what is not is made again
    kept, gone = json.loads(rows[0].read_text()), rows[1]
    kept["figures"]["ridge"]["rank_ic"] = 100.0
    rows[0].write_text(json.dumps(kept))
    gone.unlink()
    resumed = certificate(market, placebo={"folder": str(tmp_path / "a")})
    assert gone.exists()
    other = json.loads(gone.read_text())["figures"]["ridge"]["rank_ic"]
    assert resumed["worlds"]["markets"]["figures"]["ridge"]["rank_ic_mean"] == pytest.approx((100.0 + other) / 2)

    # another configuration does not see these rows
    certificate(market, backtest={"fee": 0.002}, placebo={"folder": str(tmp_path / "a"), "markets": 1, "rotations": 0})
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_candles_of_a_folder_are_imitated(market, tmp_path):
    # the market as if it had been read from files: its candles are given, and no folder is opened
    tree = {"market": {"source": "freqtrade_datadir", "datadir": str(tmp_path), "timeframe": "1h", "pairs": None}}
    found = certify_placebo(*market, TREE | tree | {"placebo": {"markets": 3, "rotations": 0, "n_jobs": 1}})
    part = found["worlds"]["markets"]
    assert part["runs"] == 3
    assert np.isfinite(part["figures"]["ridge"]["rank_ic_mean"])
    assert part["claims"]["edge"]["count"] == 0


def test_the_digest_is_of_what_results_depend_on():
    def digest(certified=("ridge",), **changes):
        tree = TREE | {name: TREE.get(name, {}) | block for name, block in changes.items()}
        return digest_of(Parameters.model_validate(tree), certified)

    same = digest()
    assert digest(placebo={"markets": 3}, training={"n_jobs": 2}, backtest={"freqtrade": False}) == same
    assert digest(models={"ppo": {"adapter": "stable_baselines3", "seeds": 2}}) == same
    assert digest(tuning={"trials": 3}) == same
    tuned = digest(tuning={"enabled": True, "trials": 3})
    assert tuned not in (same, digest(tuning={"enabled": True, "trials": 4}))
    others = [digest(backtest={"fee": 0.002}), digest(market={"seed": 4}), digest(certified=("ridge", "ppo"))]
    assert len({same, *others}) == 4


def test_wrong_models_are_refused_before_anything_runs(market):
    with pytest.raises(ParameterError, match=r"placebo.models names lstm; models are ridge, ppo"):
        certificate(market, placebo={"models": ["lstm"]})
    with pytest.raises(ParameterError, match="there is no model of ml_training"):
        certificate(market, models={"ppo": TREE["models"]["ppo"]})


def test_the_default_parameters_name_a_place_for_finished_runs():
    from kedro.framework.project import settings

    arguments = settings.CONFIG_LOADER_ARGS | {"default_run_env": "base"}
    tree = OmegaConfigLoader(str(PROJECT / "conf"), **arguments)["parameters"]
    assert Parameters.model_validate(tree).placebo.folder.endswith("08_reporting/_placebo")


def test_an_ensemble_is_certified_with_its_members_and_models_are_tuned_anew_in_each_world(market):
    models = {
        "ridge": {"adapter": "sklearn"},
        "up": {"adapter": "sklearn", "task": "classification"},
        "left_out": {"adapter": "sklearn"},
        "both": {"adapter": "ensemble", "members": ["ridge", "up"]},
    }
    tuning = {"enabled": True, "models": "ridge left_out", "trials": 2, "folds": 2}
    tree = TREE | {"models": models, "tuning": tuning}
    asked = TREE["placebo"] | {"models": "both", "markets": 1, "rotations": 1, "folder": None}
    found = certify_placebo(*market, tree | {"placebo": asked})
    assert found["models"] == ["ridge", "up", "both"]
    assert [part["runs"] for part in found["worlds"].values()] == [1, 1]
