"""The project as a whole: its wiring, its rules, and one small run from candles to report."""

import inspect
import json
import re
import subprocess
import sys
from math import expm1
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from agent_market.evaluation.formatting import format_value
from agent_market.parameters import RESERVED
from projects import PROJECT, kedro, kedro_on_a_terminal, only_version, python, stored

STAGES = {
    "ml_training": ["ridge", "lightgbm", "xgboost", "catboost", "lightgbm_up"],
    "dl_training": ["mlp", "lstm", "transformer"],
    "rl_training": ["ppo"],
    "ensemble": ["ensemble"],
}
MODELS = [model for models in STAGES.values() for model in models]
OVER_ALL_RUNS = ("run_history", "run_index")
HEAVY = (
    "torch", "freqtrade", "lightgbm", "catboost", "stable_baselines3", "xgboost", "sklearn", "safetensors", "onnx",
    "onnxruntime",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Datasets of one whole run in the test environment."""
    folder = tmp_path_factory.mktemp("data")
    run = kedro("run", "--env", "test", data=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    (folder / "console.txt").write_text(run.stdout + run.stderr)
    return folder


@pytest.fixture(scope="module")
def pipelines():
    bootstrap_project(PROJECT)
    from kedro.framework.project import pipelines

    return pipelines


@pytest.mark.parametrize(
    ("name", "hint"),
    [("data_enginering", "did you mean data_engineering?"), ("foo", "there are attribution, backtest")],
)
def test_a_pipeline_that_does_not_exist_is_told_plainly(name, hint, tmp_path):
    run = kedro("run", "--pipelines", f"data_engineering,{name}", data=tmp_path)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Error: --pipelines: there is no pipeline '{name}'; {hint}")


def test_listing_the_pipelines_imports_no_heavy_library():
    code = (
        "import sys; from pathlib import Path; from kedro.framework.startup import bootstrap_project;"
        "bootstrap_project(Path('.')); from kedro.framework.project import pipelines; print(sorted(pipelines));"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    names, heavy = run.stdout.strip().splitlines()[-2:]
    assert heavy == "[]"
    expected = [
        "__default__",
        "attribution",
        "backtest",
        "data_engineering",
        "dl_training",
        "ensemble",
        "factor_mining",
        "feature_store",
        "ml_training",
        "placebo",
        "reporting",
        "rl_training",
        "robustness",
    ]
    assert names == str(expected)


def test_every_stage_is_a_namespace_and_every_model_one_inside(pipelines):
    for name, pipeline in pipelines.items():
        if name != "__default__":
            assert {node.namespace.split(".")[0] for node in pipeline.nodes} == {name}
    for stage, models in STAGES.items():
        assert {node.namespace for node in pipelines[stage].nodes} == {f"{stage}.{model}" for model in models}


def test_every_dataset_is_declared_with_a_version_and_a_layer(pipelines, monkeypatch, tmp_path):
    monkeypatch.setenv("AGENT_MARKET_DATA", str(tmp_path))
    with KedroSession.create(PROJECT) as session:
        catalog = session.load_context().catalog
        for name in pipelines["__default__"].datasets():
            if name.startswith("params:") or name == "parameters":
                continue
            dataset = catalog.get(name)
            assert dataset is not None, name
            assert dataset.metadata["kedro-viz"]["layer"], name
            if name not in OVER_ALL_RUNS:
                assert dataset._version is not None, f"{name} is not versioned"


def test_nothing_is_trained_or_traded_on_what_is_described_afterwards(pipelines):
    described = pipelines["attribution"].all_outputs()
    read_by = pipelines["__default__"].from_inputs(*described).nodes
    assert {node.namespace.split(".")[0] for node in read_by} == {"reporting"}
    single = set(MODELS) - set(STAGES["ensemble"])
    assert {f"{model}.attribution" for model in single} | {"feature_drift"} <= described


def test_no_model_can_take_the_name_of_a_nodes_argument(pipelines):
    for node in pipelines["__default__"].nodes:
        arguments = inspect.signature(node.func).parameters.values()
        if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
            names = {argument.name for argument in arguments if argument.kind is not argument.VAR_KEYWORD}
            assert names <= RESERVED, f"{node.name}: add {names - RESERVED} to RESERVED"


def test_no_file_of_the_project_holds_a_pickle_dataset():
    for file in (PROJECT / "conf").rglob("*.yml"):
        assert "pickle" not in file.read_text().lower(), file


def test_telemetry_is_off_in_a_fresh_clone():
    assert (PROJECT / ".telemetry").read_text().strip() == "consent: false"


def test_a_run_ends_with_the_leaderboard_and_the_path_of_the_report(data):
    console = (data / "console.txt").read_text()
    for model in [*MODELS, "buy_and_hold", "always_flat"]:
        assert model in console
    path = re.search(r"Report: (.*index\.html)", console).group(1)
    assert Path(path) == only_version(data, "08_reporting/report") / "index.html"


def test_the_report_asks_nothing_of_the_network(data):
    folder = only_version(data, "08_reporting/report")
    pages = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}
    assert set(pages) == {"index.html", *(f"models/{model}.html" for model in MODELS)}
    for page in pages.values():
        without_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
        assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", without_scripts)
        assert set(re.findall(r'<script[^>]*\bsrc="([^"]*)"', page)) <= {"plotly.js", "../plotly.js"}
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 8e6


def test_predictions_are_of_test_rows_only(data):
    folds = pd.read_parquet(only_version(data, "05_model_input/folds.parquet"))
    for model in MODELS:
        predictions = pd.read_parquet(only_version(data, f"07_model_output/{model}/predictions.parquet"))
        windows = folds.set_index("fold").loc[predictions["fold"]]
        date = predictions["date"].array
        assert (date >= windows["test_start"].array).all()
        assert (date < windows["test_end"].array).all()


def test_both_engines_make_the_same_trades(data):
    comparison = pd.read_parquet(only_version(data, "08_reporting/engine_comparison.parquet"))
    assert comparison["model"].tolist() == MODELS
    assert (comparison["trades_freqtrade"] > 0).any()
    assert (comparison["verdict"] == "equal").all()


def test_the_report_says_how_likely_its_results_are_luck_and_that_no_certificate_was_made(data):
    significance = json.loads(only_version(data, "08_reporting/significance.json").read_text())
    assert set(significance["models"]) == set(MODELS)
    assert 0.0 <= significance["spa_p"] <= 1.0
    stability = pd.read_parquet(only_version(data, "08_reporting/stability.parquet"))
    assert set(stability["part"]) == {"third", "month", "fold", "pair"}
    curve = pd.read_parquet(only_version(data, "08_reporting/cost_curve.parquet"))
    assert (curve.groupby("model")["cost"].max() == 3 * curve["cost"][4]).all()
    assert json.loads(only_version(data, "08_reporting/certificate.json").read_text()) == {}
    page = (only_version(data, "08_reporting/report") / "index.html").read_text()
    assert "not run: <code>kedro run --pipelines placebo</code>" in page
    assert "How likely it is luck" in page


def test_the_leaderboard_has_every_model_and_benchmark(data):
    leaderboard = pd.read_parquet(only_version(data, "08_reporting/leaderboard.parquet"))
    assert set(leaderboard["model"]) == {*MODELS, "buy_and_hold", "always_flat"}
    models = leaderboard[leaderboard["model"].isin(MODELS)]
    for column in ("total_return", "rank_ic", "rank_ic_t", "hit_rate", "freqtrade_total_return", "fit_steps"):
        assert models[column].notna().all(), column
    foretell = ~models["model"].isin(STAGES["rl_training"] + STAGES["ensemble"])
    assert (models["r2_oos"].notna() == foretell).all(), "a position or a score is no forecast of a return"
    gated = models["model"].isin(STAGES["rl_training"])
    assert (models["gate"].notna() == gated).all(), "policies have a gate, and nothing else has"
    tried = models.set_index("model")["trials"]
    assert tried["ensemble"] == len(MODELS) - 2, (
        "one for each member, which all but lightgbm_up and ppo are, and its own"
    )
    spread = models.set_index("model")[["n_seeds", "rank_ic_seed_mean", "rank_ic_seed_std"]]
    assert spread.loc[STAGES["dl_training"] + STAGES["rl_training"]].notna().all(axis=None)
    assert spread.loc[STAGES["ml_training"] + STAGES["ensemble"]].isna().all(axis=None)
    assert re.search(
        r"± 0\.\d+<span class=\"interval\">over 2 seeds",
        (only_version(data, "08_reporting/report") / "index.html").read_text(),
    )


def test_a_policy_is_judged_by_window_and_seed(data):
    intervals = pd.read_parquet(only_version(data, "08_reporting/policy_intervals.parquet"))
    assert set(zip(intervals["fold"], intervals["seed"], strict=True)) == {
        (fold, seed) for fold in (0, 1) for seed in ("seed0", "seed1", "ensemble")
    }
    gate = json.loads(only_version(data, "08_reporting/ppo/gate.json").read_text())
    contract = json.loads((only_version(data, "06_models/ppo/model") / "adapter.json").read_text())
    assert contract["gate"] == gate
    assert not gate["passed"], "two windows and two seeds are too few to tell"
    page = (only_version(data, "08_reporting/report") / "index.html").read_text()
    assert "ppo does not pass (intervals there; seeds there" in page
    for seed in ("ensemble", "seed0"):
        net = intervals.loc[(intervals["fold"] == 0) & (intervals["seed"] == seed), "net"].item()
        assert format_value(expm1(net), "percent") in page


def test_a_stored_model_repeats_its_predictions(data, monkeypatch, pipelines):
    monkeypatch.setenv("AGENT_MARKET_DATA", str(data))
    with KedroSession.create(PROJECT, env="test") as session:
        catalog = session.load_context().catalog
        features, factors = catalog.load("features"), catalog.load("factors")
        for model in MODELS:
            trained, predictions = catalog.load(f"{model}.model"), catalog.load(f"{model}.predictions")
            for fold, table in predictions.groupby("fold"):
                again = trained.predict(features, **factors, fold=fold).merge(table, on=["pair", "date"])
                assert len(again) == len(table)
                pd.testing.assert_series_equal(
                    again["prediction_x"], again["prediction_y"], check_names=False, check_exact=True
                )


def test_pipelines_that_run_alone_and_side_by_side_give_the_same_bytes_on_what_others_stored(data):
    names = ["data_engineering", "feature_store", *STAGES, "backtest", "attribution", "reporting"]
    code = (
        "from pathlib import Path; from kedro.framework.session import KedroSession;"
        "from kedro.framework.startup import bootstrap_project; bootstrap_project(Path.cwd())\n"
        f"for name in {names}:\n"
        "    with KedroSession.create(env='test', runtime_params={'training': {'n_jobs': 2}}) as session:\n"
        "        session.run(pipeline_names=[name])"
    )
    run = python("-c", code, data=data, PYTHONHASHSEED="12345")
    assert run.returncode == 0, run.stderr
    versions = {name: paths for name, paths in stored(data).items() if len(paths) == 2}
    assert set(versions) == set(stored(data)), "each dataset was made twice"
    for name, (first, second) in versions.items():
        if name.endswith("/fits.parquet"):
            one, other = (pd.read_parquet(path).drop(columns="seconds") for path in (first, second))
            pd.testing.assert_frame_equal(one, other)
        elif first.is_file():
            assert _content(first, n_jobs=1) == _content(second, n_jobs=2), name
    first, second = versions["08_reporting/report"]
    for page in first.rglob("*.*"):
        assert _content(page, n_jobs=1) == _content(second / page.relative_to(first), n_jobs=2), page
    for model in MODELS:
        first, second = versions[f"06_models/{model}/model"]
        assert json.loads((first / "adapter.json").read_text()) == json.loads((second / "adapter.json").read_text())


def _content(file: Path, *, n_jobs: int) -> bytes:
    """The bytes of a file, the value of the one parameter in which two runs differ left out."""
    content = file.read_bytes()
    for text in (b'"n_jobs": %d', b"training.n_jobs</th><td>%d<"):
        content = content.replace(text % n_jobs, text % 0)
    return content


@pytest.mark.parametrize(("runner", "n_jobs"), [("ThreadRunner", 1), ("ParallelRunner", 2)])
def test_other_runners_come_to_the_same_end(data, runner, n_jobs):
    # Workers that are waited for in vain keep a process for five minutes.
    run = kedro(
        "run", "--env", "test", "--pipelines", "backtest", "--runner", runner, "--params", f"training.n_jobs={n_jobs}",
        data=data, timeout=200,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    first, *_, last = stored(data)["07_model_output/freqtrade_trades.parquet"]
    assert first.read_bytes() == last.read_bytes()


def test_a_model_can_be_added_from_the_command_line(data):
    parameters = "models.quick.adapter=lightgbm,models.quick.n_estimators=3"
    run = kedro("run", "--env", "test", "--namespaces", "ml_training.quick", "--params", parameters, data=data)
    assert run.returncode == 0, run.stderr
    facts = json.loads((only_version(data, "06_models/quick/model") / "adapter.json").read_text())
    assert facts["options"]["n_estimators"] == 3


def test_a_network_runs_alone_and_its_fits_are_seen_on_a_terminal(data):
    slow = "models.lstm.epochs=20,models.lstm.patience=0,models.lstm.seeds=1"  # enough to be seen
    told = kedro_on_a_terminal(
        "run", "--env", "test", "--namespaces", "dl_training.lstm", "--params", slow, data=data
    )  # fmt: skip
    assert "lstm, fold 0" in told
    assert re.search(r"\d/20 .*loss [\d.]+, IC [+-][\d.]+, [\d,]+ samples/s", told)
    for fold in range(2):
        assert told.count(f"lstm regression, fold {fold}: ") == 1, "each line of the log stands there once"
    assert not list((data / "06_models" / "_checkpoints").glob("*")), "checkpoints of finished fits are deleted"


def test_a_tuned_model_is_trained_with_the_options_that_were_chosen_and_its_trials_are_counted(data):
    models = ["ridge", "ensemble"]
    parameters = "tuning.enabled=true,tuning.models=ridge,tuning.trials=4,tuning.objective=sharpe,tuning.folds=2"
    names = "ml_training.ridge,ensemble.ensemble"
    run = kedro("run", "--env", "test", "--namespaces", names, "--params", parameters, data=data)
    assert run.returncode == 0, run.stderr
    tuned = json.loads(only_version(data, "08_reporting/ridge/tuned.json").read_text())
    trials = pd.read_parquet(only_version(data, "08_reporting/ridge/trials.parquet"))
    assert tuned["trials"] == len(trials) == 4
    assert trials["value"].max() == tuned["best_value"] >= tuned["first_value"] == trials["value"].iloc[0]
    newest = {name: paths[-1] for name, paths in stored(data).items()}
    contract = json.loads((newest["06_models/ridge/model"] / "adapter.json").read_text())
    assert contract["options"]["alpha"] == tuned["options"]["alpha"] == trials["alpha"][tuned["best_trial"]]
    counted = {name: json.loads(newest[f"08_reporting/{name}/metrics.json"].read_text())["trials"] for name in models}
    assert counted == {"ridge": 4, "ensemble": len(MODELS) - 2 + 3}
    for figure in ("slice_figure", "option_figure"):
        assert json.loads(only_version(data, f"08_reporting/ridge/{figure}.json").read_text())["data"]
    assert list((data / "06_models" / "_studies").glob("ridge-*.log"))
    gain = json.loads(only_version(data, "08_reporting/ridge/tuning_gain.json").read_text())
    first, last = (
        json.loads(stored(data)["08_reporting/ridge/metrics.json"][at].read_text())["rank_ic"] for at in (0, -1)
    )
    assert (gain["configured"], gain["tuned"]) == (pytest.approx(first), pytest.approx(last))


def test_paths_of_cross_validation_say_that_they_are_no_track_record(data):
    parameters = "cross_validation.models=ridge,cross_validation.groups=4"
    run = kedro("run", "--env", "test", "--pipelines", "robustness", "--params", parameters, data=data)
    assert run.returncode == 0, run.stderr
    summary = json.loads(only_version(data, "08_reporting/path_summary.json").read_text())
    assert summary["what"].startswith("A robustness study, not a track record")
    paths = pd.read_parquet(only_version(data, "08_reporting/paths.parquet"))
    assert paths["path"].tolist() == [0, 1, 2]
    assert paths["sharpe"].notna().all()
    assert not list((data / "06_models").glob("ridge/path*")), "none of these models is stored"
    leaderboard = stored(data)["08_reporting/leaderboard.parquet"]
    assert "path" not in pd.read_parquet(leaderboard[-1]).columns


def test_a_warm_start_stands_beside_its_cold_twin(data):
    twin = "adapter=lightgbm,models.{0}.n_estimators=20,models.{0}.early_stopping=0"
    warm = "models.warm." + twin.format("warm") + ",models.warm.warm_start=true"
    cold = "models.cold." + twin.format("cold")
    for name, parameters in (("warm", warm), ("cold", cold)):
        run = kedro(
            "run", "--env", "test", "--namespaces", f"ml_training.{name}", "--params", parameters, data=data
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
    fits = {name: pd.read_parquet(only_version(data, f"08_reporting/{name}/fits.parquet")) for name in ("warm", "cold")}
    assert fits["warm"]["warm_start"].tolist() == [False, True]
    assert fits["cold"]["warm_start"].tolist() == [False, False]
    metrics = {
        name: json.loads(only_version(data, f"08_reporting/{name}/metrics.json").read_text()) for name in fits
    }  # fmt: skip
    assert [metrics[name]["warm_start"] for name in ("warm", "cold")] == [True, False]
    assert metrics["warm"]["fit_steps_by_fold"] == [20, 20]
    assert metrics["warm"]["rank_ic"] != metrics["cold"]["rank_ic"]


def test_lineage_can_be_built_without_a_network(data, tmp_path):
    run = kedro("viz", "build", "--include-previews", data=data, KEDRO_ENV="test")
    try:
        assert run.returncode == 0, run.stderr
        graph = json.loads((PROJECT / "build" / "api" / "main").read_text())
        names = {node["name"] for node in graph["nodes"]}
        assert {"candles", "features", "lightgbm.predictions", "report", "equity_figure"} <= names
        layers = {node.get("layer") for node in graph["nodes"]} - {None}
        assert layers == {"raw", "primary", "feature", "model_input", "models", "model_output", "reporting"}
    finally:
        subprocess.run(["rm", "-rf", str(PROJECT / "build")], check=True)


def test_the_notebook_runs_on_what_a_run_stored(data, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("AGENT_MARKET_DATA", str(data))
    monkeypatch.setenv("KEDRO_ENV", "test")
    notebook = nbformat.read(PROJECT / "notebooks" / "01_first_look.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "strip the outputs before committing"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PROJECT / "notebooks")}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)


def test_every_pinned_version_is_for_every_python_that_the_project_is_for():
    from importlib.metadata import distribution

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    for line in (PROJECT / "requirements.lock").read_text().splitlines():
        pinned = Requirement(line)
        metadata = distribution(pinned.name).metadata
        assert pinned.specifier.contains(metadata["Version"].split("+")[0]), f"{line}, installed {metadata['Version']}"
        for version in ("3.11.0", "3.12.0", "3.13.0"):
            assert SpecifierSet(metadata.get("Requires-Python", "")).contains(version), f"{line} is not for {version}"


def test_the_package_runs_as_a_module(tmp_path):
    import os

    command = [sys.executable, "-m", "agent_market", "--env", "test", "--pipelines", "data_engineering"]
    environment = os.environ | {"AGENT_MARKET_DATA": str(tmp_path)}
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert set(stored(tmp_path)) >= {"03_primary/candles.parquet", "03_primary/market_snapshot.json"}
