"""From `kedro run` to `freqtrade backtesting`, as a user goes."""

import pandas as pd
import pytest

from exported import assert_same_trades, python, trades_in
from projects import kedro, only_version

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    run = kedro(
        "run", "--env", "test", "--params", "backtest.freqtrade=false", "--to-nodes", "backtest.simulate", data=folder
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


def export(data, *arguments):
    return kedro("freqtrade", "export", "--env", "test", *arguments, data=data)


@pytest.mark.parametrize("model", ["ml_training.lightgbm", "ridge", "dl_training.lstm", "ensemble.ensemble"])
def test_freqtrade_makes_the_trades_that_the_pipeline_reports(data, tmp_path, model):
    user_data, name = tmp_path / "user_data", model.rpartition(".")[2]
    run = export(data, "--model", model, "--output", str(user_data))
    assert run.returncode == 0, run.stderr
    command = (
        next(line for line in run.stdout.splitlines() if "(no network)" in line).split("   (no network)")[0].split()
    )
    backtest = python(*command[1:], cwd=tmp_path)
    assert backtest.returncode == 0, backtest.stderr[-3000:]
    reported = pd.read_parquet(only_version(data, "07_model_output/trades.parquet"))
    assert_same_trades(trades_in(user_data), reported[reported["model"] == name])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "ml_training.lightgbn"], "did you mean lightgbm?"),
        (["--model", "dl.lightgbm"], "models: ridge, lightgbm"),
        (["--model", "lightgbm", "--version", "2020-01-01"], "lightgbm.model has no version '2020-01-01'; stored: 20"),
    ],
)
def test_what_is_not_there_is_an_error_without_a_traceback(data, tmp_path, arguments, said):
    run = export(data, *arguments, "--output", str(tmp_path / "user_data"))
    assert run.returncode == 1
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "user_data").exists()


def test_a_version_that_is_named_is_exported(data, tmp_path):
    version = only_version(data, "06_models/lightgbm/model").parent.name
    run = export(
        data, "--model", "lightgbm", "--version", version, "--no-data", "--output", str(tmp_path / "user_data")
    )
    assert run.returncode == 0, run.stderr
    assert f"lightgbm of {version}" in run.stdout
    assert not (tmp_path / "user_data" / "data").exists()
