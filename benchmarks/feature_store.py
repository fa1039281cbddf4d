"""Features of a panel larger than memory: the time per million rows, and the most memory at any moment.

The candles are random walks, five minutes each, made pair by pair and stored. What is timed is the computing of the
features from those files and their storing; then the same again after one more day of candles.

    python benchmarks/feature_store.py                         # small, seconds
    python benchmarks/feature_store.py --full --factors alpha158 --threads 2
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from agent_market.factors import load_factors
from agent_market.factors.panel_folder import StoredPanel, write_panel
from agent_market.factors.store import SLICE_ROWS, stream_features

DAY = 288  # candles
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--candles", type=int, default=20_000, help="per pair")
    parser.add_argument("--full", action="store_true", help="50 pairs, 315,000 candles each")
    parser.add_argument("--factors", default="basic", help="a packaged set, or a file")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--backend", default=None, help="of joblib")
    parser.add_argument("--threads", type=int, default=1, help="of each job")
    parser.add_argument("--slice-rows", type=int, default=SLICE_ROWS)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; all is deleted at the end")
    chosen = parser.parse_args()
    pairs, candles = (50, 315_000) if chosen.full else (chosen.pairs, chosen.candles)
    factors = load_factors(chosen.factors)
    workers = {"n_jobs": chosen.jobs, "backend": chosen.backend, "threads": chosen.threads}
    how = {"timeframe": "5m", "slice_rows": chosen.slice_rows, **workers}

    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        folder = Path(folder)
        started = time.perf_counter()
        write_panel(folder / "today", make_candles(pairs, candles))
        write_panel(folder / "tomorrow", make_candles(pairs, candles + DAY))
        print(
            f"{pairs} pairs x {candles:,} candles made in {time.perf_counter() - started:.1f} s, {len(factors)} factors"
        )
        warm_up(factors)

        def store(name: str, source: str, stored: StoredPanel | None) -> StoredPanel:
            stream = {"stored": stored, "scratch": folder, **how}
            with Watch() as watch:
                write_panel(folder / name, stream_features(StoredPanel.open(folder / source), factors, **stream))
            panel = StoredPanel.open(folder / name)
            size = sum(file.stat().st_size for file in panel.folder.iterdir()) / GIB
            print(
                f"{name:10s} {len(panel):,} rows in {watch.seconds:.1f} s, {watch.seconds / len(panel) * 1e6:.2f} s "
                f"per million rows; CPU {watch.cpu:.1f} s; peak RSS {watch.peak / GIB:.2f} GiB, all processes; "
                f"{size:.2f} GiB stored"
            )
            return panel

        first = store("features", "today", None)
        store("carried_on", "tomorrow", first)


def make_candles(n_pairs: int, n_candles: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (pair, its candles): random walks that are the same for the same pair, whatever the length asked for."""
    dates = pd.date_range("2022-01-01", periods=n_candles, freq="5min", tz="UTC").as_unit("ms")
    for number in range(n_pairs):
        draws = np.random.default_rng(number).standard_normal((n_candles, 4))
        close = 100 * np.exp(np.cumsum(0.001 * draws[:, 0]))
        opens = np.r_[100.0, close[:-1]]
        pair = f"P{number:03d}/USDT"
        yield (
            pair,
            pd.DataFrame(
                {
                    "pair": pd.Categorical.from_codes(np.zeros(n_candles, dtype=np.int8), [pair]),
                    "date": dates,
                    "open": opens,
                    "high": np.maximum(opens, close) * np.exp(0.0005 * np.abs(draws[:, 1])),
                    "low": np.minimum(opens, close) * np.exp(-0.0005 * np.abs(draws[:, 2])),
                    "close": close,
                    "volume": np.exp(5 + draws[:, 3]),
                    "filled": False,
                }
            ),
        )


def warm_up(factors: dict[str, str]) -> None:
    """Compile what is to be compiled: that is paid once, not per row."""
    candles = pd.concat([rows for _, rows in make_candles(3, 2000)], ignore_index=True)
    candles["pair"] = candles["pair"].astype("category")
    started = time.perf_counter()
    for _ in stream_features(candles, factors, timeframe="5m"):
        pass
    print(f"warm-up {time.perf_counter() - started:.1f} s")


class Watch:
    """Seconds, CPU seconds, and the largest sum of the resident memory of this process and its children."""

    def __enter__(self) -> "Watch":
        self.process = psutil.Process()
        self.peak, self.times = 0, {}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self._measure()
        self.before = sum(self.times.values())
        self.started = time.perf_counter()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
        self._measure()
        self.cpu = sum(self.times.values()) - self.before
        self.done.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.done.wait(0.05):
            self._measure()

    def _measure(self) -> None:
        resident = 0
        for process in (self.process, *self.process.children(recursive=True)):
            try:
                resident += process.memory_info().rss
                used = process.cpu_times()
                self.times[process.pid] = used.user + used.system
            except psutil.NoSuchProcess:  # it ended just now
                continue
        self.peak = max(self.peak, resident)


if __name__ == "__main__":
    main()
