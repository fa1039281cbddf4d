"""Dask clusters of real processes on this machine, and work for them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.evaluation import ic_series
from agent_market.parallel import ComputeOptions
from projects import PROJECT

QUIET = ["--no-dashboard", "--host", "127.0.0.1"]


@dataclass
class Cluster:
    """A scheduler, the processes of its workers, and a folder of their own for all of it."""

    folder: Path
    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen] = field(default_factory=list)

    def options(self, **changes) -> ComputeOptions:
        """What makes a run use this cluster."""
        how = {"backend": "dask", "scheduler": self.address, "shared_folder": str(self.folder / "shared")}
        return ComputeOptions(**how | changes)

    def add_worker(self, *, source: Path = PROJECT / "src", threads: int = 1) -> subprocess.Popen:
        """One more worker that imports the package from `source`."""
        place = self.folder / f"worker_{len(self.workers)}"
        own = ["--nthreads", str(threads), "--no-nanny", "--memory-limit", "0", "--local-directory", str(place)]
        self.workers.append(_start("dask_worker", self.address, *own, log=place.with_suffix(".log"), source=source))
        return self.workers[-1]

    def kill(self, process: subprocess.Popen) -> None:
        """End a process as a power cut would."""
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def left(self) -> list[str]:
        """Files that lie in the shared folder."""
        return [path.name for path in (self.folder / "shared").rglob("*") if path.is_file()]


@contextmanager
def cluster(folder: Path, *, workers: int = 2) -> Iterator[Cluster]:
    """A scheduler and workers, until it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    scheduler = _start("dask_scheduler", "--port", "0", "--scheduler-file", str(file), log=folder / "scheduler.log")
    made = None
    try:
        deadline = time.monotonic() + 60
        while not file.exists():
            assert scheduler.poll() is None, (folder / "scheduler.log").read_text()
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.05)
        made = Cluster(folder, json.loads(file.read_text())["address"], scheduler)
        for _ in range(workers):
            made.add_worker()
        yield made
    finally:
        for process in [scheduler, *(made.workers if made else ())]:
            if process.poll() is None:
                process.kill()
            process.wait(30)


def _start(module: str, *arguments: str, log: Path, source: Path = PROJECT / "src") -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(PROJECT / "tests")])}
    command = [sys.executable, "-m", f"distributed.cli.{module}", *QUIET, *arguments]
    with log.open("w") as file:
        return subprocess.Popen(command, cwd=log.parent, env=environment, stdout=file, stderr=file)


def scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """Some numbers, times a factor."""
    return values * factor


def nap_and_tell(folder: Path, number: int, seconds: float) -> tuple[int, int]:
    """`number` and the process, after a pause; while it lasts, a file of the process's name lies in the folder."""
    mark = folder / str(os.getpid())
    mark.touch()
    time.sleep(seconds)
    mark.unlink()
    return number, os.getpid()


def threads_of_blas() -> set[int]:
    """How many threads linear algebra has here."""
    import threadpoolctl

    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def fails(values: np.ndarray) -> None:
    """What a call looks like that goes wrong."""
    from agent_market.errors import ModelError

    raise ModelError(f"{len(values)} values are too many")


def score_rank(predicted: pd.DataFrame, labels: pd.DataFrame, candles: pd.DataFrame | None) -> float:
    """The mean RankIC of a trial's predictions, two candles ahead."""
    return float(ic_series(predicted, labels, 2)["rank_ic"].mean())
