import json
import os
import sqlite3
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from agent_market.tracking import flat
from projects import PROJECT, kedro

ENABLED = ("--params", "tracking.enabled=true")


def test_parameters_become_dotted_names_and_text():
    tree = {"market": {"pairs": None, "source": "simulated"}, "labels": {"horizons": [1, 4]}, "empty": {}, "on": True}
    assert flat(tree) == {
        "market.pairs": "null",
        "market.source": "simulated",
        "labels.horizons": "[1, 4]",
        "empty": "{}",
        "on": "true",
    }


def test_without_the_extra_tracking_is_refused_with_the_remedy(tmp_path):
    try:
        import kedro_mlflow  # noqa: F401
    except ModuleNotFoundError:
        run = kedro("run", "--env", "test", "--pipelines", "data_engineering", *ENABLED, data=tmp_path)
        assert run.returncode != 0
        assert "tracking.enabled is true, but kedro_mlflow is not installed" in run.stdout + run.stderr
        assert not list(tmp_path.rglob("*.db"))
    else:
        pytest.skip("kedro-mlflow is installed")


@pytest.fixture(scope="module")
def tracking_python(tmp_path_factory) -> Path:
    """A Python with the extra, which takes back two pinned packages, over the packages of this one."""
    folder = tmp_path_factory.mktemp("tracking")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    asked = ["kedro-mlflow>=2.0.3", "pyarrow<26", "cachetools<8"]
    install = subprocess.run([python, "-m", "pip", "install", "-q", *asked], capture_output=True, text=True)
    if install.returncode != 0:
        pytest.skip(f"kedro-mlflow cannot be installed here: {install.stderr.strip().splitlines()[-1]}")
    packages = next((folder / "lib").glob("python*/site-packages"))
    rest = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "zz_rest.pth").write_text("\n".join(rest))  # read last, so that what was installed here comes first
    return python


@pytest.mark.slow
def test_a_run_arrives_in_mlflow_with_a_run_of_each_model_inside(tracking_python, tmp_path):
    environment = os.environ | {
        "AGENT_MARKET_DATA": str(tmp_path), "KEDRO_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(PROJECT / "src"),
    }  # fmt: skip
    command = [tracking_python, "-m", "kedro", "run", "--env", "test", *ENABLED]
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
    store = sqlite3.connect(tmp_path / "08_reporting" / "mlflow.db")

    def values(table: str, run_id: str) -> dict[str, str]:
        return dict(store.execute(f"select key, value from {table} where run_uuid = ?", (run_id,)).fetchall())

    runs = {
        name: (run_id, status, Path(place))
        for run_id, name, status, place in store.execute("select run_uuid, name, status, artifact_uri from runs")
    }
    (whole,) = (name for name in runs if "." not in name)
    models = ["ridge", "lightgbm", "xgboost", "catboost", "lightgbm_up"]
    expected = {f"ml_training.{name}" for name in models}
    expected |= {f"dl_training.{name}" for name in ("mlp", "lstm", "transformer")} | {"rl_training.ppo"}
    assert expected <= set(runs)
    assert {status for _, status, _ in runs.values()} == {"FINISHED"}

    parent, _, place = runs[whole]
    assert values("params", parent)["market.n_pairs"] == "4"
    assert float(values("latest_metrics", parent)["models"]) == len(runs) - 1
    assert (place / "report" / "index.html").is_file()
    assert (place / "leaderboard.csv").read_text().startswith("model,edge")
    assert (place / "figures" / "equity_figure.json").is_file()
    for name in expected:
        run_id, _, place = runs[name]
        model = name.split(".")[1]
        assert values("tags", run_id)["mlflow.parentRunId"] == parent
        metrics = json.loads(next((tmp_path / f"08_reporting/{model}/metrics.json").glob("*/*")).read_text())
        assert float(values("latest_metrics", run_id)["rank_ic"]) == pytest.approx(metrics["rank_ic"])
        assert "sharpe" in values("latest_metrics", run_id)
        assert (place / "model" / "adapter.json").is_file()
        assert len(list((place / "figures").glob("*.json"))) > 8
    assert values("params", runs["ml_training.lightgbm"][0])["num_leaves"] == "15"
