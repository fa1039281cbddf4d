"""Flows that are killed with SIGKILL, at any moment, and gone on with: the same comes out as of an undisturbed run."""

import json
from pathlib import Path

import pytest
import yaml

from forks import KILLED, Ended, Forks, forks, half_written
from projects import stored

MINED = ["data_engineering", "factor_mining"]


def task(folder: Path, steps: list[str], **keys: object) -> Path:
    """A file with a small task of two rounds."""
    content = {
        "name": "small",
        "env": "test",
        "steps": steps,
        "rounds": 2,
        "seed": 3,
        "models": ["ridge", "lightgbm"],
        "parameters": {
            "market": {"n_pairs": 4, "n_candles": 1800, "signal_strength": 0.2},
            "features": {"mined": True},
            "backtest": {"freqtrade": False},
            "models": {"lightgbm": {"n_estimators": 5}},
            "mining": {"arms": {"genetic": 30, "zoo": 5}},
        },
    }
    file = folder / "task.yml"
    file.write_text(yaml.safe_dump(content | keys))
    return file


@pytest.fixture(scope="module")
def forked():
    with forks() as process:
        yield process


def archived(data: Path) -> dict:
    """The one run of the archive."""
    (file,) = data.glob("runs/*/run.json")
    return json.loads(file.read_text())


def bytes_of(path: Path) -> bytes:
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    return b"".join(file.relative_to(path).as_posix().encode() + file.read_bytes() for file in files)


def assert_same(data: Path, other: Path) -> int:
    """All that two runs left is equal; how many datasets were compared."""
    one, two = archived(data), archived(other)
    assert one["state"] == two["state"] == "done"
    for name in ("code", "libraries", "task", "left_out"):
        assert one[name] == two[name], name
    assert len(one["rounds"]) == len(two["rounds"])
    compared = 0
    for ours, theirs in zip(one["rounds"], two["rounds"], strict=True):
        assert set(ours["contents"]) == set(theirs["contents"])
        different = [name for name, content in ours["contents"].items() if theirs["contents"][name] != content]
        assert different == []
        compared += len(ours["contents"])
        for name in ("accepted", "trials", "dates", "state"):
            assert ours[name] == theirs[name], name
        assert ours["pins"]["ledger"] == theirs["pins"]["ledger"]
    assert (data / "mining_ledger.jsonl").read_bytes() == (other / "mining_ledger.jsonl").read_bytes()
    newest, others = stored(data), stored(other)
    assert set(newest) == set(others)
    for name, versions in newest.items():
        if name.endswith(("/model", "/fits.parquet")):  # times of fits are measured by a clock
            continue
        if "report" in Path(name).name:  # says when it was made
            continue
        assert bytes_of(versions[-1]) == bytes_of(others[name][-1]), name
    kept = [sorted(p.relative_to(next(d.glob("runs/2*"))).as_posix() for p in d.rglob("runs/2*/rounds/**/*"))
            for d in (data, other)]  # fmt: skip
    assert kept[0] == kept[1]
    return compared


def assert_once(attempts: list[Ended]) -> int:
    """No node that was told to be done ran again in the same round; how many nodes ran."""
    number, done = 0, []
    for attempt in attempts:
        for event in attempt.events:
            number = event["round"] if event["event"] == "round_started" else number
            if event["event"] == "node_done":
                done.append((number, event["node"]))
    assert len(done) == len(set(done)), sorted({one for one in done if done.count(one) > 1})
    return len(done)


def assert_ended(last: Ended) -> None:
    """The flow came to its end; a kill may have found it there already."""
    assert last.code == 0 or "is done: there is nothing to resume" in last.said, last.said


def survived(forked: Forks, file: Path, data: Path, kills: list[tuple[str, int | str, float]]) -> list[Ended]:
    """A run that is killed at each of these places in turn, counted from where it was taken up, and then left alone."""
    attempts = []
    for kill in [*kills, None]:
        command = ("resume",) if (data / "runs" / "latest.json").exists() else ("run", file)
        attempts.append(forked.run("flow", *command, "--json", data=data, kill=kill))
        if attempts[-1].code != KILLED:
            break
    assert_ended(attempts[-1])
    return attempts


def test_a_round_that_is_killed_when_its_line_is_in_the_ledger_looks_at_the_gate_once(forked, tmp_path):
    file = task(tmp_path, MINED, rounds=1)
    data = tmp_path / "data"
    attempts = survived(forked, file, data, [("node_done", "factor_mining.judge_candidates", 0.0)])
    assert [attempt.code for attempt in attempts] == [KILLED, 0]
    assert_once(attempts)
    assert len((data / "mining_ledger.jsonl").read_text().splitlines()) == 1
    run = archived(data)
    assert [part["pins"]["ledger"] for part in run["rounds"]] == [0]
    assert run["state"] == "done"
    assert half_written(data) == []


WHOLE = [*MINED, "feature_store", "ml_training", "backtest", "attribution", "reporting"]


def test_a_flow_that_is_killed_at_four_places_ends_as_an_undisturbed_one(forked, tmp_path):
    file = task(tmp_path, [*MINED, "feature_store", "ml_training"], rounds=1, models=["ridge"])
    killed, quiet = tmp_path / "killed", tmp_path / "quiet"
    reference = forked.run("flow", "run", file, "--json", data=quiet)
    assert reference.code == 0, reference.said
    kills = [("node_started", 2, 0.02), ("node_done", 3, 0.0), ("node_started", "feature_store.build_features", 0.01),
             ("node_done", 1, 0.0)]  # fmt: skip
    attempts = survived(forked, file, killed, kills)
    assert [attempt.code for attempt in attempts] == [KILLED] * 4 + [0]
    assert assert_same(killed, quiet) > 25
    assert assert_once(attempts) == len(reference.nodes("node_done"))
    assert half_written(killed) == []
    again = forked.run("flow", "run", file, data=killed)
    assert any("nothing to do" in event.get("text", "") for event in again.events)


@pytest.fixture(scope="module")
def undisturbed(forked, tmp_path_factory):
    """Task file, data and events of a whole round that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file = task(folder, WHOLE, rounds=1, models=["ridge"])
    reference = forked.run("flow", "run", file, "--json", data=folder / "data")
    assert reference.code == 0, reference.said
    return file, folder / "data", reference


@pytest.mark.slow
def test_a_flow_that_is_killed_after_every_node_ends_as_an_undisturbed_one(forked, undisturbed, tmp_path):
    file, quiet, reference = undisturbed
    nodes = reference.nodes("node_done")
    attempts = survived(forked, file, tmp_path, [("node_done", 1, 0.0)] * len(nodes))
    assert len(attempts) >= len(nodes) > 45, "a kill after the last node may find the flow done"
    assert assert_same(tmp_path, quiet) > 60
    assert assert_once(attempts) == len(nodes)
    assert half_written(tmp_path) == []


@pytest.mark.slow
def test_a_flow_that_is_killed_in_the_middle_of_every_node_ends_as_an_undisturbed_one(forked, undisturbed, tmp_path):
    file, quiet, reference = undisturbed
    seconds = {event["node"]: event["seconds"] for event in reference.events if event["event"] == "node_done"}
    attempts: list[Ended] = []
    while not attempts or attempts[-1].code == KILLED:
        done = {node for attempt in attempts for node in attempt.nodes("node_done")}
        left = [node for node in seconds if node not in done]
        last = left[min(len(attempts), 1) : 2]  # the first one is done before the second one is killed
        kill = ("node_started", last[-1], seconds[last[-1]] / 2) if last else None
        command = ("resume",) if attempts else ("run", file)
        attempts.append(forked.run("flow", *command, "--json", data=tmp_path, kill=kill))
    assert_ended(attempts[-1])
    assert len(attempts) > len(seconds) / 2, "a short node may be over before it is killed"
    assert assert_same(tmp_path, quiet) > 60
    assert assert_once(attempts) == len(seconds)
    assert half_written(tmp_path) == []


@pytest.mark.slow
def test_a_flow_that_is_killed_in_a_node_and_between_nodes_ends_as_an_undisturbed_one(forked, tmp_path):
    file = task(tmp_path, [*MINED, "feature_store", "ml_training"])
    killed, quiet = tmp_path / "killed", tmp_path / "quiet"
    attempts = survived(forked, file, killed, [("node_started", 2, 0.02), ("node_done", 6, 0.0)])
    assert [attempt.code for attempt in attempts] == [KILLED, KILLED, 0]
    reference = forked.run("flow", "run", file, "--json", data=quiet)
    assert reference.code == 0, reference.said
    assert assert_same(killed, quiet) > 40
    assert assert_once(attempts) == len(reference.nodes("node_done"))
    assert half_written(killed) == []
