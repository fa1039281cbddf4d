"""Memory of results: asked for page by page, used again when nothing refers to it any more."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agent_market.factors import compute_factors, memory
from panels import random_candles

SHAPE = (100, 50_000)  # 20 MB


@pytest.fixture(autouse=True)
def _no_spare():
    memory._spare.clear()
    yield
    memory._spare.clear()


def each(call, items):
    return [call(item) for item in items]


def of_map(x: np.ndarray, key: str) -> list[str]:
    """What the system says of the memory maps in which an array lies."""
    begin, found = x.ctypes.data, []
    for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(encoding="utf-8")):
        start, stop = (int(end, 16) for end in part.split(" ", 1)[0].split("-"))
        if start < begin + x.nbytes and stop > begin:
            found.append(re.search(rf"^{key}:\s*(.*)$", part, re.MULTILINE)[1])
    return found


def test_a_table_is_used_again_after_the_last_reference_to_it_is_gone_and_not_before():
    first = memory.table(SHAPE, 1, each)
    first[:] = 1.0
    view = first[3:5].T
    place = first.ctypes.data
    del first
    second = memory.table(SHAPE, 1, each)
    second[:] = 2.0
    assert second.ctypes.data != place
    assert (view == 1.0).all()
    del view
    third = memory.table((90, 50_000), 1, each)  # a little smaller
    assert third.ctypes.data == place
    assert third.shape == (90, 50_000)
    assert third.flags.writeable
    assert (second == 2.0).all()


def test_no_memory_is_kept_beyond_one_table_and_the_limit(monkeypatch):
    tables = [memory.table(SHAPE, 1, each) for _ in range(3)]
    tables.clear()
    assert len(memory._spare) == 1
    memory._spare.clear()
    monkeypatch.setattr(memory, "MOST_SPARE", 10 << 20)
    large = memory.table(SHAPE, 1, each)
    del large
    assert not memory._spare


def test_a_much_smaller_table_does_not_take_the_memory_of_a_large_one():
    large = memory.table(SHAPE, 1, each)
    place = large.ctypes.data
    del large
    assert memory.table((30, 50_000), 1, each).ctypes.data != place


@pytest.mark.parametrize("dear", [-1.0, 1e9], ids=["dear", "cheap"])
def test_after_a_dear_large_page_the_rest_are_small(dear, monkeypatch):
    monkeypatch.setattr(memory, "DEAR", dear)
    x = memory.table(SHAPE, 1, each)
    flags = of_map(x, "VmFlags")
    if "hg" not in flags[0].split():
        pytest.skip("this system or numpy's settings know no large pages")
    is_small = ["nh" in of_part.split() for of_part in flags]
    assert any(is_small) == (dear < 0)
    x[:] = 7.0
    assert (x == 7.0).all()


def test_a_system_without_such_advice_gives_the_same_table(monkeypatch):
    monkeypatch.setattr(memory, "_madvise", lambda: None)
    x = memory.table(SHAPE, 1, each)
    x[:] = 7.0
    assert (x == 7.0).all()


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_factors_in_used_memory_are_those_in_fresh_memory(compat):
    candles = random_candles(3, 40_000, seed=2).drop(index=range(100, 150)).reset_index(drop=True)
    factors = {f"f{window}": f"ts_mean(close, {window}) / close" for window in range(2, 16)}
    fresh = compute_factors(candles, factors, timeframe="1h", compat=compat)
    used = compute_factors(candles, factors, timeframe="1h", compat=compat, threads=2)
    used.loc[:, [*factors]] = np.float32(9.0)
    del used
    assert len(memory._spare) == 1
    again = compute_factors(candles, factors, timeframe="1h", compat=compat, threads=2)
    pd.testing.assert_frame_equal(again, fresh, check_exact=True)
    assert not memory._spare
