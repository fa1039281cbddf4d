"""Independent work side by side: folds, models, pairs."""

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import joblib

Backend = Literal["threading", "loky"]


def run_parallel(calls: Iterable[Any], *, n_jobs: int, backend: Backend) -> list[Any]:
    """Results of `joblib.delayed` calls, in their order; `n_jobs` of -1 is one per processor, never more than calls."""
    calls = list(calls)
    workers = min(len(calls), os.cpu_count() or 1) if n_jobs == -1 else n_jobs
    if backend == "threading":
        with _shared_processors(workers):
            return joblib.Parallel(n_jobs=workers, backend=backend)(calls)
    try:
        # Large arrays reach processes as memory maps; torch warns of read-only ones, "c" copies what is written.
        return joblib.Parallel(n_jobs=workers, backend=backend, mmap_mode="c")(calls)
    finally:
        if backend == "loky" and multiprocessing.parent_process() is not None:
            # A process that some runner started would wait for its idle workers for minutes before it ends.
            joblib.externals.loky.get_reusable_executor().shutdown()


class _Limit:
    """How many threads products of matrices have while work is side by side, and for how many callers that holds."""

    lock = threading.Lock()
    callers = 0
    limits: Any = None


@contextmanager
def _shared_processors(workers: int) -> Iterator[None]:
    """Give each of some threads its share of the processors for products of matrices.

    All threads of a process have one pool for these. Where several call it at once they wait for one another, spinning:
    many small products then take ten times as long. joblib does the same for its processes, but not for threads.
    """
    if workers <= 1:
        yield
        return
    from threadpoolctl import threadpool_limits

    with _Limit.lock:
        if not _Limit.callers:
            _Limit.limits = threadpool_limits(max((os.cpu_count() or 1) // workers, 1), user_api="blas")
        _Limit.callers += 1
    try:
        yield
    finally:
        with _Limit.lock:
            _Limit.callers -= 1
            if not _Limit.callers:
                _Limit.limits.restore_original_limits()
