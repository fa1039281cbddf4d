"""Alpha158 beside pyqlib, polars and pandas on the same candles: CPU and wall time, memory, and how time grows.

    python benchmarks/factors.py            # all: some minutes, the first time some more for the set-up
    python benchmarks/factors.py --engines qlib --repeats 3

The set-up makes a virtual environment with pyqlib, polars and bottleneck beside this file (`.venv-qlib`, 1.5 GB; it
needs a package index). Each engine runs in a process of its own, on candles that are in memory or, for Qlib, in its own
format on disk. CPU seconds are the measure: other work on the machine changes wall time far more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv-qlib"
PACKAGES = ("pyqlib==0.9.7", "pandas<3", "numpy<2.3", "polars", "bottleneck", "pyarrow", "setuptools")
CASES = {"a": (100, 2_000, "day", "1d"), "b": (8, 50_000, "60min", "1h")}
RIVALS = ("qlib", "polars", "pandas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--engines", nargs="*", default=list(RIVALS), choices=RIVALS)
    parser.add_argument("--repeats", type=int, default=3, help="of each engine; the fastest counts")
    parser.add_argument("--scaling", action="store_true", help="two threads beside one only")
    parser.add_argument("--rows", nargs="*", type=int, default=[100_000, 1_000_000, 10_000_000], help="of the growth")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](*json.loads(sys.stdin.read()))))
        return
    python = set_up() if chosen.engines and not chosen.scaling else None
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; float32 results, times in seconds\n")
    if chosen.scaling:
        for case in chosen.cases:
            scale_case(case)
        return
    show_compilation()
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen.cases:
            compare(case, python, chosen.engines, chosen.repeats, Path(folder))
    show_live()
    show_growth(chosen.rows)


def set_up() -> str:
    """The Python of the rivals' environment, which is made if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print(f"making {ENVIRONMENT} …", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (ENVIRONMENT / "ready").touch()
    return str(python)


# ---- the candles


def make_panel(n_pairs: int, n_bars: int, timeframe: str, *, clean: bool = False) -> pd.DataFrame:
    """Made-up candles with float32 prices on a grid of ticks.

    Unless `clean`: suspensions (missing rows), lone missing volumes, candles without volume, flat stretches, listings
    that are late.
    """
    rng = np.random.default_rng(1)
    dates = pd.date_range("2015-01-01", periods=n_bars, freq=timeframe.replace("1d", "D"), tz="UTC").as_unit("ms")
    tables = []
    for number in range(n_pairs):
        moves = rng.standard_t(4, n_bars) * 0.012
        close = np.maximum(np.round(rng.uniform(5, 200) * np.exp(np.cumsum(moves - moves.mean())), 2), 0.05)
        if not clean:
            for start in rng.integers(0, n_bars, n_bars // 1000):
                close[start : start + 70] = close[start]
        opens = np.r_[close[0], close[:-1]]
        high = np.round(np.maximum(opens, close) * (1 + rng.gamma(2, 0.003, n_bars)), 2)
        low = np.minimum(np.round(np.minimum(opens, close) * (1 - rng.gamma(2, 0.003, n_bars)), 2), opens)
        volume = np.round(rng.lognormal(12, 0.7, n_bars))
        table = pd.DataFrame({"pair": f"INS{number:03d}", "date": dates, "open": opens, "high": high, "low": low})
        table = table.assign(close=close, vwap=(high + low + close) / 3, volume=volume)
        if not clean:
            table.loc[rng.random(n_bars) < 0.002, "volume"] = 0.0
            table.loc[rng.random(n_bars) < 0.001, "volume"] = np.nan
            keep = np.ones(n_bars, dtype=bool)
            for start in rng.integers(n_bars // 10, n_bars - 20, n_bars // 500):
                keep[start : start + rng.integers(1, 12)] = False
            keep[: n_bars // 4] &= number % 8 != 3
            table = table[keep]
        tables.append(table)
    panel = pd.concat(tables, ignore_index=True)
    fields = ["open", "high", "low", "close", "vwap", "volume"]
    panel[fields] = panel[fields].astype(np.float32).astype(float)
    return panel.astype({"pair": "category"})


def definitions() -> dict[str, str]:
    from agent_market.factors import load_factors, to_qlib

    return {name: to_qlib(text) for name, text in load_factors("alpha158").items()}


# ---- our side, in processes of its own


def compute_ours(path: str, timeframe: str, compat: str, threads: int, out: str | None) -> dict:
    """One measured run after a warm-up on a few rows; parsing and planning are part of it."""
    from agent_market.factors import compute_factors, engine, load_factors

    panel = pd.read_parquet(path)
    factors = load_factors("alpha158")
    how = {"timeframe": timeframe, "compat": compat, "threads": threads, "check": False}
    compute_factors(panel.head(500).assign(pair="A"), factors, **how)
    engine.make_plan.cache_clear()
    before = peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    features = compute_factors(panel, factors, **how)
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if out:
        features.to_parquet(out)
    return found | {"peak_mb": peak_mb(), "before_mb": before, "shape": [len(features), len(factors)]}


def scale(path: str, timeframe: str, compat: str, repeats: int) -> dict:
    """`two_threads` of Alpha158, in a process that has memory and plan at hand."""
    from agent_market.factors import compute_factors, load_factors

    panel, factors = pd.read_parquet(path), load_factors("alpha158")
    how = {"timeframe": timeframe, "compat": compat, "check": False}
    return two_threads(lambda threads: compute_factors(panel, factors, threads=threads, **how), repeats)


def two_threads(call: Callable[[int], object], repeats: int) -> dict[str, float]:
    """The best wall time of a call on one and on two threads, in turns.

    An empty loop takes its turn beside them, which shares nothing: how much faster two threads can be here and now.
    """
    spent, idle, loop = {1: [], 2: []}, {1: [], 2: []}, make_loop()
    for _ in range(repeats):
        for threads, times in spent.items():
            start = time.perf_counter()
            result = call(threads)
            times.append(time.perf_counter() - start)
            del result  # outside of the time
            idle[threads].append(loop(threads))
    return {"one": min(spent[1]), "two": min(spent[2]), "loop": 2 * min(idle[1]) / min(idle[2])}


def make_loop() -> Callable[[int], float]:
    """What says how many seconds a loop takes that some threads run at the same time, each all of it."""
    from numba import njit

    @njit(nogil=True)
    def spin(n):
        total = 0.0
        for i in range(n):
            total += i**0.5
        return total

    def seconds(n_threads: int) -> float:
        workers = [threading.Thread(target=spin, args=(20_000_000,)) for _ in range(n_threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - start

    seconds(1)
    return seconds


def compile_once(compat: str) -> dict:
    """How long Alpha158 takes in a new process: compilation if the cache is empty, else reading it."""
    from agent_market.factors import compute_factors, load_factors

    panel = make_panel(1, 300, "1h", clean=True)
    wall, cpu = time.perf_counter(), time.process_time()
    compute_factors(panel, load_factors("alpha158"), timeframe="1h", compat=compat, check=False)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def compute_live(n_pairs: int, n_updates: int) -> dict:
    """Alpha158 of the newest candle of each pair: seconds per update, and of computing all anew."""
    from agent_market.factors import compute_factors, load_factors
    from agent_market.factors.live import LiveFactors

    panel = make_panel(n_pairs, 500, "1h", clean=True)
    dates = np.sort(panel["date"].unique())
    factors = load_factors("alpha158")
    live = LiveFactors(panel[panel["date"] < dates[-n_updates]].reset_index(drop=True), factors, timeframe="1h")
    spent = []
    for date in dates[-n_updates:]:
        new = panel[panel["date"] == date]
        start = time.process_time()
        features = live.update(new)
        spent.append(time.process_time() - start)
    start = time.process_time()
    whole = compute_factors(panel, factors, timeframe="1h", check=False)
    anew = time.process_time() - start
    expected = whole[whole["date"] == dates[-1]].reset_index(drop=True)
    pd.testing.assert_frame_equal(features[[*factors]], expected[[*factors]], check_exact=True)
    return {"update": float(np.median(spent)), "anew": anew}


def grow(rows: int) -> dict:
    """CPU time of Alpha158 per cell, on pairs of 50,000 candles; the second of two runs, in memory that is at hand."""
    from agent_market.factors import compute_factors, load_factors

    n_pairs = max(rows // 50_000, 1)
    panel = make_panel(n_pairs, rows // n_pairs, "1h", clean=True)
    factors = load_factors("alpha158")
    for _ in range(2):
        start = os.times()
        features = compute_factors(panel, factors, timeframe="1h", check=False)
        end = os.times()
        shape = features.shape
        del features
    user, system = end.user - start.user, end.system - start.system
    return {"rows": shape[0], "user": user, "system": system, "cells": shape[0] * len(factors), "peak_mb": peak_mb()}


SIDES = {
    "ours": compute_ours,
    "scale": scale,
    "compile": compile_once,
    "live": compute_live,
    "grow": grow,
}


def run_side(name: str, *arguments, environment: dict[str, str] | None = None):
    command = [sys.executable, __file__, "--side", name]
    done = subprocess.run(
        command, input=json.dumps(arguments), capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_mb() -> float:
    """The most memory that this process has held (ru_maxrss would begin with that of the process it came from)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


# ---- the tables


def show_compilation() -> None:
    for compat in ("sane", "qlib"):
        with tempfile.TemporaryDirectory() as cache:
            environment = {"NUMBA_CACHE_DIR": cache}
            cold, warm = (run_side("compile", compat, environment=environment) for _ in range(2))
        print(f"First use of Alpha158, {compat} rules:", end=" ")
        print(f"compiled {cold['cpu']:.1f} s CPU, {cold['wall']:.1f} s wall", end="; ")
        print(f"from the cache {warm['wall']:.2f} s wall")
    print()


def compare(case: str, python: str | None, engines: list[str], repeats: int, folder: Path) -> None:
    n_pairs, n_bars, frequency, timeframe = CASES[case]
    panel = make_panel(n_pairs, n_bars, timeframe)
    path, names = folder / f"{case}.parquet", folder / "definitions.json"
    panel.to_parquet(path)
    names.write_text(json.dumps(definitions()), encoding="utf-8")
    mine, theirs = folder / "mine.parquet", folder / "qlib.parquet"
    print(f"Case ({case}): {n_pairs} pairs x {n_bars} bars, {len(panel)} candles, Alpha158; best of {repeats}")
    print(f"{'':22s}{'CPU s':>9s}{'wall s':>9s}{'peak MB':>9s}{'of it ours':>12s}")
    results = {}
    for engine in engines:
        runs = [
            run_rival(python, engine, path, names, frequency, theirs) for _ in range(1 if engine != "qlib" else repeats)
        ]
        results[engine] = best(runs)
        show(engine, results[engine], {})
    for label, compat, threads in (
        ("ours, qlib rules", "qlib", 1),
        ("ours, sane rules", "sane", 1),
        ("ours, qlib, 2 threads", "qlib", 2),
        ("ours, sane, 2 threads", "sane", 2),
    ):
        out = str(mine) if (compat, threads) == ("qlib", 1) else None
        runs = [run_side("ours", str(path), timeframe, compat, threads, out) for _ in range(repeats)]
        results[label] = best(runs)
        show(label, results[label], {name: results[name] for name in engines})
    show_scaling(path, timeframe)
    if "qlib" in engines:
        show_parity(mine, theirs)
    print()


def scale_case(case: str) -> None:
    n_pairs, n_bars, _, timeframe = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.parquet"
        make_panel(n_pairs, n_bars, timeframe).to_parquet(path)
        print(f"Case ({case}): ", end="")
        show_scaling(path, timeframe)


def show_scaling(path: Path, timeframe: str, repeats: int = 40) -> None:
    print(f"two threads, best of {repeats} calls in a warm process:", end=" ")
    for rules in ("qlib", "sane"):
        walls = run_side("scale", str(path), timeframe, rules, repeats)
        one, two = walls["one"], walls["two"]
        print(f"{rules} rules {1000 * one:.0f} -> {1000 * two:.0f} ms, {one / two:.2f} x", end=" ")
        print(f"(an empty loop {walls['loop']:.2f} x)", end="; " if rules == "qlib" else "\n", flush=True)


def run_rival(python: str, engine: str, path: Path, names: Path, frequency: str, out: Path) -> dict:
    result = path.with_suffix(".json")
    command = [python, HERE / "factors_rivals.py", engine, path, names, frequency, result]
    if engine == "qlib":
        command.append(out)
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return json.loads(result.read_text(encoding="utf-8"))


def best(runs: list[dict]) -> dict:
    return min(runs, key=lambda run: run["cpu"]) | {"wall": min(run["wall"] for run in runs)}


def show(label: str, run: dict, rivals: dict[str, dict]) -> None:
    growth = run["peak_mb"] - run["before_mb"]
    line = f"{label:22s}{run['cpu']:9.3f}{run['wall']:9.3f}{run['peak_mb']:9.0f}{growth:12.0f}"
    ratios = ", ".join(f"{other['cpu'] / run['cpu']:.1f} x {name}" for name, other in rivals.items())
    print(line + (f"   {ratios} (CPU)" if ratios else ""), flush=True)


def show_parity(mine: Path, theirs: Path) -> None:
    """Whether the columns are Qlib's, by the gate of the tests."""
    found = pd.read_parquet(mine)
    expected = pd.read_parquet(theirs)
    dates = found["date"].dt.tz_localize(None)
    key = pd.MultiIndex.from_arrays([found["pair"].astype(str), dates.astype(expected.index.levels[1].dtype)])
    expected = expected.reindex(key)
    holes, off = 0, 0
    for name in expected.columns:
        x, y = found[name].to_numpy().astype(float), expected[name].to_numpy().astype(float)
        holes += int((np.isnan(x) != np.isnan(y)).sum())
        known = ~np.isnan(x) & ~np.isnan(y)
        slack = 1e-5 * (np.abs(y[known]) + 0.01 * np.median(np.abs(y[known])))
        off += int((np.abs(x[known] - y[known]) > slack).sum())
    print(
        f"parity with Qlib: of {expected.size} cells {holes} where only one is NaN, {off} off by more than 1e-5",
        end=" ",
    )
    print("(pandas' running sums keep a rest of what has left the window)" if off else "")


def show_live() -> None:
    live = run_side("live", 100, 40)
    update, anew = 1000 * live["update"], 1000 * live["anew"]
    print(f"Live: the newest candle of 100 pairs {update:.1f} ms (all 500 candles of each anew: {anew:.0f} ms)\n")


def show_growth(sizes: list[int]) -> None:
    print("Growth, one thread, sane rules (system time is that of giving new memory to the process):")
    print(f"{'candles':>12s}{'user s':>9s}{'system s':>10s}{'ns per cell':>13s}{'peak MB':>9s}")
    for size in sizes:
        run = run_side("grow", size)
        cell = 1e9 * run["user"] / run["cells"]
        print(f"{run['rows']:12d}{run['user']:9.2f}{run['system']:10.2f}{cell:13.2f}{run['peak_mb']:9.0f}", flush=True)


if __name__ == "__main__":
    main()
