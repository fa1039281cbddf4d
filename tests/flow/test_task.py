"""Task files: what they may say, and how mistakes in them are told."""

import json
from importlib import resources

import pytest
import yaml

from agent_market.errors import FlowError
from agent_market.flow.task import STEPS, Task, parse_task, read_task, with_steps
from projects import PROJECT


def test_the_demo_and_the_template_are_tasks():
    demo = read_task(PROJECT / "conf" / "flows" / "demo.yml")
    assert (demo.name, demo.rounds, len(demo.models)) == ("demo", 3, 3)
    template = (resources.files("agent_market.flow") / "task.yml").read_text()
    task = parse_task(yaml.safe_load(template.replace("NAME", "mine")), "template")
    assert set(yaml.safe_load(template)) == set(Task.model_fields) - {"env"}, "every key is explained in it"
    assert task.stop.nothing_accepted == 2


def test_json_says_the_same_as_yaml(tmp_path):
    content = {"steps": "backtest, data_engineering", "models": ["ridge"]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "a.yml").write_text(yaml.safe_dump(content))
    assert read_task(tmp_path / "a.json") == read_task(tmp_path / "a.yml")
    assert read_task(tmp_path / "a.yml").steps == ("data_engineering", "backtest"), "in the order of the data"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"round": 2}, "round: unknown key; did you mean rounds?"),
        ({"stop": {"nothing_acepted": 2}}, "stop.nothing_acepted: unknown key; did you mean nothing_accepted?"),
        ({"on_error": {"policy": "panic"}}, "on_error.policy: Input should be 'stop' or 'continue', got 'panic'"),
        ({"steps": ["backtst"]}, "'backtst' is no step; did you mean backtest?"),
        ({"rounds": 0}, "rounds: Input should be greater than or equal to 1, got 0"),
        ({"rounds": 2, "steps": ["backtest"]}, "without the step factor_mining, set rounds: 1"),
        ({"name": "no spaces"}, "name: String should match pattern"),
    ],
)
def test_a_mistake_is_told_with_its_key(content, told):
    with pytest.raises(FlowError) as error:
        parse_task(content, "t.yml")
    assert told in str(error.value)
    assert str(error.value).startswith("t.yml: this task is wrong:")


@pytest.mark.parametrize("text", ["- a\n- b\n", "{", "just text"])
def test_a_file_that_is_no_task_is_refused(tmp_path, text):
    (tmp_path / "t.yml").write_text(text)
    with pytest.raises(FlowError, match=r"t\.yml"):
        read_task(tmp_path / "t.yml")
    with pytest.raises(FlowError, match="cannot be read"):
        read_task(tmp_path / "missing.yml")


def test_steps_are_chosen_and_a_typo_is_an_error():
    task = Task(rounds=3)
    assert with_steps(task, None) is task
    assert with_steps(task, "factor_mining,feature_store").steps == ("factor_mining", "feature_store")
    with pytest.raises(FlowError, match="--steps: 'feature_stroe' is no step of this task; did you mean feature_store"):
        with_steps(task, "feature_stroe")
    with pytest.raises(FlowError, match="is no step of this task"):
        with_steps(task, "placebo")


def test_steps_are_pipelines_of_the_project():
    folders = {path.name for path in (PROJECT / "src" / "agent_market" / "pipelines").iterdir() if path.is_dir()}
    assert set(STEPS) <= folders
