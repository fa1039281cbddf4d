import sys

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from agent_market.errors import DataError
from agent_market.trading import BacktestOptions, decide_positions

RULES = """
import numpy as np

LIMIT = 3

def half_above(predictions, *, level=0.0):
    return 0.5 * (predictions["score"] > level)

def whole_sample(predictions):
    return (predictions["prediction"] > predictions["prediction"].quantile(0.8)).astype(float)

def tomorrow(predictions):
    return np.sign(predictions.groupby("pair", observed=True)["prediction"].shift(-1))

def too_short(predictions):
    return np.zeros(3)

def too_large(predictions):
    return 2 * np.sign(predictions["score"])

def words(predictions):
    return ["long"] * len(predictions)

def by_date(predictions):
    return np.sign(predictions.sort_values("date")["score"])

def writes_into_its_input(predictions):
    predictions["date"] = predictions["date"].min()
    return np.zeros(len(predictions))
"""


@pytest.fixture(autouse=True)
def my_rules(tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text(RULES)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_rules", None)


def _predictions(kind="return"):
    dates = pd.date_range("2024-01-01", periods=50, freq="h", tz="UTC", unit="ms")
    values = np.random.default_rng(0).normal(size=100)
    pairs = np.repeat(["A/USDT", "B/USDT"], 50)
    return pd.DataFrame({"pair": pairs, "date": np.tile(dates, 2), "prediction": values, "kind": kind})


def _decided(name, *, kind="return", **block):
    rule = BacktestOptions(positions={"rule": f"my_rules.{name}", **block}).positions
    return decide_positions(_predictions(kind), rule, allow_short=True, timeframe="1h")["position"].to_numpy()


def test_rule_is_a_function_of_the_predictions_and_its_options():
    values = _predictions()["prediction"].to_numpy()
    np.testing.assert_array_equal(_decided("half_above"), 0.5 * (values > 0))
    np.testing.assert_array_equal(_decided("half_above", options={"level": 1.0}), 0.5 * (values > 1))
    np.testing.assert_array_equal(_decided("half_above", kind="probability"), 0.5 * (values > 0.5))


def test_modifiers_follow_after_it():
    held = _decided("half_above", hold=50)
    values = _predictions()["prediction"].to_numpy().reshape(2, 50)
    np.testing.assert_array_equal(held.reshape(2, 50), 0.5 * (np.maximum.accumulate(values > 0, axis=1)))


@pytest.mark.parametrize("name", ["whole_sample", "tomorrow"])
def test_rule_that_looks_ahead_is_refused(name):
    with pytest.raises(DataError, match=f"'my_rules.{name}' looks into the future"):
        _decided(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("too_short", r"shape \(100,\); found shape \(3,\)"),
        ("too_large", "positions from -1 to 1; found 2.0 for A/USDT at 2024-01-01"),
        ("words", "must return numbers, one position per row"),
        ("by_date", "in the order of its rows"),
    ],
)
def test_result_that_is_no_position_is_refused(name, problem):
    with pytest.raises(DataError, match=problem):
        _decided(name)


def test_rule_that_writes_into_its_table_changes_nothing_but_its_own():
    assert not _decided("writes_into_its_input").any()


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"rule": "no_such_package.rules.f"}, "no_such_package.rules cannot be imported: No module named"),
        ({"rule": "my_rules.half_abov"}, "my_rules has no function half_abov; did you mean half_above?"),
        ({"rule": "my_rules.LIMIT"}, "my_rules has no function LIMIT"),
        ({"rule": "my_rules.half_above", "options": {"levl": 1}}, r"unexpected keyword argument 'levl'.*level=0.0"),
        ({"rule": "my_rules.half_above", "level": 1}, "Extra inputs are not permitted"),
    ],
)
def test_rule_that_cannot_be_called_is_refused_before_anything_runs(block, problem):
    with pytest.raises(ValidationError, match=problem):
        BacktestOptions(positions=block)
