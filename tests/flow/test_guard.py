"""Lock and journal: what a run that died leaves is removed by the next one; what it left whole stays."""

import json
import os
import subprocess
import sys

import pytest

from agent_market.errors import BusyError
from agent_market.flow import guard
from agent_market.flow.archive import Archive

HOLDING = """
import sys, time
from pathlib import Path
from agent_market.flow import guard
guard.state_folder = lambda: Path(sys.argv[1])
guard.acquire("kedro flow run first.yml")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The state folder of data that are empty."""
    monkeypatch.setattr(guard, "state_folder", lambda: tmp_path / ".state")
    return tmp_path / ".state"


@pytest.fixture
def other(state):
    """Another process that holds the data."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(state)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_is_told_who_is_first_and_a_killed_one_is_no_obstacle(state, other):
    with pytest.raises(BusyError, match=rf"kedro flow run first\.yml, process {other.pid} on "), guard.alone("second"):
        pytest.fail("two runs held the same data")
    other.kill()
    other.wait()
    assert (state / "holder.json").exists()
    assert guard.holder(state) is None
    with guard.alone("second"):
        assert guard.holder(state)["process"] == os.getpid()
    assert not (state / "holder.json").exists()


def test_drafts_of_a_run_that_was_killed_go_and_those_of_a_reproduction_stay(state, other):
    data = state.parent
    draft = data / "04_feature" / "features" / ".2026-11-28T10.00.00.000Z.draft"
    draft.mkdir(parents=True)
    (draft / "features").write_text("half")
    record = state / "nodes" / "some.node" / ".abc.json.1.draft"
    at_work = state / "reproduce-x" / "08_reporting" / ".report.draft"
    whole = data / "04_feature" / "features" / "2026-11-28T10.00.00.000Z" / "features"
    for file in (record, at_work, whole):
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    other.kill()
    other.wait()
    with guard.alone("next"):
        assert not draft.exists()
        assert not record.exists()
        assert at_work.exists()
        assert whole.exists()


def test_a_version_that_a_node_had_begun_goes_and_one_that_was_done_stays(state):
    begun, done = state.parent / "a" / "2", state.parent / "a" / "1"
    for folder in (begun, done):
        folder.mkdir(parents=True)
        (folder / "a").write_text("1")
    guard._note({"begun": "first", "versions": [str(done)]})
    guard._note({"done": "first"})
    guard._note({"begun": "second", "versions": [str(begun), str(state.parent / "never made")]})
    with (state / "journal.jsonl").open("a") as file:
        file.write('{"done": "sec')  # cut off
    with guard.alone("next"):
        assert done.exists()
        assert not begun.exists()
    assert not (state / "journal.jsonl").exists()


def test_an_event_that_was_cut_off_does_not_swallow_the_next_one(tmp_path):
    run = Archive(tmp_path).begin("small", {}, "task.yml", {"numpy": "2"})
    run.tell("first", what="é")
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"event": "cut')
    run.tell("last")
    assert [event["event"] for event in run.events()] == ["first", "last"]
    assert json.loads((run.folder / "run.json").read_text())["libraries"] == {"numpy": "2"}
