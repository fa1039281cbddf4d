"""The embedded engine beside freqtrade's loop, vectorbt and backtesting.py on the same signals: CPU time and memory.

    python benchmarks/backtest.py            # all: some minutes, the first time some more for the set-up
    python benchmarks/backtest.py --cases a --engines embedded vectorbt --repeats 3

The set-up makes a virtual environment with vectorbt and backtesting.py beside this file (`.venv-peers`, 1 GB; it needs
a package index). Each engine runs in a process of its own, on candles and signals that are in memory as it likes them;
what is timed is the call that makes trades, equity and figures of them. The best of some calls counts, after a first
one that may compile. CPU seconds are the measure: other work on the machine changes wall time far more. Where an engine
is measured on a part, the table says so, and its time is scaled by candle.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv-peers"
PACKAGES = ("vectorbt[rust]==1.2.0", "backtesting==0.6.6")
FEE, SLIPPAGE, BALANCE = 0.001, 0.0002, 1_000_000.0

CASES = {
    "a": {"pairs": 1, "candles": 500_000, "timeframe": "1m", "stake": 1_000.0, "open": 1, "levels": [2.33]},
    "b": {"pairs": 50, "candles": 20_000, "timeframe": "1h", "stake": 50_000.0, "open": 10, "levels": [2.33]},
    "c": {"pairs": 1, "candles": 50_000, "timeframe": "1h", "stake": 100_000.0, "open": 1, "levels": "200"},
}
TITLES = {
    "a": "1 pair x 500,000 1-minute candles",
    "b": "50 pairs x 20,000 candles, shared cash, 10 open trades at most",
    "c": "200 levels of a score x 50,000 candles, with final balance, trades, win rate, drawdown and Sharpe ratio",
}
PARTS = {"a": 40_000, "b": 1_000, "c": 50_000}  # candles that freqtrade is measured on; in (c) one level of the 200
ENGINES = ("embedded", "freqtrade", "vectorbt", "backtesting.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--repeats", type=int, default=20, help="of each fast engine; the fastest counts")
    parser.add_argument("--turns", type=int, default=3, help="processes of each fast engine, one after the other")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        name, folder, repeats = chosen.side
        print(json.dumps(SIDES[name](Path(folder), int(repeats))))
        return
    peers = set_up() if set(chosen.engines) & {"vectorbt", "backtesting.py"} else None
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; Python {sys.version.split()[0]}\n")
    show_compilation()
    for case in chosen.cases:
        with tempfile.TemporaryDirectory() as folder:
            write_case(case, Path(folder))
            compare(case, Path(folder), chosen.engines, peers, chosen.repeats, chosen.turns)


def set_up() -> str:
    """The Python of the peers' environment, which is made if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print(f"making {ENVIRONMENT} …", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (ENVIRONMENT / "ready").touch()
    return str(python)


def write_case(case: str, folder: Path) -> None:
    """Random candles on a tick of 0.01 and a random score; a long is entered above a level and left below its negative.

    Nothing is entered shortly before the end, so that no engine's way to end a backtest counts.
    """
    described = CASES[case]
    rng, shape = np.random.default_rng(1), (described["candles"], described["pairs"])
    moves = rng.standard_t(4, shape) * (0.0008 if described["timeframe"] == "1m" else 0.004)
    close = np.round(100 * np.exp(np.cumsum(moves - moves.mean(axis=0), axis=0)), 2)
    opening = np.vstack([np.full(shape[1], 100.0), close[:-1]])
    high = np.round(np.maximum(opening, close) * (1 + rng.gamma(2, 0.0005, shape)), 2)
    low = np.round(np.minimum(opening, close) * (1 - rng.gamma(2, 0.0005, shape)), 2)
    score = rng.normal(0, 1, shape)
    score[-20:] = np.minimum(score[-20:], 0.0)
    score[-10:] = -9.0
    levels = np.linspace(1.5, 3.0, 200) if described["levels"] == "200" else np.array(described["levels"])
    np.savez(folder / "case.npz", open=opening, high=high, low=low, close=close, score=score, levels=levels)
    rest = {"fee": FEE + SLIPPAGE, "balance": BALANCE, "stake": described["stake"], "open": described["open"]}
    (folder / "case.json").write_text(json.dumps({"case": case, **rest}), encoding="utf-8")


# ---- our side and freqtrade, in processes of their own


def load(folder: Path, part: int | None = None):
    """Candles, predictions, markets, options and levels as our engine takes them; the first `part` candles or all."""
    from agent_market.trading import BacktestOptions, snapshot_markets

    described = CASES[json.loads((folder / "case.json").read_text(encoding="utf-8"))["case"]]
    with np.load(folder / "case.npz") as stored:
        arrays = {name: stored[name][:part] for name in ("open", "high", "low", "close", "score")}
        levels = pd.DataFrame({"enter_long": stored["levels"], "exit_long": -stored["levels"]})
    n_candles, n_pairs = arrays["open"].shape
    frequency = described["timeframe"].replace("m", "min")
    dates = pd.date_range("2020-01-01", periods=n_candles, freq=frequency, tz="UTC", unit="ms")
    names = pd.Index([f"C{number:02d}/USDT" for number in range(n_pairs)])
    columns = {name: values.T.ravel() for name, values in arrays.items()}
    pair = pd.Categorical.from_codes(np.repeat(np.arange(n_pairs), n_candles), names)
    table = pd.DataFrame({"pair": pair, "date": np.tile(dates, n_pairs), **columns, "volume": 1.0})
    table["date"] = pd.DatetimeIndex(table["date"]).as_unit("ms")
    candles, predictions = table.drop(columns="score"), table[["pair", "date", "score"]]
    markets = snapshot_markets(candles, fee=FEE, trading_mode="spot")
    for market in markets.values():
        market["precision"]["amount"] = 1e-8
        market["limits"]["amount"]["min"] = market["limits"]["cost"]["min"] = None
    options = BacktestOptions(
        starting_balance=BALANCE,
        stake_amount=described["stake"],
        max_open_trades=described["open"],
        tradable_balance_ratio=1.0,
        fee=FEE,
        slippage=SLIPPAGE,
    )
    how = {"timeframe": described["timeframe"], "trading_mode": "spot"}
    return candles, predictions.rename(columns={"score": "prediction"}), markets, options, levels, how


def load_arrays(folder: Path):
    """The market as the engine prepares it once, its options, scores (candles, pairs) and levels."""
    from agent_market.trading import market_arrays

    candles, predictions, markets, options, levels, how = load(folder)
    market = market_arrays(candles, markets, **how)
    scores = np.ascontiguousarray(predictions["prediction"].to_numpy().reshape(market.shape[::-1]).T)
    return market, options, scores, levels


def run_embedded(folder: Path, repeats: int) -> dict:
    """One level of a score: arrays of signals in, arrays of trades and equity out; beside it from tables to tables."""
    from agent_market.trading import pack_signals, run_arrays, simulate, threshold_signals

    market, options, scores, levels = load_arrays(folder)
    enters, leaves = scores > levels.loc[0, "enter_long"], scores < levels.loc[0, "exit_long"]
    before = peak_mb()
    found = measured(lambda: run_arrays(market, pack_signals(market, enters, leaves), options), repeats)
    result, memory = found.pop("result"), peak_mb()
    candles, predictions, markets, options, levels, how = load(folder)
    signals = threshold_signals(predictions, levels.loc[0])
    whole = measured(lambda: simulate(candles, signals, markets, options, **how), max(repeats // 4, 2))
    return found | {
        "before_mb": before,
        "peak_mb": memory,
        "trades": len(result.trades),
        "final": float(result.equity[-1]),
        "whole_cpu": whole["cpu"],
        "version": "numba " + version("numba"),
    }


def sweep_embedded(folder: Path, repeats: int) -> dict:
    """All levels of an array of scores; beside it ten times as many, with one and with two threads, and from tables."""
    from agent_market.trading import sweep_scores, sweep_thresholds
    from factors import two_threads

    market, options, scores, levels = load_arrays(folder)
    before = peak_mb()

    def run(threads: int, table: pd.DataFrame = levels):
        return sweep_scores(market, scores, table, options, threads=threads)

    found = measured(lambda: run(1), repeats)
    result, memory = found.pop("result"), peak_mb()
    steps = np.linspace(1.5, 3.0, 10 * len(levels))
    many = pd.DataFrame({"enter_long": steps, "exit_long": -steps})
    scales = {"few": two_threads(run, 15), "many": two_threads(lambda threads: run(threads, many), 15)}
    candles, predictions, markets, options, levels, how = load(folder)
    whole = measured(
        lambda: sweep_thresholds(candles, predictions, markets, options, levels, threads=1, **how), max(repeats // 4, 2)
    )
    return found | {
        "before_mb": before,
        "peak_mb": memory,
        "trades": int(result["trades"].sum()),
        "final": float(result["final_balance"].sum()),
        "scales": scales,
        "whole_cpu": whole["cpu"],
        "version": "numba " + version("numba"),
    }


def run_freqtrade_part(folder: Path, repeats: int) -> dict:
    """freqtrade's `Backtesting.backtest`, its loop, after loading; on a part of the candles."""
    from freqtrade.optimize.backtesting import Backtesting

    from agent_market.trading import run_freqtrade, threshold_signals

    part = PARTS[json.loads((folder / "case.json").read_text(encoding="utf-8"))["case"]]
    candles, predictions, markets, options, levels, how = load(folder, part)
    signals = threshold_signals(predictions, levels.loc[len(levels) // 2])
    loop, spent = Backtesting.backtest, []

    def timed(*args, **kwargs):
        wall, cpu = time.perf_counter(), time.process_time()
        content = loop(*args, **kwargs)
        spent.append({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall})
        return content

    Backtesting.backtest = timed
    before = peak_mb()
    result = run_freqtrade(candles, signals, markets, options, **how)
    return spent[0] | {
        "before_mb": before,
        "peak_mb": peak_mb(),
        "trades": len(result.trades),
        "final": result.summary["final_balance"],
        "part": len(candles),
        "version": "freqtrade " + version("freqtrade"),
    }


def compile_once(folder: Path, repeats: int) -> dict:
    """The first backtest of a process: the kernel is compiled if numba's cache is empty, else read from it."""
    from agent_market.trading import simulate, threshold_signals

    candles, predictions, markets, options, levels, how = load(folder, 200)
    signals = threshold_signals(predictions, levels.loc[0])
    wall, cpu = time.perf_counter(), time.process_time()
    simulate(candles, signals, markets, options, **how)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


SIDES = {
    "embedded": run_embedded,
    "sweep": sweep_embedded,
    "freqtrade": run_freqtrade_part,
    "compile": compile_once,
}


def measured(call, repeats: int) -> dict:
    """The best CPU time of some calls after a first one, which may compile."""
    result, cpu = call(), []
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        cpu.append(time.process_time() - start)
    return {"result": result, "cpu": min(cpu)}


def version(package: str) -> str:
    from importlib.metadata import version as installed

    return installed(package)


def peak_mb() -> float:
    """The most memory that this process has held (ru_maxrss would begin with that of the process it came from)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


# ---- the tables


def run_side(name: str, folder: Path, repeats: int = 1, environment: dict[str, str] | None = None) -> dict:
    command = [sys.executable, __file__, "--side", name, str(folder), str(repeats)]
    return read_last_line(command, environment)


def run_peer(python: str, engine: str, folder: Path, repeats: int) -> dict:
    return read_last_line([python, str(HERE / "backtest_rivals.py"), engine, str(folder), str(repeats)])


def read_last_line(command: list[str], environment: dict[str, str] | None = None) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show_compilation() -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        write_case("b", Path(folder))
        environment = {"NUMBA_CACHE_DIR": cache}
        cold, warm = (run_side("compile", Path(folder), environment=environment) for _ in range(2))
    print(f"First backtest of a process: compiled {cold['cpu']:.1f} s CPU, {cold['wall']:.1f} s wall", end="; ")
    print(f"with the kernels in numba's cache {warm['cpu']:.2f} s CPU, {warm['wall']:.2f} s wall\n")


def compare(case: str, folder: Path, engines: list[str], peers: str | None, repeats: int, turns_each: int) -> None:
    described = CASES[case]
    n_levels = 200 if case == "c" else 1
    bars = described["pairs"] * described["candles"] * n_levels
    peers_of_case = run_peer(peers, "engines", folder, 0)["vectorbt"][case] if "vectorbt" in engines else []
    turns = {}
    for _ in range(turns_each):  # the machine's speed comes and goes: each gets a process in each turn, the best counts
        if "embedded" in engines:
            side = run_side("sweep" if case == "c" else "embedded", folder, repeats)
            turns.setdefault("embedded", []).append(side)
        for engine in peers_of_case:
            turns.setdefault(engine, []).append(run_peer(peers, engine, folder, 2 if case == "c" else repeats))
    runs = {name: min(sides, key=lambda side: side["cpu"]) for name, sides in turns.items()}
    if "freqtrade" in engines:
        runs["freqtrade"] = scaled(run_side("freqtrade", folder), bars)
    if "backtesting.py" in engines and case != "b":
        run = run_peer(peers, "backtesting.py", folder, 1)
        runs["backtesting.py"] = scaled(run, bars) if "part" in run else run
    print(f"Case ({case}): {TITLES[case]}; best call, {repeats} in {turns_each} turns of the fast engines")
    print(f"{'':26s}{'CPU s':>10s}{'ratio':>9s}{'ns/bar':>10s}{'trades':>9s}{'peak MB':>9s}{'of it run':>10s}")
    for name, run in runs.items():
        show(name, run, runs.get("embedded", run), bars)
    if "embedded" in runs:
        show_extras(case, runs)
    print()


def scaled(run: dict, bars: int) -> dict:
    return run | {"cpu": run["cpu"] * bars / run["part"], "scaled": f"measured on {run['part']:,} candles, scaled"}


def show(name: str, run: dict, ours: dict, bars: int) -> None:
    ratio, per_bar = run["cpu"] / ours["cpu"], 1e9 * run["cpu"] / bars
    line = f"{name:26s}{run['cpu']:10.4f}{ratio:9.1f}{per_bar:10.2f}{run['trades']:9d}"
    line += f"{run['peak_mb']:9.0f}{run['peak_mb'] - run['before_mb']:10.0f}   {run['version']}"
    print(line + "".join(f"; {run[key]}" for key in ("scaled", "note") if key in run), flush=True)


def show_extras(case: str, runs: dict[str, dict]) -> None:
    ours = runs["embedded"]
    if case == "c":
        few, many = ours["scales"]["few"], ours["scales"]["many"]
        print(f"two threads instead of one, wall: {few['one'] / few['two']:.2f} x", end=", ")
        print(f"with 2,000 levels {many['one'] / many['two']:.2f} x", end=" ")
        print(f"(an empty loop {few['loop']:.2f} and {many['loop']:.2f} x)")
    name = "sweep_thresholds" if case == "c" else "simulate"
    print(f"`{name}`, from tables to tables, with checks, ticks and preparation: {ours['whole_cpu']:.3f} s CPU")
    if case != "b":
        for name in runs:
            if name.startswith("vectorbt"):
                difference = abs(runs[name]["final"] - ours["final"])
                print(f"final balance, embedded and {name}: difference {difference:.6f} of {ours['final']:,.2f}")


if __name__ == "__main__":
    main()
