"""`kedro flow` as a user has it: exit codes, idempotence, archive, repetition, and what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from agent_market.flow.commands import flow
from projects import PROJECT, kedro

TASK = {
    "name": "small",
    "env": "test",
    "steps": ["data_engineering", "feature_store", "ml_training", "backtest", "attribution", "reporting"],
    "models": ["ridge"],
    "parameters": {
        "market": {"n_pairs": 3, "n_candles": 1500},
        "folds": {"train": "30d", "valid": "7d", "test": "10d"},
        "backtest": {"freqtrade": False},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data of a finished flow, its task file, and the events that it told."""
    data = tmp_path_factory.mktemp("flow")
    task = data / "small.yml"
    task.write_text(yaml.safe_dump(TASK))
    run = kedro("flow", "run", str(task), "--json", data=data)
    assert run.returncode == 0, run.stdout + run.stderr
    return data, task, [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture
def command(monkeypatch):
    """`kedro flow …` in this process, which has Kedro loaded already."""
    bootstrap_project(PROJECT)
    monkeypatch.chdir(PROJECT)

    def called(*arguments: str, data: Path) -> Result:
        monkeypatch.setenv("AGENT_MARKET_DATA", str(data))
        return CliRunner().invoke(flow, list(arguments))

    return called


def archived(data: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(data.glob("runs/*/run.json"))]


def test_events_are_json_lines_and_nothing_else(made):
    data, _, events = made
    assert [event["event"] for event in events[:2]] == ["flow_started", "round_started"]
    assert events[-1]["event"] == "flow_done"
    done = [event["node"] for event in events if event["event"] == "node_done"]
    assert len(done) == len(set(done)) > 30
    assert {event["run"] for event in events} == {archived(data)[0]["id"]}


def test_the_archive_has_all_that_the_run_was_made_of(made):
    data, task, _ = made
    (run,) = archived(data)
    assert (run["state"], run["task_file"], run["task"]["models"]) == ("done", str(task), ["ridge"])
    assert run["libraries"]["pandas"]
    (part,) = run["rounds"]
    assert part["contents"].keys() == part["versions"].keys() > {"candles", "ridge.model", "report", "feedback"}
    assert part["dates"]["candles"][0].startswith("2023-01-01")
    folder = data / "runs" / run["id"]
    assert (folder / "rounds" / "01" / "report" / "index.html").stat().st_nlink > 1
    assert json.loads((folder / "rounds" / "01" / "parameters.json").read_text())["market"]["n_pairs"] == 3
    assert json.loads((data / "runs" / "latest.json").read_text())["latest"] == run["id"]


def test_a_second_call_does_nothing_and_says_so(made):
    data, task, _ = made
    before = sorted(path for path in data.rglob("*") if path.is_file())
    again = kedro("flow", "run", str(task), data=data)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    assert sorted(path for path in data.rglob("*") if path.is_file()) == before


def test_a_plan_names_what_would_run_and_why(made, tmp_path, command):
    data, _, _ = made
    changed = tmp_path / "changed.yml"
    changed.write_text(
        yaml.safe_dump(TASK | {"parameters": TASK["parameters"] | {"models": {"ridge": {"alpha": 5.0}}}})
    )
    plan = command("run", str(changed), "--dry-run", data=data)
    assert plan.exit_code == 0, plan.output
    assert "ml_training.ridge.train" in plan.stdout
    assert "params:models.ridge changed" in plan.stdout
    assert not re.search(r"build_features|build_labels|make_folds", plan.stdout)
    assert len(archived(data)) == 1


def test_it_can_be_reproduced_and_the_first_difference_is_named(made, command):
    data, _, _ = made
    same = command("reproduce", "small", data=data)
    assert same.exit_code == 0, same.output
    assert re.search(r"identical: \d\d datasets of 1 rounds", same.output)
    assert not list((data / ".state").glob("reproduce-*"))
    with alpha_changed(data):
        other = command("reproduce", data=data)
        assert other.exit_code == 1
        assert "different: the parameter models.ridge.alpha was 5.0 then, and is None now" in other.output


@pytest.mark.slow
def test_what_comes_out_otherwise_is_named_with_the_node_that_makes_it(made, command):
    data, _, _ = made
    with alpha_changed(data):
        other = command("reproduce", "--archived", data=data)
    assert other.exit_code == 1
    assert "different: round 1: ridge.model, which ml_training.ridge.train makes, came out otherwise" in other.output


@contextmanager
def alpha_changed(data: Path) -> Iterator[None]:
    """Somebody changes a parameter in the archive by hand."""
    (file,) = data.glob("runs/*/rounds/01/parameters.json")
    kept = file.read_text()
    changed = json.loads(kept)
    changed["models"]["ridge"]["alpha"] = 5.0
    file.write_text(json.dumps(changed))
    try:
        yield
    finally:
        file.write_text(kept)


def test_runs_are_told_and_compared(made, command):
    data, _, _ = made
    (run,) = archived(data)
    listed = command("list", data=data).output
    assert run["id"] in listed
    assert "1/1" in listed
    shown = command("show", "small", data=data).output
    assert "round 1   done" in shown
    assert str(data / "runs" / run["id"]) in shown
    assert f"{run['id']}: done" in command("status", data=data).output
    assert "the same" in command("diff", "small", run["id"], data=data).output
    assert "there is no run 'large'" in command("show", "large", data=data).output


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        ({"round": 2}, [], "round: unknown key; did you mean rounds?"),
        ({"models": ["rigde"]}, [], "models names 'rigde'; configured are"),
        ({"parameters": {"market": {"n_pair": 3}}}, [], "market.n_pair: unknown key; did you mean n_pairs?"),
        ({"steps": ["reporting"], "models": ["ridge"]}, [], "is not stored yet; add the step"),
        ({}, ["--steps", "backtset"], "'backtset' is no step of this task; did you mean backtest?"),
    ],
)
def test_what_is_wrong_is_told_before_anything_begins(tmp_path, command, content, arguments, told):
    task = tmp_path / "task.yml"
    task.write_text(yaml.safe_dump({"env": "test"} | content))
    run = command("run", str(task), *arguments, data=tmp_path)
    assert run.exit_code == 2
    assert told in run.output
    assert "Traceback" not in run.output
    assert not (tmp_path / "runs").exists()


def models_in(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "06_models" / "ridge" / "model").iterdir())


def test_old_runs_and_what_only_they_refer_to_can_go(made, tmp_path, command):
    data = tmp_path / "data"
    shutil.copytree(made[0], data)
    task = tmp_path / "task.yml"
    task.write_text(yaml.safe_dump(TASK | {"parameters": TASK["parameters"] | {"models": {"ridge": {"alpha": 9.0}}}}))
    assert command("run", str(task), data=data).exit_code == 0
    first, second = archived(data)
    assert len(models_in(data)) == 2
    killed, fresh = data / ".state" / "reproduce-old", data / ".state" / "reproduce-new"
    for folder in (killed, fresh):
        (folder / ".state").mkdir(parents=True)
    os.utime(killed, (0, 0))
    kept = command("gc", "--keep", "1", "--dry-run", data=data)
    assert "1 runs" in kept.output
    assert "1 folders of `reproduce` that was cut off" in kept.output
    assert len(models_in(data)) == 2
    assert killed.exists()
    assert command("gc", "--keep", "1", data=data).exit_code == 0
    assert not killed.exists()
    assert fresh.exists(), "it may be about to be locked"
    assert [run["id"] for run in archived(data)] == [second["id"]]
    assert models_in(data) == [second["rounds"][0]["versions"]["ridge.model"]]
    features = second["rounds"][0]["versions"]["features"]
    assert features == first["rounds"][0]["versions"]["features"]
    assert (data / "04_feature" / "features" / features).is_dir(), "what a run that stays rests on stays"
    again = command("run", str(task), data=data)
    assert "nothing to do" in again.output


def test_two_runs_exclude_each_other(made, command):
    data, task, _ = made
    code = (
        "import time; from filelock import FileLock; import json, sys;"
        "lock = FileLock(sys.argv[1] + '/lock'); lock.acquire();"
        "open(sys.argv[1] + '/holder.json', 'w').write(json.dumps("
        "{'what': 'kedro run', 'process': 1, 'host': 'here', 'since': 'now'}));"
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(data / ".state")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        for second in (["flow", "run", str(task)], ["run", "--env", "test", "--pipelines", "data_engineering"]):
            run = kedro(*second, data=data)
            assert run.returncode == 3, run.stderr
            assert "another run holds" in run.stderr
            assert "kedro run, process 1 on here, since now" in run.stderr
    finally:
        holder.kill()
        holder.wait()
    assert "nothing to do" in command("run", str(task), data=data).output, "the lock of one that died is free"


def test_a_run_that_died_is_not_listed_as_running(made, tmp_path, command):
    data = tmp_path / "data"
    shutil.copytree(made[0], data)
    (run,) = (data / "runs").glob("*/run.json")
    run.write_text(json.dumps(json.loads(run.read_text()) | {"state": "running"}))
    assert " died " in command("list", data=data).output
    assert ": died" in command("show", data=data).output.splitlines()[0]


def test_a_task_file_is_begun_with_init(tmp_path, command):
    file = tmp_path / "mine.yml"
    assert command("init", str(file), data=tmp_path).exit_code == 0
    assert yaml.safe_load(file.read_text())["name"] == "mine"
    assert command("init", str(file), data=tmp_path).exit_code == 2
