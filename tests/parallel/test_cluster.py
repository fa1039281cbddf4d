"""The same numbers from a cluster of real processes as from this one; and what happens when it breaks."""

import re
import shutil
import signal
import socket
import threading
import time

import joblib
import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import parse_model_options
from agent_market.errors import ComputeError, ModelError
from agent_market.factors import load_factors
from agent_market.factors.store import stream_features
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.tuning import TuningOptions, tune
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.parallel import ComputeOptions, computing, run_parallel
from clusters import cluster, fails, nap_and_tell, scaled, score_rank, threads_of_blas
from panels import random_candles, random_features
from projects import PROJECT

distributed = pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

CANDLES = random_candles(4, 24 * 40)
FEATURES = random_features(CANDLES, 20)
FACTORS = {name: f"delay(close, {i})" for i, name in enumerate(FEATURES.columns[2:])}
LABELS = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="20d", valid="5d", test="5d"), timeframe="1h")
TRAINING = TrainingOptions(horizon=2)


def predictions(adapter, *, report=None, **options):
    options = parse_model_options({"adapter": adapter, **options})
    return walk_forward(FEATURES, FACTORS, LABELS, FOLDS, options, TRAINING, timeframe="1h", report=report)[1]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A scheduler and two workers."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def sent(monkeypatch):
    """How many bytes each call has that goes through the scheduler, and each result that comes back."""
    from agent_market.parallel import cluster as module

    sizes = {"calls": [], "results": []}

    def measured(kind, function):
        def packed(*arguments):
            content = function(*arguments)
            sizes[kind].append(len(content if kind == "calls" else arguments[0]))
            return content

        return packed

    monkeypatch.setattr(module, "pack_call", measured("calls", module.pack_call))
    monkeypatch.setattr(module, "unpack", measured("results", module.unpack))
    return sizes


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm"])
def test_a_walk_forward_on_two_workers_has_the_numbers_of_one_machine(two, sent, adapter):
    here, heard = predictions(adapter), []
    with computing(two.options()):
        there = predictions(adapter, report=lambda fold, progress: heard.append((fold, progress.step, progress.steps)))
        assert len([name for name in two.left() if name.endswith(".npy")]) >= 3, "nothing waits in the shared folder"
    pd.testing.assert_frame_equal(there, here, check_exact=True)
    assert two.left() == []
    ended = {fold for fold, step, steps in heard if step == steps}
    assert ended == set(FOLDS["fold"]), "the end of a fit was not told of"
    assert len(sent["calls"]) == len(FOLDS) == 3
    assert max(sent["calls"]) < 30_000 < FEATURES.memory_usage().sum(), "features went through the scheduler"


def test_trials_on_two_workers_are_those_of_one_machine(two):
    space = {"ridge": {"alpha": {"low": 1.0, "high": 1e5, "log": True}}}

    def tuned(**options):
        tuning = TuningOptions(trials=8, folds=3, warm_up=1, space=space, **options)
        return tune(
            FEATURES, LABELS, FOLDS, parse_model_options({"adapter": "sklearn"}), TRAINING, tuning, score_rank,
            timeframe="1h", name="ridge",
        )  # fmt: skip

    for sampler in ("random", "tpe"):
        here = tuned(sampler=sampler)
        assert here.trials["pruned"].any(), "no trial that was begun in vain"
        with computing(two.options()):
            there = tuned(sampler=sampler)
        pd.testing.assert_frame_equal(there.trials, here.trials, check_exact=True)
        assert there.facts == here.facts


def test_parts_of_features_on_two_workers_have_the_bits_of_one_machine(two, sent):
    factors = load_factors("basic")

    def streamed(n_jobs):
        stream = stream_features(CANDLES, factors, timeframe="1h", slice_rows=500, n_jobs=n_jobs)
        return pd.concat([part.astype({"pair": "str"}) for _, part in stream], ignore_index=True)

    here = streamed(1)
    with computing(two.options()):
        there = streamed(-1)
    pd.testing.assert_frame_equal(there[["pair", "date"]], here[["pair", "date"]])
    np.testing.assert_array_equal(there[list(factors)].to_numpy(), here[list(factors)].to_numpy())
    assert len(sent["calls"]) >= 8
    assert max(sent["calls"] + sent["results"]) < 60_000 < 500 * 4 * len(factors)


def test_a_worker_that_is_killed_takes_nothing_with_it(two):
    here = predictions("lightgbm", n_estimators=400, early_stopping=0)
    killed = []

    def report(fold, progress):  # called while a worker fits
        if not killed:
            killed.append(two.workers[0])
            two.kill(two.workers[0])

    with computing(two.options()):
        there = predictions("lightgbm", n_estimators=400, early_stopping=0, report=report)
    assert killed
    assert killed[0].returncode == -signal.SIGKILL
    pd.testing.assert_frame_equal(there, here, check_exact=True)
    assert two.left() == []
    two.workers.pop(0)
    two.add_worker()


def test_a_call_whose_worker_dies_in_it_is_made_again(two, tmp_path):
    calls = [joblib.delayed(nap_and_tell)(tmp_path, number, 1.0) for number in range(4)]
    first = two.workers[0]

    def kill():
        while not (tmp_path / str(first.pid)).exists():
            time.sleep(0.02)
        two.kill(first)

    with computing(two.options()):
        assassin = threading.Thread(target=kill)
        assassin.start()
        found = run_parallel(calls, n_jobs=-1)
        assassin.join()
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert first.pid not in [process for _, process in found]
    assert (tmp_path / str(first.pid)).exists(), "it was killed before or after its call"
    two.workers.remove(first)
    two.add_worker()


def test_large_arrays_go_through_an_object_store_too(two):
    """`dir::` is no file system of the machine for what uses it: arrays are written to and fetched from it whole."""
    values = np.asfortranarray(np.random.default_rng(0).normal(size=(300, 40)))
    with computing(two.options(shared_folder=f"dir::file://{two.folder}/shared")):
        found = run_parallel([joblib.delayed(scaled)(values, factor) for factor in (2.0, 3.0)], n_jobs=-1)
    for result, factor in zip(found, (2.0, 3.0), strict=True):
        np.testing.assert_array_equal(result, values * factor)
    assert two.left() == []


def test_an_error_on_a_worker_is_the_error_here(two):
    values = np.zeros(10_000)
    with computing(two.options()), pytest.raises(ModelError, match="10000 values are too many"):
        run_parallel([joblib.delayed(fails)(values)] * 2, n_jobs=-1)
    assert two.left() == []


@pytest.mark.slow
def test_linear_algebra_has_one_thread_everywhere(two):
    calls = [joblib.delayed(threads_of_blas)()] * 3
    with computing(two.options()):
        found = run_parallel(calls, n_jobs=-1)
    for backend, n_jobs in (("threading", 1), ("threading", 2), ("loky", 2)):
        found += run_parallel(calls, n_jobs=n_jobs, backend=backend)
    assert found == [{1}] * 12


# ---- clusters that will not do


def test_a_scheduler_that_is_not_there_is_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    options = ComputeOptions(backend="dask", scheduler=address, shared_folder=str(tmp_path), timeout=1.0)
    with computing(options), pytest.raises(ComputeError, match=rf"{address}, where no scheduler answers within 1 s"):
        run_parallel([joblib.delayed(scaled)(1, 2)] * 2, n_jobs=-1)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_without_workers_is_an_error(tmp_path):
    said = r"has no workers, and none came within 3 s \(compute\.timeout\)"
    with cluster(tmp_path, workers=0) as made:
        with computing(made.options(timeout=3.0)), pytest.raises(ComputeError, match=said):
            run_parallel([joblib.delayed(scaled)(1, 2)] * 2, n_jobs=-1)
        assert made.left() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "said"), [("worker", "has had no worker for 4 s"), ("scheduler", r"the scheduler at \S+ is gone")]
)
def test_a_cluster_that_is_lost_on_the_way_is_an_error_and_no_endless_wait(tmp_path, lost, said):
    with cluster(tmp_path, workers=1) as made:
        with computing(made.options()):
            run_parallel([joblib.delayed(scaled)(1, 2)] * 2, n_jobs=-1)  # it is there

        def kill():
            while not list(tmp_path.glob(f"marks/{made.workers[0].pid}")):
                time.sleep(0.02)
            made.kill(made.workers[0] if lost == "worker" else made.scheduler)

        (tmp_path / "marks").mkdir()
        assassin = threading.Thread(target=kill)
        assassin.start()
        with computing(made.options(timeout=4.0)), pytest.raises(ComputeError, match=said):
            run_parallel([joblib.delayed(nap_and_tell)(tmp_path / "marks", n, 90.0) for n in (1, 2)], n_jobs=-1)
        assassin.join()
        assert made.left() == []


def test_workers_of_another_version_or_with_threads_are_refused_by_name(tmp_path):
    other = tmp_path / "src"
    shutil.copytree(PROJECT / "src" / "agent_market", other / "agent_market")
    init = other / "agent_market" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', '__version__ = "0.0.7"', init.read_text()))
    with cluster(tmp_path / "cluster", workers=0) as made:
        made.add_worker(source=other)
        with computing(made.options()), pytest.raises(ComputeError) as caught:
            run_parallel([joblib.delayed(scaled)(1, 2)] * 2, n_jobs=-1)
        assert re.search(r"tcp://\S+ has agent_market 0.0.7, the run has \d", str(caught.value))
        assert "has its code" in str(caught.value)
        made.kill(made.workers[0])
        made.add_worker(threads=3)
        with computing(made.options()), pytest.raises(ComputeError, match="has 3 threads; start it with --nthreads 1"):
            run_parallel([joblib.delayed(scaled)(1, 2)] * 2, n_jobs=-1)
        assert made.left() == []


# ---- the project on a cluster


@pytest.mark.slow
def test_a_pair_of_placebo_worlds_on_two_workers_claims_what_it_claims_on_one_machine(two, tmp_path):
    from kedro.framework.startup import bootstrap_project

    from agent_market.parameters import Parameters
    from agent_market.pipelines.data_engineering.nodes import (
        clean_candles,
        fetch_candles,
        load_funding,
        snapshot_market,
    )
    from agent_market.pipelines.placebo.nodes import certify_placebo

    bootstrap_project(PROJECT)
    tree = {
        "market": {"n_pairs": 4, "n_candles": 24 * 120, "signal_strength": 0.08, "seed": 3},
        "features": {},
        "labels": {"horizons": [1, 12]},
        "folds": {"train": "60d", "valid": "10d", "test": "20d"},
        "training": {"horizon": 12},
        "models": {"ridge": {"adapter": "sklearn"}},
        "backtest": {},
        "placebo": {"markets": 1, "rotations": 1},
    }
    configured = Parameters.model_validate(tree)
    candles, _ = clean_candles(fetch_candles(configured.market), configured.market)
    market = candles, load_funding(candles, configured.market)
    market += (snapshot_market(candles, configured.market, configured.backtest),)

    def certificate(folder):
        return certify_placebo(*market, tree | {"placebo": tree["placebo"] | {"folder": str(folder)}})

    here = certificate(tmp_path / "here")
    with computing(two.options()):
        there = certificate(tmp_path / "there")
    assert there == here
    rows = [sorted((tmp_path / place).rglob("*.json")) for place in ("here", "there")]
    assert [row.read_text() for row in rows[0]] == [row.read_text() for row in rows[1]]
    assert len(rows[0]) == 2
