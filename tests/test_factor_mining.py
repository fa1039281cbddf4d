"""Factor mining from the command line: with a language model, again without it, into features, and into the vault."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from agent_market.testing.fake_openai import FakeOpenAI
from projects import kedro, only_version, stored

KEY = "sk-test-9f8e7d6c5b4a"
MARKET = "market.n_pairs=6,market.n_candles=4000,market.signal_strength=0.1"
ASKING = "mining.arms.llm=10,mining.llm.model=fake,mining.llm.per_call=5"
SCRIPT = ["429+0", "good", "typo", "hostile", "echo_key", "fenced"]


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Data of one run of mining with a language model, what it said, and what the model's server received."""
    data = tmp_path_factory.mktemp("mined")
    with FakeOpenAI(SCRIPT, key=KEY) as server:
        asking = f"{MARKET},{ASKING},mining.llm.base_url={server.url}"
        run = kedro(
            "run", "--env", "test", "--pipelines", "data_engineering,factor_mining", "--params", asking,
            data=data, AGENT_MARKET_LLM_KEY=KEY,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        return data, run.stdout + run.stderr, server.requests, asking


def table(data: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(only_version(data, name))


def content(data: Path, name: str) -> dict:
    return json.loads(only_version(data, name).read_text())


def test_each_step_keeps_what_goes_on_and_what_does_not(mined):
    data, *_ = mined
    proposed = content(data, "04_feature/mining/proposed_candidates.json")
    trials, rejects = table(data, "04_feature/mining/factor_trials.parquet"), table(
        data, "04_feature/mining/mining_rejects.parquet"
    )  # fmt: skip
    before_gate = rejects[rejects["step"] != "gate"]
    assert sorted([*trials["id"], *before_gate["id"]]) == sorted(row["id"] for row in proposed), "nobody is lost"
    results = table(data, "04_feature/mining/gate_results.parquet")
    at_gate = rejects[rejects["step"] == "gate"]
    assert sorted([*at_gate["id"], *results.loc[results["passed"], "id"]]) == sorted(trials["id"])
    assert set(trials["arm"]) >= {"genetic", "zoo", "llm", "control"}


def test_the_control_arm_has_as_many_trials_as_the_language_model(mined):
    data, *_ = mined
    arms = table(data, "08_reporting/mining_arms.parquet").set_index("arm")
    readable = arms.loc["llm", "proposed"] - arms.loc["llm", "unreadable"]
    assert 10 <= arms.loc["control", "proposed"] <= readable
    page = only_version(data, "08_reporting/mining_report").joinpath("index.html").read_text()
    assert "the control arm had" in page


def test_the_planted_factor_is_in_the_library_and_the_report(mined):
    data, said, *_ = mined
    library = content(data, "04_feature/factor_library.json")
    assert library["factors"]
    assert max(facts["search"]["t"] for facts in library["factors"].values()) > 5
    page = only_version(data, "08_reporting/mining_report").joinpath("index.html").read_text()
    for name, facts in library["factors"].items():
        assert f"@{name}" in page
        assert facts["expression"].replace("<", "&lt;").replace(">", "&gt;") in page
    assert "<b>over" not in page, "text of a language model is escaped"
    assert "factors tried" in said
    assert "Mining report:" in said


def test_the_report_asks_nothing_of_the_network(mined):
    data, *_ = mined
    page = only_version(data, "08_reporting/mining_report").joinpath("index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_the_ledger_has_one_line(mined):
    data, *_ = mined
    [line] = (data / "mining_ledger.jsonl").read_text().splitlines()
    record = json.loads(line)
    trials = table(data, "04_feature/mining/factor_trials.parquet")
    assert record["kind"] == "round"
    assert record["round"] == 1
    assert record["trials"] == sorted(set(trials["rank_key"]))


def test_the_key_is_in_no_file_and_no_line_of_a_run(mined):
    data, said, requests, _ = mined
    assert any(request.headers["authorization"] == f"Bearer {KEY}" for request in requests), "it was used"
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in said
    project = Path(__file__).parents[1]
    assert [path for path in project.glob("*.log") if KEY.encode() in path.read_bytes()] == []


def test_prompts_hold_no_pair_and_no_date(mined):
    data, _, requests, _ = mined
    pairs = table(data, "03_primary/candles.parquet")["pair"].cat.categories
    names = {part for pair in pairs for part in pair.split("/")}
    for request in requests:
        text = str(request.body["messages"])
        assert "2023" not in text
        assert not [name for name in names if name in text]


def test_feedback_is_given_in_both_forms(mined):
    data, *_ = mined
    feedback = content(data, "08_reporting/mining_feedback.json")
    assert feedback["round"] == 1
    assert feedback["backtest"]["segment"] == "search"
    older = content(data, "08_reporting/latest_backtest_summary.json")
    assert older["trades"] == feedback["backtest"]["trades"] > 0


def test_a_replay_needs_no_server_and_no_key_and_is_the_same_bit_for_bit(mined, tmp_path):
    data, _, _, asking = mined
    again = tmp_path / "again"
    for folder in ("01_raw", "03_primary"):
        shutil.copytree(data / folder, again / folder)
    run = kedro(
        "run", "--env", "test", "--pipelines", "factor_mining", "--params", f"{asking},mining.llm.mode=replay",
        data=again,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    first, second = stored(data), stored(again)
    assert set(first) == set(second)
    for name, [path] in first.items():
        if path.is_file():
            assert path.read_bytes() == second[name][0].read_bytes(), name
    assert (data / "mining_ledger.jsonl").read_bytes() == (again / "mining_ledger.jsonl").read_bytes()


def test_mined_factors_become_features(mined):
    data, *_ = mined
    name = next(iter(content(data, "04_feature/factor_library.json")["factors"]))
    run = kedro(
        "run", "--env", "test", "--pipelines", "feature_store",
        "--params", f"{MARKET},features.factors.mine=2 * @{name},features.mined=true", data=data,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    factors = content(data, "04_feature/factors.json")["factors"]
    assert name in factors
    assert "@" not in factors["mine"]


def test_the_vault_leaves_a_line_and_is_counted(mined):
    data, *_ = mined
    before = (data / "mining_ledger.jsonl").read_text()
    run = kedro("factor", "vault", "--env", "test", "--yes", data=data)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "was opened 1 time;" in run.stdout
    lines = (data / "mining_ledger.jsonl").read_text().splitlines()
    assert lines[:-1] == before.splitlines()
    record = json.loads(lines[-1])
    assert record["kind"] == "vault"
    assert record["who"]
    assert set(record["factors"]) == set(content(data, "04_feature/factor_library.json")["factors"])
