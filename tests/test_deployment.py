"""What leaves the repository works without it."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from packages import PROJECT, Packaged, package
from projects import only_version, stored


@pytest.fixture(scope="module")
def packaged(tmp_path_factory) -> Packaged:
    return package(tmp_path_factory.mktemp("packaged"))


@pytest.fixture
def folder(packaged, tmp_path) -> Path:
    """An empty folder but for the archive's `conf`."""
    with tarfile.open(packaged.conf) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_wheel_holds_every_file_of_the_package_and_no_secret_leaves(packaged):
    listed = subprocess.run(["git", "ls-files", "src"], cwd=PROJECT, capture_output=True, text=True, check=True)
    wheel = zipfile.ZipFile(packaged.wheel)
    assert {name.removeprefix("src/") for name in listed.stdout.split()} <= set(wheel.namelist())
    with tarfile.open(packaged.conf) as archive:
        names = archive.getnames()
    assert "conf/base/catalog/models.yml" in names
    assert "conf/logging.yml" in names
    assert not [name for name in [*names, *wheel.namelist()] if "credentials" in name]


def test_the_package_is_the_installed_one_and_runs_outside_the_repository(packaged, folder):
    place = subprocess.run(
        [packaged.python, "-c", "import agent_market; print(agent_market.__file__)"],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(place.stdout.strip()).is_relative_to(packaged.python.parents[1])
    run = packaged.run("--env", "test", "--conf-source", "conf", "--pipelines", "data_engineering", folder=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "03_primary/candles.parquet" in stored(folder / "data")
    assert "INFO" not in run.stderr, "conf/logging.yml is followed: the console has the project's messages only"


def test_the_projects_commands_need_no_kedro_project(packaged, folder):
    checked = packaged.run("factor", "check", "single_pair", folder=folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "accepted; the number is the look-back" in checked.stdout
    refused = packaged.run("run", "--env", "test", "--params", "market.timefame=1h", folder=folder)
    assert refused.returncode == 1
    assert "market.timefame: unknown key; did you mean timeframe?" in refused.stderr
    listed = packaged.run("--help", folder=folder)
    assert all(command in listed.stdout for command in ("factor", "flow", "freqtrade", "run"))


@pytest.mark.slow
def test_a_whole_run_and_an_export_to_freqtrade_work_outside_the_repository(packaged, folder):
    run = packaged.run("--env", "test", folder=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    reports = stored(folder / "data")["08_reporting/report"]
    assert (reports[0] / "index.html").exists()
    comparison = pd.read_parquet(only_version(folder / "data", "08_reporting/engine_comparison.parquet"))
    assert (comparison["verdict"] == "equal").all(), "freqtrade ran, with the installed strategy file"
    arguments = ["--model", "lightgbm", "--env", "test", "--output", "user_data"]
    export = packaged.run("freqtrade", "export", *arguments, folder=folder)
    assert export.returncode == 0, export.stdout + export.stderr
    assert (folder / "user_data" / "config.json").exists()


@pytest.mark.slow
def test_the_archive_of_conf_is_read_as_it_is(packaged, tmp_path):
    source = ["--conf-source", str(packaged.conf)]
    run = packaged.run("--env", "test", *source, "--pipelines", "data_engineering,feature_store", folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "04_feature/features" in stored(tmp_path / "data")
    wrong = packaged.run("--env", "test", *source, "--params", "market.seed=-1", folder=tmp_path)
    assert wrong.returncode == 1
    assert "market.seed" in wrong.stderr
    assert "Traceback" not in wrong.stderr
