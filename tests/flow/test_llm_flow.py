"""Flows with a language model whose server fails: they end as the task's policy says, with everything archived."""

import json
from pathlib import Path

import pytest
import yaml

from agent_market.testing.fake_openai import FakeOpenAI
from forks import forks

KEY = "sk-test-1a2b3c4d5e6f"


@pytest.fixture(scope="module")
def forked():
    with forks() as process:
        yield process


def task(folder: Path, server: FakeOpenAI, **keys: object) -> Path:
    """A file with a small task that asks the server for factors."""
    llm = {"model": "fake", "per_call": 4, "base_url": server.url, "attempts": 2}
    content = {
        "name": "asked",
        "env": "test",
        "steps": ["data_engineering", "factor_mining"],
        "rounds": 2,
        "parameters": {
            "market": {"n_pairs": 4, "n_candles": 1800, "signal_strength": 0.2},
            "mining": {"arms": {"genetic": 30, "zoo": 5, "llm": 4}, "llm": llm},
        },
    }
    file = folder / "task.yml"
    file.write_text(yaml.safe_dump(content | keys))
    return file


def archived(data: Path) -> dict:
    """The latest run of the archive."""
    latest = json.loads((data / "runs" / "latest.json").read_text())["latest"]
    return json.loads((data / "runs" / latest / "run.json").read_text())


def test_a_server_that_fails_stops_the_flow_and_a_healthy_one_ends_it(forked, tmp_path):
    data = tmp_path / "data"
    with FakeOpenAI(["500+0", "429+0"], key=KEY) as server:
        file = task(tmp_path, server)
        failed = forked.run("flow", "run", file, "--json", data=data, AGENT_MARKET_LLM_KEY=KEY)
        assert failed.code == 1
        run = archived(data)
        assert run["state"] == "failed"
        assert "does not answer" in run["reason"]
        assert failed.nodes("node_failed") == ["factor_mining.propose_candidates"]
        assert failed.events[-1]["event"] == "flow_failed"
        server.script.extend(["cut", "hostile", "not_json"])
        resumed = forked.run("flow", "resume", "--json", data=data, AGENT_MARKET_LLM_KEY=KEY)
        assert resumed.code == 0, resumed.said
        asked = [str(request.body["messages"]) for request in server.requests]
    run = archived(data)
    assert [part["state"] for part in run["rounds"]] == ["done", "done"]
    assert "FROM AN EARLIER RUN" not in asked[0]
    assert "FROM AN EARLIER RUN" in asked[-1]
    assert run["rounds"][1]["pins"]["feedback"].endswith("rounds/01/mining_feedback.json")
    files = [path for path in data.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in failed.said + resumed.said


def test_mining_is_left_out_where_the_task_says_continue(forked, tmp_path):
    data = tmp_path / "data"
    with FakeOpenAI(["reset"] * 4, key=KEY) as server:
        file = task(tmp_path, server, rounds=1, on_error={"policy": "continue", "retries": 1, "wait": 0})
        ended = forked.run("flow", "run", file, "--json", data=data, AGENT_MARKET_LLM_KEY=KEY)
    assert ended.code == 0, ended.said
    assert archived(data)["left_out"] == ["factor_mining"]
    assert [event["event"] for event in ended.events].count("round_retried") == 1


@pytest.mark.slow
def test_a_retry_takes_the_round_up_again(forked, tmp_path):
    data = tmp_path / "data"
    with FakeOpenAI(["500+0", "500+0"], key=KEY) as server:
        file = task(tmp_path, server, rounds=1, on_error={"retries": 1, "wait": 0})
        ended = forked.run("flow", "run", file, "--json", data=data, AGENT_MARKET_LLM_KEY=KEY)
    assert ended.code == 0, ended.said
    assert [event["event"] for event in ended.events].count("round_retried") == 1
    assert len((data / "mining_ledger.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_tokens_that_are_used_up_stop_the_flow_with_a_code_of_its_own(forked, tmp_path):
    data = tmp_path / "data"
    with FakeOpenAI(key=KEY) as server:
        file = task(tmp_path, server, stop={"llm_tokens": 1})
        ended = forked.run("flow", "run", file, "--json", data=data, AGENT_MARKET_LLM_KEY=KEY)
    assert ended.code == 4, ended.said
    run = archived(data)
    assert run["state"] == "stopped"
    assert run["reason"].startswith("stop.llm_tokens")
    assert len(run["rounds"]) == 1
