"""Independent work side by side: folds, trials, worlds, pairs; in threads, in processes, or on a cluster.

Where, is said once for the process, by `configure` or `computing`, and changes no number.
"""

import atexit
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import joblib

from agent_market.parallel.blas import one_thread
from agent_market.parallel.options import Backend, ComputeOptions

if TYPE_CHECKING:
    from agent_market.parallel.cluster import Cluster

__all__ = [
    "Backend",
    "ComputeOptions",
    "Pending",
    "Pool",
    "begin",
    "computing",
    "configure",
    "count_workers",
    "hearing",
    "on_cluster",
    "place_of",
    "pool",
    "release",
    "run_parallel",
]

Place = Literal["threading", "loky", "dask"]

_options = ComputeOptions()
_cluster: "Cluster | None" = None
_lock = threading.RLock()


def configure(options: ComputeOptions) -> None:
    """Compute as the options say from now on."""
    global _options
    with _lock:
        if options != _options:
            release()
        _options = options


@contextmanager
def computing(options: ComputeOptions) -> Iterator[None]:
    """Compute as the options say while it lasts."""
    before = _options
    configure(options)
    try:
        yield
    finally:
        release()
        configure(before)


def release() -> None:
    """Let the cluster go, if there is one, with all that was stored for its workers; the next call connects anew."""
    global _cluster
    with _lock:
        cluster, _cluster = _cluster, None
        if cluster is not None and cluster.process == os.getpid():
            cluster.close()


atexit.register(release)


def on_cluster() -> bool:
    """Whether a cluster is there to be used."""
    return _options.backend == "dask"


def place_of(backend: Backend | None, n_jobs: int, n_calls: int) -> Place:
    """Where calls are made, given what they need; one call alone, or one at a time, is made in this process.

    `backend` None leaves it to `compute.backend`. "loky" are calls that need a process of their own, here or on the
    cluster, and "threading" those that are not worth leaving this one.
    """
    if n_jobs == 1 or n_calls == 1:
        return "threading"
    if backend == "threading":
        return "threading"
    return "dask" if on_cluster() else backend or _options.backend


def run_parallel(calls: Iterable[Any], *, n_jobs: int, backend: Backend | None = None) -> list[Any]:
    """Results of `joblib.delayed` calls, in their order; `n_jobs` of -1 is one per processor, never more than calls.

    Each has one thread of linear algebra, wherever it is made. See `place_of` for `backend`.

    Raises:
        ComputeError: The cluster cannot be reached, is lost on the way, or has workers that do not fit.
    """
    calls = list(calls)
    place = place_of(backend, n_jobs, len(calls))
    if place == "dask":
        return list(_connected().results(calls, most=n_jobs))
    workers = min(len(calls), os.cpu_count() or 1) if n_jobs == -1 else n_jobs
    try:
        # Large arrays reach processes as memory maps; torch warns of read-only ones, "c" copies what is written.
        with one_thread():
            return joblib.Parallel(n_jobs=workers, backend=place, mmap_mode="c")(map(_with_one_thread, calls))
    finally:
        if place == "loky" and multiprocessing.parent_process() is not None:
            # A process that some runner started would wait for its idle workers for minutes before it ends.
            joblib.externals.loky.get_reusable_executor().shutdown()


def _with_one_thread(call: tuple[Callable[..., Any], tuple, dict[str, Any]]) -> Any:
    function, arguments, named = call
    return joblib.delayed(_perform)(function, arguments, named)


def _perform(function: Callable[..., Any], arguments: tuple, named: dict[str, Any]) -> Any:
    with one_thread():
        return function(*arguments, **named)


class Pending(Protocol):
    """A call whose result can be asked for."""

    def result(self) -> Any:
        """What the call returned, or what it raised."""

    def cancel(self) -> None:
        """Do without the result."""


class _Here:
    """A call that is made in this process, when its result is asked for."""

    def __init__(self, call: tuple[Callable[..., Any], tuple, dict[str, Any]]) -> None:
        self._call = call

    def result(self) -> Any:
        return _perform(*self._call)

    def cancel(self) -> None:
        """Nothing was begun."""


def begin(calls: Iterable[Any], *, n_jobs: int) -> list[Pending]:
    """Calls whose results are wanted one by one, and perhaps not all: a cluster makes them at once, this process when
    it is asked for them.
    """
    if on_cluster() and n_jobs != 1:
        return [_connected().begin(call) for call in calls]
    return [_Here(call) for call in calls]


def count_workers(n_jobs: int) -> int:
    """How many calls are made at a time for `n_jobs`: -1 is one per processor, or per worker of the cluster."""
    if n_jobs != -1:
        return n_jobs
    return _connected().workers if on_cluster() else os.cpu_count() or 1


class Pool(Protocol):
    """What makes calls, some `workers` of them at a time.

    If it is `bounded`, it takes calls only as its results are taken, and any number of them can be given at once.
    """

    workers: int
    bounded: bool

    def __call__(self, calls: Iterable[Any]) -> Iterator[Any]:
        """Results in the order of the calls."""


@contextmanager
def pool(n_jobs: int, backend: str | None = None) -> Iterator[Pool]:
    """A pool that is used several times: of the cluster, or else of joblib, whose backend may be named."""
    if backend is None and on_cluster() and n_jobs != 1:
        yield _ClusterPool(n_jobs)
        return
    with joblib.Parallel(n_jobs, backend=backend, return_as="generator", max_nbytes=None) as parallel:
        yield _LocalPool(parallel, joblib.effective_n_jobs(n_jobs))


class _LocalPool:
    bounded = False

    def __init__(self, parallel: joblib.Parallel, workers: int) -> None:
        self._parallel, self.workers = parallel, workers

    def __call__(self, calls: Iterable[Any]) -> Iterator[Any]:
        return iter(self._parallel(calls))


class _ClusterPool:
    bounded = True

    def __init__(self, n_jobs: int) -> None:
        self.workers = count_workers(n_jobs)

    def __call__(self, calls: Iterable[Any]) -> Iterator[Any]:
        return _connected().results(calls, most=2 * self.workers)


def hearing(receive: Callable[[Any], None]) -> AbstractContextManager[str]:
    """While it lasts, `receive` gets what the cluster's workers `say` about the topic that it names."""
    return _connected().hearing(receive)


def _connected() -> "Cluster":
    """The cluster, connected."""
    global _cluster
    with _lock:
        if _cluster is None or _cluster.process != os.getpid():  # a fork has no use for its parent's connection
            from agent_market.parallel.cluster import Cluster

            _cluster = Cluster(_options)
        return _cluster
