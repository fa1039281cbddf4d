"""Calls on the workers of a Dask cluster; the one place where Dask is imported."""

import contextlib
import os
import platform
import re
import socket
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

import psutil

from agent_market import __version__
from agent_market.errors import ComputeError, ParameterError
from agent_market.parallel.blas import one_thread
from agent_market.parallel.options import ComputeOptions
from agent_market.parallel.shelf import Shelf, pack_call, pack_result, unpack
from agent_market.source import code_fingerprint

LOOK = 5.0
"""Seconds between two looks at whether the cluster is still there."""

SAYS = 0.5
"""Seconds between two words of one fit about how far it is."""

ALIKE = (
    "bottleneck",
    "catboost",
    "cloudpickle",
    "distributed",
    "freqtrade",
    "lightgbm",
    "numba",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "stable-baselines3",
    "torch",
    "xgboost",
)
"""Libraries that workers must have in the version that is installed here: numbers, or formats, hang on it."""

Facts = dict[str, str]


def environment() -> Facts:
    """What this process computes with."""
    facts = {"python": platform.python_version(), "agent_market": __version__, "its code": code_fingerprint()}
    for library in ALIKE:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[library] = metadata.version(library)
    return facts


class Pending:
    """A call that was sent; its result is waited for only when it is asked for."""

    def __init__(self, cluster: "Cluster", future: Any) -> None:
        self._cluster, self._future = cluster, future

    def result(self) -> Any:
        """What the call returned, or what it raised.

        Raises:
            ComputeError: The cluster is gone, or the call took several workers down.
        """
        return self._cluster.wait_for(self._future)

    def cancel(self) -> None:
        """Do without the result."""
        self._future.cancel()


class Cluster:
    """A connection to a scheduler, and a folder for what its workers are to read; both go when it is closed."""

    def __init__(self, options: ComputeOptions) -> None:
        self.options = options
        self.process = os.getpid()
        self._client = _connect(options)
        try:
            self.workers = self._wait_for_workers()
            name = f"{socket.gethostname()}-{self.process}-{uuid.uuid4().hex[:8]}"
            _remove_left_behind(Shelf(_absolute(options.shared_folder)))
            self.shelf = Shelf(f"{_absolute(options.shared_folder)}/{name}")
            self.shelf.make()
            self._facts = environment()
            self._check_workers()
        except BaseException:
            self.close()
            raise

    def begin(self, call: tuple[Callable[..., Any], tuple, dict[str, Any]]) -> Pending:
        """Send a `joblib.delayed` call."""
        packed = pack_call(self.shelf, call)
        return Pending(self, self._client.submit(perform, packed, self.shelf.url, self._facts, pure=False))

    def results(self, calls: Iterable[Any], *, most: int) -> Iterator[Any]:
        """Results of calls, in their order; at most `most` of them are on their way at a time (-1: all)."""
        waiting: list[Pending] = []
        try:
            for call in calls:
                if most > 0 and len(waiting) >= most:
                    yield waiting.pop(0).result()
                waiting.append(self.begin(call))
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for pending in waiting:
                pending.cancel()

    def wait_for(self, future: Any) -> Any:
        """The result of a future."""
        from distributed import CancelledError, KilledWorker, wait

        alone_since = None
        while not future.done():
            try:
                with self._client.as_current():
                    wait(future, timeout=min(LOOK, self.options.timeout / 2))
            except CancelledError as error:
                raise self._lost() from error
            except TimeoutError:
                now = time.monotonic()
                alone_since = None if self._count_workers() else (alone_since or now)
                if alone_since is not None and now - alone_since > self.options.timeout:
                    raise ComputeError(
                        f"the cluster at {self.options.scheduler} has had no worker for {self.options.timeout:g} s; "
                        "start workers (dask worker SCHEDULER --nthreads 1) and run again"
                    ) from None
        if future.cancelled():
            raise self._lost()
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise ComputeError(
                f"one call took down {error.allowed_failures + 1} workers, one after the other: they ran out of memory "
                "or crashed; look into the workers' output, and give them more memory (or --memory-limit 0)"
            ) from error
        if error is not None:
            raise error
        return unpack(future.result())

    @contextlib.contextmanager
    def hearing(self, receive: Callable[[Any], None]) -> Iterator[str]:
        """While it lasts, `receive` gets what workers `say` about the topic that it names."""
        topic = f"agent_market-{uuid.uuid4().hex}"
        self._client.subscribe_topic(topic, lambda event: receive(event[1]))
        try:
            yield topic
        finally:
            self._client.unsubscribe_topic(topic)

    def close(self) -> None:
        """Let the cluster go; calls that are still on their way are given up."""
        with contextlib.suppress(Exception):  # a scheduler that is gone cannot be told
            self._client.close(timeout=5)
        if hasattr(self, "shelf"):
            self.shelf.remove()

    def _wait_for_workers(self) -> int:
        try:
            self._client.wait_for_workers(1, timeout=self.options.timeout)
        except TimeoutError:
            raise ComputeError(
                f"the scheduler at {self.options.scheduler} has no workers, and none came within "
                f"{self.options.timeout:g} s (compute.timeout); start some: dask worker {self.options.scheduler} "
                "--nthreads 1 --nworkers -1"
            ) from None
        return self._count_workers()

    def _count_workers(self) -> int:
        try:
            return len(self._client.nthreads())
        except (OSError, RuntimeError, ValueError) as error:
            raise self._lost() from error

    def _check_workers(self) -> None:
        """Raise unless all workers would compute what this process would, one call at a time, and see the folder."""
        import numpy as np

        mark, facts, url = self.shelf.keep(np.arange(7)), self._facts, self.shelf.url

        def look(dask_worker: Any) -> list[str]:  # sent by value: a worker may have no agent_market to find it in
            try:
                from agent_market.parallel.cluster import Shelf, differences
            except ImportError as error:
                return [f"cannot import agent_market as it is here ({error})"]
            wrong = differences(facts, dask_worker.state.nthreads)
            return wrong if Shelf(url).has(mark) else [*wrong, f"does not see the folder {url} (compute.shared_folder)"]

        found = self._client.run(look, on_error="return")
        lines = []
        for worker, wrong in sorted(found.items()):
            if isinstance(wrong, BaseException):
                wrong = [f"cannot be asked ({type(wrong).__name__}: {wrong})"]
            lines += [f"  - {worker} {fault}" for fault in wrong]
        if lines:
            raise ComputeError("\n".join(["workers of the cluster would not compute what is computed here:", *lines]))

    def _lost(self) -> ComputeError:
        return ComputeError(
            f"the scheduler at {self.options.scheduler} is gone; what it was computing is lost. Start it and its "
            "workers again, and run again: finished nodes, trials and placebo runs that were stored are not repeated"
        )


def differences(facts: Facts, n_threads: int) -> list[str]:
    """What keeps this process from computing what a process with `facts` does, in words."""
    here = environment()
    wrong = [
        f"has {name} {here.get(name, '(none)')}, the run has {facts.get(name, '(none)')}"
        for name in {**facts, **here}
        if here.get(name) != facts.get(name)
    ]
    if n_threads != 1:
        wrong.append(f"has {n_threads} threads; start it with --nthreads 1, and as many of it as there are processors")
    return wrong


_checked: set[tuple[tuple[str, str], ...]] = set()


def perform(packed: bytes, url: str, facts: Facts) -> bytes:
    """The work of a worker: do the call, and pack what it returns."""
    from distributed import get_worker

    asked = tuple(facts.items())
    if asked not in _checked:  # a worker may have come after the others were asked
        if wrong := differences(facts, get_worker().state.nthreads):
            raise ComputeError(f"worker {get_worker().address} {'; '.join(wrong)}")
        _checked.add(asked)
    function, arguments, named = unpack(packed)
    with one_thread():
        result = function(*arguments, **named)
    return pack_result(url, result)


_said: dict[tuple[str, Any], float] = {}


def say(topic: str, about: Any, words: Any, *, last: bool) -> None:
    """Tell those who hear the topic; of each thing that is told of only now and then, but its last word always."""
    from distributed import get_worker

    now = time.monotonic()
    if last or now - _said.get((topic, about), -SAYS) >= SAYS:
        _said[topic, about] = now
        get_worker().log_event(topic, words)
    if last:
        _said.pop((topic, about), None)


def _connect(options: ComputeOptions) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ParameterError(
            f"compute.backend is dask, but {error.name} is not installed: pip install 'agent_market[distributed]', "
            "or set compute.backend to threading or loky"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ: `_check_workers` says which, as an error
            return Client(options.scheduler, timeout=options.timeout, set_as_default=False)
    except (OSError, TimeoutError) as error:
        said = traceback.format_exception_only(error)[-1].strip()
        raise ComputeError(
            f"compute.scheduler is {options.scheduler}, where no scheduler answers within {options.timeout:g} s "
            f"({said}); start one with `dask scheduler`, or set compute.backend to threading"
        ) from None


def _absolute(folder: str) -> str:
    """Workers stand in other folders than this process."""
    return folder if "://" in folder else os.path.abspath(folder)


def _remove_left_behind(root: Shelf) -> None:
    """Remove folders of processes of this machine that ended without doing so."""
    if not root.files.isdir(root.root):
        return
    for path in root.files.ls(root.root, detail=False):
        owner = re.fullmatch(r"(.+)-(\d+)-[0-9a-f]{8}", path.rstrip("/").rpartition("/")[2])
        if owner and owner[1] == socket.gethostname() and not psutil.pid_exists(int(owner[2])):
            root.files.rm(path, recursive=True)
