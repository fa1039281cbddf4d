"""Memory for large results: used again where it can be, and else asked for before it is written, by all threads.

Fresh memory is a large part of a short computation: the system clears it first. Pages of 2 MiB are cleared several
times faster than the same in 4 KiB, unless the machine is a virtual one whose free memory has gone back to its host:
then each of them waits for the host, while small pages are at hand longer. Which of both it is shows when a large page
is asked for.
"""

import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

RunEach = Callable[[Callable[[Any], None], Iterable[Any]], Any]
"""Calls a function with each item and waits for all."""

LARGE, SMALL = 2 << 20, 4096
"""Bytes in a large and in a small page."""

MOST_SPARE = 512 << 20
"""Bytes of a result that has been let go of, up to which its memory is kept for the next one."""

DEAR = 1.5e-3
"""Seconds of processor time for one large page from which on small ones are cheaper; usual are 0.1 to 0.4 ms."""

_FREE, _NOHUGEPAGE, _POPULATE_WRITE = 8, 15, 23
"""Advice to Linux (madvise): what is here may be dropped; use small pages here; give all pages now."""

_spare: list[np.ndarray] = []


def table(shape: tuple[int, int], threads: int, run_each: RunEach) -> np.ndarray:
    """Room for float32 values, filled with anything, of which the system has given the memory already if it is large.

    When the last reference to it is gone, the memory waits for the next table of that size, at most one and
    MOST_SPARE of it; if the system runs short of memory, it takes it back.
    """
    size = 4 * math.prod(shape)
    if size < 2 * LARGE:  # of this size numpy and the system keep a stock
        return np.empty(shape, dtype=np.float32)
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    if memory is None or not size <= memory.size <= 2 * size:
        memory = _aligned(size)
        claim(memory, threads, run_each)
    return np.asarray(_Lease(memory, shape))


class _Lease:
    """Memory that is lent to an array: the array keeps the lease, and the lease is told when the array is gone."""

    def __init__(self, memory: np.ndarray, shape: tuple[int, int]) -> None:
        self.memory = memory
        self.__array_interface__ = {
            "version": 3,
            "typestr": np.dtype(np.float32).str,
            "shape": shape,
            "data": (memory.ctypes.data, False),
        }

    def __del__(self) -> None:
        if self.memory.size <= MOST_SPARE and not sys.is_finalizing():
            _advise(self.memory, _FREE)
            _spare[:] = [self.memory]


def _aligned(size: int) -> np.ndarray:
    """Fresh bytes, whole large pages."""
    memory = np.empty((-(-size // LARGE) + 1) * LARGE, dtype=np.uint8)
    first = -memory.ctypes.data % LARGE
    return memory[first : first + -(-size // LARGE) * LARGE]


def claim(memory: np.ndarray, threads: int, run_each: RunEach) -> None:
    """Have the system give fresh memory, whole large pages, to each thread the next page.

    Large pages until one is dear, small ones from then on. Threads that write the same columns at the same time would
    ask for the same pages, and these be cleared twice.
    """
    are_dear = threading.Event()
    pages = iter(range(memory.size // LARGE))  # of all threads

    def take(_: int) -> None:
        for page in pages:
            before = time.thread_time()
            _populate(memory[page * LARGE : (page + 1) * LARGE])
            if time.thread_time() - before > DEAR and not are_dear.is_set():
                are_dear.set()
                _advise(memory[(page + 1) * LARGE :], _NOHUGEPAGE)

    run_each(take, range(threads))


def _populate(memory: np.ndarray) -> None:
    if not _advise(memory, _POPULATE_WRITE):  # Linux before 5.14, another system
        memory[::SMALL] = 0


def _advise(memory: np.ndarray, advice: int) -> bool:
    """Whether the system took an advice about memory that begins with a page."""
    madvise = _madvise()
    return madvise is not None and madvise(memory.ctypes.data, memory.size, advice) == 0


@lru_cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """The system's function; a call of it holds no lock of Python, as that of the module mmap would."""
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
