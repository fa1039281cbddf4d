"""Kedro's own HTTP server with this project: docs/scheduling.md."""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import pandas as pd
import pytest

from agent_market.errors import BusyError
from agent_market.flow import guard
from projects import PROJECT, python, run_environment, stored

SERVE = """
from pathlib import Path
from kedro.framework.startup import bootstrap_project
from kedro.framework.session.service_session import KedroServiceSession
from kedro.framework.project import pipelines

bootstrap_project(Path.cwd())
with KedroServiceSession.create(env="test", serving_mode=True) as session:
    for parameters in ({}, {"models": {"quick": {"adapter": "lightgbm"}}}, {}, {"tuning": {"enabled": True}}):
        session.load_context(parameters)
        names = {node.name for node in pipelines["ml_training"].nodes}
        print("ml_training.quick.train" in names, any(name.endswith(".tune") for name in names))
"""


def test_a_session_that_serves_builds_the_pipelines_that_each_request_asks_for(tmp_path):
    run = python("-c", SERVE, data=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["False False", "True False", "False False", "False True"]


def test_a_run_in_another_thread_is_refused_and_what_the_first_is_writing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "state_folder", lambda: tmp_path)
    hooks, version = guard.GuardHooks(), tmp_path / "candles.parquet" / "2026"
    hooks.before_pipeline_run({"run_id": "first"})
    version.mkdir(parents=True)
    guard._note({"begun": "clean_candles", "versions": [str(version)]})
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(BusyError, match=r"run first.*takes one run at a time"):
            other.submit(hooks.before_pipeline_run, {"run_id": "second"}).result()
        assert version.exists()
        hooks.after_pipeline_run()
        other.submit(hooks.before_pipeline_run, {"run_id": "third"}).result()
        hooks.after_pipeline_run()


def test_of_two_runs_that_begin_at_the_same_moment_one_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "state_folder", lambda: tmp_path)
    original = guard.acquire
    monkeypatch.setattr(guard, "acquire", lambda what: (time.sleep(0.2), original(what)))
    hooks, begins = guard.GuardHooks(), Barrier(2)

    def begin(name: str) -> str:
        begins.wait()
        try:
            hooks.before_pipeline_run({"run_id": name})
        except BusyError:
            return "refused"
        return "runs"

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(begin, ["one", "other"])) == ["refused", "runs"]
    hooks.after_pipeline_run()


class Server:
    """`kedro server start` in the test environment, on a free port of this machine."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "kedro", "server", "start", "--env", "test", "--port", "0"]
        self._process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=run_environment(data),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        said = []
        for line in self._process.stderr:
            said.append(line)
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                self.client = httpx.Client(base_url=found[1], timeout=300)
                return
        raise AssertionError("".join(said))

    def run(self, **request) -> dict:
        answer = self.client.post("/run", json=request)
        assert answer.status_code == 200
        return answer.json()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.client.close()
        self._process.terminate()
        self._process.communicate(timeout=60)


@pytest.mark.slow
def test_runs_are_asked_for_over_http_and_leave_their_datasets(tmp_path):
    with Server(tmp_path) as server:
        assert server.client.get("/health").json()["status"] == "healthy"
        named = server.client.get("/snapshot").json()
        assert {"data_engineering", "ml_training"} <= {pipeline["name"] for pipeline in named["pipelines"]}

        first = server.run(pipeline_names=["data_engineering"])
        assert first["status"] == "success"
        second = server.run(pipeline_names=["data_engineering"], params={"market": {"n_candles": 1500}})
        assert second["status"] == "success"
        candles = stored(tmp_path)["03_primary/candles.parquet"]
        assert [path.parent.name for path in candles] == [first["run_id"], second["run_id"]]
        lengths = [pd.read_parquet(path)["date"].nunique() for path in candles]
        assert lengths == [1800, 1500], "conf/test, then the parameter of the request"

        wrong = server.run(pipeline_names=["data_engineering"], params={"market": {"n_candle": 1500}})
        assert wrong["status"] == "failure"
        assert "market.n_candle: unknown key; did you mean n_candles?" in wrong["error"]["message"]
        assert len(stored(tmp_path)["03_primary/candles.parquet"]) == 2

        with ThreadPoolExecutor(2) as clients:
            both = list(clients.map(lambda _: server.run(pipeline_names=["feature_store"]), range(2)))
        states = sorted(answer["status"] for answer in both)
        assert states == ["failure", "success"], both
        refused = next(answer for answer in both if answer["status"] == "failure")
        assert "a server takes one run at a time" in refused["error"]["message"]
        quick = {"quick": {"adapter": "lightgbm", "n_estimators": 5}}
        asked = {"namespaces": ["ml_training.quick"], "params": {"models": quick}}
        trained = server.run(pipeline_names=["ml_training"], **asked)
        assert trained["status"] == "success", trained
        assert "07_model_output/quick/predictions.parquet" in stored(tmp_path)
