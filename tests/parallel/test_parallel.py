import json
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from agent_market.errors import ComputeError, ParameterError
from agent_market.parallel import ComputeOptions, begin, computing, place_of, run_parallel
from agent_market.parallel.shelf import LEAST, Shelf, pack_call, pack_result, unpack
from clusters import scaled

DASK = {"backend": "dask", "scheduler": "tcp://10.0.0.1:8786", "shared_folder": "/shared"}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (DASK | {"scheduler": None}, "backend is dask, which needs scheduler"),
        (DASK | {"shared_folder": None}, "backend is dask, which needs shared_folder"),
        (DASK | {"scheduler": "10.0.0.1:8786"}, "tcp://host:port"),
        (DASK | {"scheduler": "tcp://10.0.0.1"}, "tcp://host:port"),
        ({"backend": "ray"}, "'threading', 'loky' or 'dask'"),
        (DASK | {"timeout": 0}, "greater than 0"),
    ],
)
def test_a_block_that_cannot_be_is_refused(block, said):
    with pytest.raises(ValidationError, match=said):
        ComputeOptions(**block)


@pytest.mark.parametrize("address", ["tcp://scheduler.internal:8786", "tls://[fe80::1]:8786", "tcp://10.0.0.1:8786"])
def test_addresses_of_schedulers(address):
    assert ComputeOptions(**DASK | {"scheduler": address}).scheduler == address


def test_what_stays_here_whatever_is_configured():
    with computing(ComputeOptions(**DASK)):  # nothing is called: nobody connects
        assert place_of(None, -1, 5) == "dask"
        assert place_of("loky", 3, 5) == "dask"
        assert place_of("threading", -1, 5) == "threading"
        assert place_of(None, 1, 5) == "threading"
        assert place_of("loky", -1, 1) == "threading"
    assert place_of(None, -1, 5) == "threading"
    assert place_of("loky", -1, 5) == "loky"
    with computing(ComputeOptions(backend="loky")):
        assert place_of(None, -1, 5) == "loky"


def test_calls_that_are_begun_here_are_made_when_they_are_asked_for():
    made = []
    first, second = begin([joblib.delayed(made.append)(number) for number in (1, 2)], n_jobs=-1)
    assert made == []
    second.result()
    first.cancel()
    assert made == [2]


def test_dask_is_not_imported_unless_it_is_asked_for():
    code = (
        "import sys, agent_market.parameters, agent_market.parallel as p, joblib; "
        "p.run_parallel([joblib.delayed(abs)(-1)] * 2, n_jobs=2); "
        "print([name for name in ('dask', 'distributed') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_run_without_the_extra_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    options, said = (
        ComputeOptions(**DASK | {"shared_folder": str(tmp_path)}),
        r"pip install 'agent_market\[distributed\]'",
    )
    with computing(options), pytest.raises(ParameterError, match=said):
        run_parallel([joblib.delayed(scaled)(1, 2)] * 2, n_jobs=-1)


# ---- the shelf


def test_large_arrays_leave_the_call_and_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"pair": pd.Categorical(["A", "B"] * 5000), "x": rng.normal(size=10_000)})
    table["date"] = pd.date_range("2024-01-01", periods=10_000, freq="h", tz="UTC")
    table["text"] = [f"number {i % 7}" for i in range(10_000)]
    arrays = {
        "F": np.asfortranarray(rng.normal(size=(100, 80))),
        "cut": rng.normal(size=(200, 80))[::2],
        "objects": np.array([None, "a"] * 3000, dtype=object),
        "small": np.arange(3),
    }
    shelf = Shelf(str(tmp_path / "shelf"))
    shelf.make()
    packed = pack_call(shelf, (table, arrays, table))
    assert len(packed) < 45_000  # 30,000 of them are the array of objects
    found, back, again = unpack(packed)
    pd.testing.assert_frame_equal(found, table)
    assert again is found
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    assert back["F"].flags.f_contiguous
    back["F"][0] = 7.0  # this process's copy, no one else's
    assert not (unpack(packed)[1]["F"][0] == 7.0).any()
    assert all(path.read_bytes().startswith(b"\x93NUMPY") for path in (tmp_path / "shelf").iterdir())


def test_equal_arrays_are_stored_once_and_results_are_gone_when_they_are_taken(tmp_path):
    values = np.arange(LEAST, dtype=float)
    shelf = Shelf(str(tmp_path))
    pack_call(shelf, [values, values.copy()])
    pack_call(shelf, [values + 0.0])
    assert len(list(tmp_path.iterdir())) == 1
    packed = pack_result(str(tmp_path), {"a": values, "b": values})
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(unpack(packed)["b"], values)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_a_worker_does_not_see_is_named(tmp_path):
    shelf = Shelf(str(tmp_path / "here"))
    shelf.make()
    packed = pack_call(shelf, np.zeros(LEAST))
    shelf.remove()
    with pytest.raises(ComputeError, match=r"compute\.shared_folder must be a folder that all workers see"):
        unpack(packed)


def test_a_url_that_nothing_reads_is_named():
    with pytest.raises(ComputeError, match=r"compute\.shared_folder is 'nowhere://bucket/a'"):
        Shelf("nowhere://bucket/a")


def test_no_number_depends_on_where_it_is_computed():
    from agent_market.parameters import CHANGE_NOTHING

    assert CHANGE_NOTHING["compute"] is True
    assert json.dumps(ComputeOptions().model_dump())
