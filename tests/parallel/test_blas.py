"""Linear algebra has one thread while calls are made, and those that it had afterwards."""

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from agent_market.parallel import run_parallel


def _threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def _nested() -> tuple[set[int], set[int]]:
    inner = run_parallel([joblib.delayed(_threads)()] * 2, n_jobs=2, backend="threading")
    return inner[0], _threads()


@pytest.fixture
def four_threads():
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own

    with threadpool_limits(4, user_api="blas"):
        yield
        assert _threads() == {4}, "afterwards as before"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_calls_have_one_thread_each(four_threads, n_jobs):
    assert run_parallel([joblib.delayed(_threads)()] * 4, n_jobs=n_jobs, backend="threading") == [{1}] * 4


def test_work_within_work_leaves_the_limit_to_the_outer_one(four_threads):
    assert run_parallel([joblib.delayed(_nested)()] * 2, n_jobs=2, backend="threading") == [({1}, {1})] * 2


def test_an_error_gives_the_threads_back(four_threads):
    with pytest.raises(ZeroDivisionError):
        run_parallel([joblib.delayed(divmod)(1, 0)] * 2, n_jobs=2, backend="threading")
