import os

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from agent_market import parallel
from agent_market.parallel import run_parallel


def _threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def _nested() -> tuple[set[int], set[int]]:
    inner = run_parallel([joblib.delayed(_threads)()] * 2, n_jobs=2, backend="threading")
    return inner[0], _threads()


@pytest.fixture
def four_processors(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with threadpool_limits(4, user_api="blas"):
        yield


@pytest.mark.parametrize(("n_jobs", "each"), [(1, 4), (2, 2), (-1, 1)])
def test_threads_side_by_side_share_the_processors_for_products_of_matrices(four_processors, n_jobs, each):
    found = run_parallel([joblib.delayed(_threads)()] * 4, n_jobs=n_jobs, backend="threading")
    assert found == [{each}] * 4
    assert _threads() == {4}, "afterwards as before"


def test_work_within_work_leaves_the_limit_to_the_outer_one(four_processors):
    assert run_parallel([joblib.delayed(_nested)()] * 2, n_jobs=2, backend="threading") == [({2}, {2})] * 2
    assert _threads() == {4}
    assert not parallel._Limit.callers


def test_an_error_gives_the_threads_back(four_processors):
    with pytest.raises(ZeroDivisionError):
        run_parallel([joblib.delayed(divmod)(1, 0)] * 2, n_jobs=2, backend="threading")
    assert _threads() == {4}
