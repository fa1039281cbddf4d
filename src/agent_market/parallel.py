"""Independent work side by side: folds, models, pairs."""

import multiprocessing
import os
from collections.abc import Iterable
from typing import Any, Literal

import joblib

Backend = Literal["threading", "loky"]


def run_parallel(calls: Iterable[Any], *, n_jobs: int, backend: Backend) -> list[Any]:
    """Results of `joblib.delayed` calls, in their order; `n_jobs` of -1 is one per processor, never more than calls."""
    calls = list(calls)
    workers = min(len(calls), os.cpu_count() or 1) if n_jobs == -1 else n_jobs
    try:
        # Large arrays reach processes as memory maps; torch warns of read-only ones, "c" copies what is written.
        return joblib.Parallel(n_jobs=workers, backend=backend, mmap_mode="c")(calls)
    finally:
        if backend == "loky" and multiprocessing.parent_process() is not None:
            # A process that some runner started would wait for its idle workers for minutes before it ends.
            joblib.externals.loky.get_reusable_executor().shutdown()
