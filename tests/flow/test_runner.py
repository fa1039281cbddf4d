"""The runner that skips what has not changed, on a small pipeline with real files."""

import importlib
import json
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from agent_market.flow import CachedRunner, guard, runner
from agent_market.flow.runner import NodesFailedError

CODE = """
    def make(options):
        return {"rows": options["rows"]}

    def double(made, factor):
        return {"rows": made["rows"] * factor}

    def sign(doubled):
        return {"positive": doubled["rows"] > 0}

    def tell(signed, made):
        return {"told": signed["positive"]}
"""


class Project:
    """A pipeline of four nodes whose code, parameters and files can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parameters = {"params:options": {"rows": 2}, "params:factor": 3}
        self.turn = 0
        self.write(CODE)

    def write(self, code: str) -> None:
        (self.folder / "tinynodes.py").write_text(textwrap.dedent(code))
        sys.modules.pop("tinynodes", None)
        importlib.invalidate_caches()

    def catalog(self) -> DataCatalog:
        self.turn += 1
        config = {
            name: {"type": "json.JSONDataset", "filepath": str(self.folder / f"{name}.json"), "versioned": True}
            for name in ("made", "doubled", "signed", "told")
        }
        catalog = DataCatalog.from_config(config, save_version=f"2026-01-01T00.00.{self.turn:02d}.000Z")
        for name, value in self.parameters.items():
            catalog[name] = value
        return catalog

    @property
    def pipeline(self) -> Pipeline:
        nodes = importlib.import_module("tinynodes")
        return Pipeline(
            [
                Node(nodes.make, "params:options", "made", name="make"),
                Node(nodes.double, ["made", "params:factor"], "doubled", name="double"),
                Node(nodes.sign, "doubled", "signed", name="sign"),
                Node(nodes.tell, ["signed", "made"], "told", name="tell"),
            ]
        )

    def run(self, **how) -> CachedRunner:
        this = CachedRunner(**how)
        catalog = self.catalog()
        this.run(self.pipeline, catalog, _NullPluginManager(), run_id=catalog._save_version)
        return this

    def plan(self) -> dict[str, str]:
        decisions = CachedRunner().plan(self.pipeline, self.catalog())
        return {name: decision.reason for name, decision in decisions.items() if decision.record is None}

    def stored(self, name: str) -> list[Path]:
        return sorted((self.folder / f"{name}.json").glob("*/*"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(runner, "state_folder", lambda: tmp_path / ".state")
    return Project(tmp_path)


ALL = ["make", "double", "sign", "tell"]


def test_nothing_changed_nothing_runs(project):
    assert project.run().ran == ALL
    again = project.run()
    assert (again.ran, again.unchanged) == ([], ALL)
    assert len(project.stored("made")) == 1
    assert project.plan() == {}


def test_a_parameter_reruns_what_depends_on_it_until_an_output_is_the_same(project):
    project.run()
    project.parameters["params:factor"] = 4
    assert project.plan() == {
        "double": "params:factor changed",
        "sign": "if doubled come out otherwise than before",
        "tell": "if signed come out otherwise than before",
    }
    assert project.run().ran == ["double", "sign"], "the sign is as it was: nothing to tell"


def test_a_changed_function_runs_again_and_a_comment_does_not_matter(project):
    project.run()
    project.write(CODE.replace("def double", "# twice or more\n    def double"))
    assert project.run().ran == []
    project.write(CODE.replace("> 0}", ">= 0}"))
    assert project.plan()["sign"] == "its code changed"
    assert project.run().ran == ["sign"]


def test_an_output_that_was_changed_by_hand_is_made_anew_and_set_aside(project):
    project.run()
    (file,) = project.stored("doubled")
    file.write_text('{"rows": 100}')
    assert "doubled is not as it was made" in project.plan()["double"]
    assert file.read_text() == '{"rows": 100}', "a plan changes nothing"
    again = project.run()
    assert again.ran == ["double"]
    assert json.loads(project.stored("doubled")[-1].read_text()) == {"rows": 6}
    (aside,) = (project.folder / ".state" / "damaged").rglob("doubled.json")
    assert aside.read_text() == '{"rows": 100}'


def test_an_output_that_is_gone_is_made_anew(project):
    project.run()
    project.stored("signed")[0].unlink()
    assert project.plan()["sign"] == "signed is not there any more"
    assert project.run().ran == ["sign"]


def test_what_was_made_earlier_becomes_the_newest_version_again(project):
    project.run()
    project.parameters["params:options"] = {"rows": 5}
    project.run()
    project.parameters["params:options"] = {"rows": 2}
    back = project.run()
    assert back.ran == []
    newest = project.stored("made")[-1]
    assert json.loads(newest.read_text()) == {"rows": 2}
    assert project.catalog().load("made") == {"rows": 2}, "what a notebook reads now"
    assert back.versions["made"] == newest.parent.name
    assert newest.stat().st_nlink == 2, "without taking space"


def test_a_failed_run_goes_on_at_the_node_that_failed(project):
    project.write(CODE.replace('return {"positive"', 'raise ValueError("no"); return {"positive"'))
    with pytest.raises(ValueError, match="no"):
        project.run()
    project.write(CODE)
    assert project.run().ran == ["sign", "tell"]


def test_it_keeps_going_without_what_failed(project):
    project.write(CODE.replace('return {"rows": made["rows"] * factor}', 'raise ValueError("no")'))
    extra = Pipeline([Node(lambda made: {"x": 1}, "made", "other", name="other")])
    this = CachedRunner(keep_going=True)
    with pytest.raises(NodesFailedError, match=r"double failed.*not run for want of inputs: sign, tell") as error:
        this.run(project.pipeline + extra, project.catalog(), _NullPluginManager(), run_id="2026-01-01T00.00.01.000Z")
    assert error.value.nodes == ["double"]
    assert this.ran == ["make", "other"]


def test_a_damaged_record_is_no_record(project):
    project.run()
    for record in (project.folder / ".state" / "nodes" / "double").glob("*.json"):
        record.write_text(record.read_text()[:50])
    assert project.run().ran == ["double"]


def test_a_clock_in_a_table_does_not_count(tmp_path):
    from kedro_datasets.pandas import ParquetDataset

    from agent_market.flow.content import content_of

    contents = set()
    for seconds, steps in ((1.0, 7), (2.0, 7), (1.0, 8)):
        path = str(tmp_path / f"{seconds}{steps}.parquet")
        dataset = ParquetDataset(filepath=path, metadata={"cache": {"volatile": ["seconds"]}})
        dataset.save(pd.DataFrame({"steps": [steps], "seconds": [seconds]}))
        contents.add(content_of("fits", dataset))
    assert len(contents) == 2


def test_parameters_that_say_how_but_not_what_do_not_count(tmp_path):
    from agent_market.flow.content import content_of_parameter
    from agent_market.learning.walk_forward import TrainingOptions

    one, two, other = (TrainingOptions(n_jobs=1), TrainingOptions(n_jobs=2), TrainingOptions(n_jobs=1, horizon=4))
    contents = [content_of_parameter("params:training", options) for options in (one, two, other)]
    assert contents[0] == contents[1] != contents[2]


def test_a_file_that_a_parameter_names_counts_by_what_is_in_it(tmp_path):
    from agent_market.flow.content import content_of_parameter

    one, two = tmp_path / "a.yml", tmp_path / "b.yml"
    one.write_text("x")
    two.write_text("x")
    name = "params:features"
    assert content_of_parameter(name, {"set": str(one)}) == content_of_parameter(name, {"set": str(two)})
    two.write_text("y")
    assert content_of_parameter(name, {"set": str(one)}) != content_of_parameter(name, {"set": str(two)})


def test_what_is_read_from_outside_counts(tmp_path):
    from agent_market.market import MarketOptions, state_of_source

    assert state_of_source(MarketOptions()) == ""
    files = MarketOptions(source="freqtrade_datadir", datadir=str(tmp_path))
    before = state_of_source(files)
    (tmp_path / "BTC_USDT-1h.feather").write_bytes(b"1")
    assert state_of_source(files) != before
    online = MarketOptions(source="exchange", pairs=("BTC/USDT",))
    assert state_of_source(online) is None


class TestJournal:
    def test_versions_of_a_node_that_was_not_done_are_removed(self, tmp_path):
        done, begun = tmp_path / "a" / "1", tmp_path / "b" / "1"
        for folder in (done, begun):
            folder.mkdir(parents=True)
            (folder / "x").write_text("half")
        lines = [{"begun": "n1", "versions": [str(done)]}, {"done": "n1"}, {"begun": "n2", "versions": [str(begun)]}]
        text = "".join(json.dumps(line) + "\n" for line in lines) + '{"done": "n'
        (tmp_path / "journal.jsonl").write_text(text)
        assert guard.clear_up(tmp_path) == [str(begun)]
        assert done.exists()
        assert not begun.exists()
        assert guard.clear_up(tmp_path) == []
