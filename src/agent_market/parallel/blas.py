"""Linear algebra with one thread, so that its sums, and so all numbers, are the same wherever they are computed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_limits = None


@contextmanager
def one_thread() -> Iterator[None]:
    """While it lasts, BLAS of this process has one thread; it has those it had again when the last user is out.

    With more threads a product of matrices is summed in another order: two machines, or this process and a worker,
    would disagree in the last digits.
    And threads of a process share one pool for such products: where several call it at once they wait for one another,
    spinning, and many small products take ten times as long.
    """
    global _inside, _limits
    with _lock:
        if not _inside:
            import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which can be told only when it is there
            import threadpoolctl

            _limits = threadpoolctl.threadpool_limits(1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limits.restore_original_limits()
