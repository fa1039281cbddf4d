"""Work on a Dask cluster of this machine: how long it takes with one worker and with two, and what is moved for it.

A scheduler and workers are started as processes of their own. The job is one that grows: options of LightGBM chosen by
trial (random draws, three inner folds each), then a walk-forward, on a simulated market; its numbers are checked to be
those of one process. Then what a call costs, what goes over the network beside it, what the shared folder takes, and
features and fits per million rows. Nothing else should run meanwhile: loopback traffic is counted as the cluster's.

    python benchmarks/scaling.py  # about two minutes on two processors
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import psutil

from agent_market.adapters import parse_model_options
from agent_market.factors import compute_factors, load_factors
from agent_market.factors.panel_folder import write_panel
from agent_market.factors.store import stream_features
from agent_market.learning.fitting import silent
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.tuning import TuningOptions, tune
from agent_market.learning.walk_forward import TrainingOptions, fit_and_predict, prepare_task, walk_forward
from agent_market.market import clean_candles, simulate
from agent_market.market.options import MarketOptions
from agent_market.parallel import ComputeOptions, computing, count_workers, run_parallel
from agent_market.parallel.shelf import Shelf
from agent_market.pipelines.tuning import scorer
from agent_market.trading.options import BacktestOptions

HORIZON = 12
PARTS = ("job", "calls", "joblib", "features", "folder", "fits")
MODEL = parse_model_options({"adapter": "lightgbm"})
MIB, GIB = 2**20, 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--candles", type=int, default=17_520, help="per pair")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--feature-rows", type=int, default=800_000)
    parser.add_argument("--megabytes", type=int, default=512, help="of an array in the shared folder")
    chosen = parser.parse_args()
    logging.disable(logging.INFO)
    market = make_market(chosen.pairs, chosen.candles)
    print(
        f"{chosen.pairs} pairs x {chosen.candles:,} candles, {len(market['factors'])} features, "
        f"{len(market['folds'])} folds; {chosen.trials} trials x 3 inner folds"
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        with scheduler_in(folder) as (address, add_worker):
            options = ComputeOptions(backend="dask", scheduler=address, shared_folder=str(folder / "shared"))
            if "job" in chosen.parts:
                compare(market, chosen.trials, options, add_worker)
            elif {*chosen.parts} & {"calls", "joblib", "features"}:
                add_worker()
                add_worker()
                wait_for_workers(2, options)
            if "calls" in chosen.parts:
                measure_calls(options)
            if "joblib" in chosen.parts:
                compare_with_joblib(market, options)
            if "features" in chosen.parts:
                measure_features(chosen.feature_rows, folder, options)
        if "folder" in chosen.parts:
            measure_folder(folder / "shelf", chosen.megabytes)
    if "fits" in chosen.parts:
        measure_fits(market)


def compare(market: dict, trials: int, options: ComputeOptions, add_worker: Callable[[], None]) -> None:
    """The job in one process, on one worker, and on two."""
    job(market, 1, n_jobs=1)  # what is compiled or imported once is no part of it
    alone, seconds = timed(lambda: job(market, trials, n_jobs=1))
    print(f"one process: {seconds:.1f} s")
    for workers in (1, 2):
        add_worker()
        wait_for_workers(workers, options)
        with computing(options):
            run_parallel([joblib.delayed(job)(market, 1, n_jobs=1)] * 2, n_jobs=-1)
            before = traffic()
            found, took = timed(lambda: job(market, trials, n_jobs=-1))
            moved = traffic() - before
            kept = sum(path.stat().st_size for path in Path(options.shared_folder).rglob("*.npy"))
        for here, there in zip(alone, found, strict=True):
            pd.testing.assert_frame_equal(here, there, check_exact=True)
        calls = 3 * trials + len(market["folds"])
        print(
            f"cluster, workers: {workers}: {took:.1f} s, {seconds / took:.2f} times as fast as one process, the same "
            f"numbers; {calls} calls, over the network {moved / calls / 1e3:.0f} kB per call, in the shared folder "
            f"{kept / MIB:.0f} MiB"
        )


def job(market: dict, trials: int, *, n_jobs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and predictions of a model that is tuned and then walked forward."""
    training = TrainingOptions(horizon=HORIZON, n_jobs=n_jobs)
    tuning = TuningOptions(enabled=True, sampler="random", trials=trials, pruner="none")
    score = scorer("rank_ic", training, MarketOptions(), BacktestOptions(), {}, None)
    tables = market["features"], market["labels"], market["folds"]
    tuned = tune(*tables, MODEL, training, tuning, score, timeframe="1h", name="lightgbm")
    features, labels, folds = tables
    found = walk_forward(features, market["factors"], labels, folds, tuned.options, training, timeframe="1h")
    return tuned.trials, found[1]


def measure_calls(options: ComputeOptions, n: int = 500) -> None:
    """What one call costs that does nothing."""
    with computing(options):
        run_parallel([joblib.delayed(abs)(-1)] * 20, n_jobs=-1)
        _, seconds = timed(lambda: run_parallel([joblib.delayed(abs)(-1)] * n, n_jobs=-1))
    print(f"a call that does nothing: {1e3 * seconds / n:.1f} ms ({n} of them, two workers)")


def compare_with_joblib(market: dict, options: ComputeOptions) -> None:
    """The folds of a walk-forward through the shared folder, and through joblib's own Dask backend."""
    from distributed import Client

    tables = market["features"], market["labels"]
    task = prepare_task("lightgbm", *tables, MODEL, TrainingOptions(horizon=HORIZON), timeframe="1h")
    calls = [joblib.delayed(fit_and_predict)(task, fold, silent) for fold in market["folds"].to_dict("records")]
    with computing(options):
        run_parallel(calls[:2], n_jobs=-1)  # connected, as the other is
        before = traffic()
        _, seconds = timed(lambda: run_parallel(calls, n_jobs=-1))
        print(f"{len(calls)} folds: {seconds:.1f} s, {(traffic() - before) / MIB:.1f} MiB over the network", end="; ")
    with Client(options.scheduler, set_as_default=False) as client:
        before = traffic()
        with joblib.parallel_config("dask", client=client):
            _, seconds = timed(lambda: joblib.Parallel()(calls))
    print(f"by joblib's Dask backend: {seconds:.1f} s, {(traffic() - before) / MIB:.1f} MiB")


def measure_features(rows: int, folder: Path, options: ComputeOptions) -> None:
    """Features computed and stored, by this process alone and by two workers."""
    candles = simulate(MarketOptions(n_pairs=8, n_candles=rows // 8)).assign(filled=False)
    factors = load_factors("basic", {})

    def store(n_jobs: int) -> None:
        write_panel(folder / "features", stream_features(candles, factors, timeframe="1h", n_jobs=n_jobs))

    store(1)
    _, here = timed(lambda: store(1))
    with computing(options):
        store(-1)
        _, there = timed(lambda: store(-1))
    size = sum(path.stat().st_size for path in (folder / "features").iterdir())
    print(
        f"{len(factors)} features, seconds per million rows: {1e6 * here / len(candles):.2f} in one process, "
        f"{1e6 * there / len(candles):.2f} with two workers; {size / len(candles):.0f} bytes per row on disk"
    )


def measure_folder(folder: Path, megabytes: int) -> None:
    """A large array into the shared folder, and back as a map that is read once."""
    array = np.random.default_rng(0).normal(size=megabytes * MIB // 4).astype(np.float32)
    shelf = Shelf(str(folder))
    shelf.make()
    name, stored = timed(lambda: shelf.keep(array))
    _, opened = timed(lambda: shelf.map(name))
    _, read = timed(lambda: float(shelf.map(name).sum()))
    again = timed(lambda: Shelf(str(folder)).keep(array))[1]
    part = array.nbytes / GIB
    print(
        f"shared folder, seconds per GiB: {stored / part:.2f} to store (hash included; {again / part:.2f} a second "
        f"time), {read / part:.2f} to read through the map (from the system's cache); {1e3 * opened:.1f} ms to open"
    )


def measure_fits(market: dict) -> None:
    """Processor seconds of a fit per million training rows."""
    tables = market["features"], market["factors"], market["labels"], market["folds"]
    training = TrainingOptions(horizon=HORIZON, n_jobs=1)
    for block in (
        {"adapter": "sklearn"},
        {"adapter": "lightgbm", "n_estimators": 100, "early_stopping": 0},
        {"adapter": "xgboost", "n_estimators": 100, "early_stopping": 0},
    ):
        started = time.process_time()
        model, _ = walk_forward(*tables, parse_model_options(block), training, timeframe="1h")
        seconds, rows = time.process_time() - started, model.fits()["rows"].sum()
        print(
            f"{block['adapter']}, {int(model.fits()['steps'].iloc[0])} steps: {1e6 * seconds / rows:.1f} processor "
            f"seconds per million training rows ({rows:,} in {len(model.fits())} folds), predictions included"
        )
    print(f"memory of this process: {psutil.Process().memory_info().rss / GIB:.2f} GiB")


def make_market(n_pairs: int, n_candles: int) -> dict[str, Any]:
    """Features, labels and folds of a simulated market."""
    options = MarketOptions(n_pairs=n_pairs, n_candles=n_candles)
    candles, _ = clean_candles(simulate(options), options)
    factors = load_factors("basic", {})
    return {
        "features": compute_factors(candles, factors, timeframe="1h"),
        "factors": factors,
        "labels": build_labels(candles, LabelOptions(horizons=(HORIZON,)), timeframe="1h"),
        "folds": make_folds(candles["date"], FoldOptions(), timeframe="1h"),
    }


@contextmanager
def scheduler_in(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A scheduler's address, and what starts one more worker for it."""
    started: list[subprocess.Popen] = []

    def start(module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1", "--no-dashboard"]
        path = os.pathsep.join([*sys.path[1:], str(Path(__file__).parent)])
        with (folder / f"{len(started)}.log").open("w") as log:
            environment = os.environ | {"PYTHONPATH": path}
            started.append(
                subprocess.Popen([*command, *arguments], cwd=folder, env=environment, stdout=log, stderr=log)
            )

    file = folder / "scheduler.json"
    start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
    try:
        while not file.exists():
            time.sleep(0.1)
        address = pd.read_json(file, typ="series")["address"]
        yield address, lambda: start("dask_worker", address, "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_for_workers(wanted: int, options: ComputeOptions) -> None:
    there = 0
    while there < wanted:
        with computing(options):
            there = count_workers(-1)
        time.sleep(0.2)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def traffic() -> int:
    """Bytes that went over this machine's loopback network so far."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


if __name__ == "__main__":
    main()
