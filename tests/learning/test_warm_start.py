from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import parse_model_options
from agent_market.errors import ParameterError
from agent_market.learning import walk_forward as module
from agent_market.learning.fitting import silent
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from panels import random_candles, random_features, scramble_after

CANDLES = random_candles(4, 24 * 30)
FEATURES = random_features(CANDLES)
FACTORS = {name: f"delay(close, {i})" for i, name in enumerate(FEATURES.columns[2:])}
TRAINING = TrainingOptions(horizon=2, n_jobs=1)
TREES = {"lightgbm": {"min_data_in_leaf": 20}, "xgboost": {"min_child_weight": 5}, "catboost": {}}


def _folds(**options):
    return make_folds(
        CANDLES["date"], FoldOptions(**{"train": "10d", "valid": "3d", "test": "5d"} | options), timeframe="1h"
    )


def _labels(candles=CANDLES):
    return build_labels(candles, LabelOptions(horizons=(2,)), timeframe="1h")


def _run(adapter, *, folds=None, labels=None, features=FEATURES, **options):
    options = parse_model_options({"adapter": adapter, "warm_start": True} | TREES.get(adapter, {}) | options)
    labels, folds = _labels() if labels is None else labels, _folds() if folds is None else folds
    return walk_forward(features, FACTORS, labels, folds, options, TRAINING, timeframe="1h", name="mine")


def _with_signal():
    future = _labels()["excess_2"].fillna(0.0).to_numpy()
    noise = np.random.default_rng(3).normal(0, future.std(), len(future))
    return FEATURES.assign(f0=(future + noise).astype(np.float32))


CALENDARS = [{}, {"expanding": True}, {"embargo": 7}, {"expanding": True, "embargo": 9}, {"valid": "8d", "test": "2d"}]


@pytest.mark.parametrize("calendar", CALENDARS, ids=str)
def test_what_a_fold_goes_on_from_has_seen_no_label_of_its_test_window(descent, calendar):
    folds, ends = _folds(**calendar), _labels()["label_end_2"]
    _run("toys.descent", folds=folds)
    assert len(descent.CALLS) == len(folds) >= 3
    seen = pd.Timestamp("1970-01-01", tz="UTC")
    for call, fold in zip(descent.CALLS, folds.to_dict("records"), strict=True):
        assert seen <= fold["test_start"]
        assert (call["init"] is None) == (fold["fold"] == 0)
        seen = max(seen, *(ends.iloc[call[window].rows].max() for window in ("train", "valid")))


def _moved(adapter, fold, **options):
    """Whether predictions of fold `fold` change with the prices after its validation window."""
    changed = _labels(scramble_after(CANDLES, _folds()["valid_end"].iloc[fold]))
    tables = [_run(adapter, labels=labels, **options)[1] for labels in (_labels(), changed)]
    first, second = (table.loc[table["fold"] == fold, "prediction"].to_numpy() for table in tables)
    return not np.array_equal(first, second)


NETWORK = {"network": "lstm", "hidden": 4, "lookback": 4, "chunk": 16, "epochs": 2, "seeds": 1}


@pytest.mark.parametrize("adapter", ["toys.descent", "torch", *TREES])
def test_a_fold_sees_nothing_of_what_comes_after_it(adapter):
    options = {"toys.descent": {}, "torch": NETWORK}.get(adapter, {"n_estimators": 8})
    assert not _moved(adapter, 1, **options)


def test_the_check_above_would_catch_folds_that_go_on_from_the_last_one(monkeypatch):
    def from_the_last(task, folds, report):
        *_, last = folds.to_dict("records")
        newest, _ = module.fit_and_predict(task, last, silent)
        return [module.fit_and_predict(task, fold, silent, newest) for fold in folds.to_dict("records")]

    monkeypatch.setattr(module, "_fit_in_turn", from_the_last)
    assert _moved("toys.descent", 1)


def test_folds_out_of_order_are_refused():
    folds = _folds()
    folds.loc[0, ["valid_start", "valid_end"]] = folds.loc[2, ["valid_start", "valid_end"]]
    with pytest.raises(ParameterError, match=r"models\.mine\.warm_start: .* test window of fold 1 starts at 2024"):
        _run("toys.descent", folds=folds)


@pytest.mark.parametrize("adapter", TREES)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_trees_are_put_on_top_of_those_of_the_fold_before(adapter, task):
    model, predictions = _run(adapter, features=_with_signal(), n_estimators=5, early_stopping=0, task=task)
    assert [_trees(adapter, part.model) for part in model.folds] == [5, 10, 15]
    assert model.fits()["steps"].tolist() == [5, 5, 5]
    rows = FEATURES.iloc[:50][list(FACTORS)].to_numpy()
    for earlier, later in pairwise(model.folds):
        whole = _first_trees(adapter, earlier.model, rows, _trees(adapter, earlier.model))
        part = _first_trees(adapter, later.model, rows, _trees(adapter, earlier.model))
        np.testing.assert_array_equal(whole, part)
        assert earlier.target_scale == later.target_scale, "what the older trees say would change its meaning"
    # the first fold has nothing to go on from
    cold = _run(adapter, features=_with_signal(), n_estimators=5, early_stopping=0, task=task, warm_start=False)[1]
    same = predictions["prediction"].to_numpy() == cold["prediction"].to_numpy()
    assert same[predictions["fold"] == 0].all()
    assert not same[predictions["fold"] > 0].all()


@pytest.mark.parametrize("adapter", TREES)
def test_early_stopping_counts_the_further_trees_only(adapter):
    model, _ = _run(adapter, features=_with_signal(), n_estimators=60, early_stopping=4, learning_rate=0.3)
    trees = [_trees(adapter, part.model) for part in model.folds]
    assert trees[0] > 4
    assert all(0 < later - earlier < 60 for earlier, later in pairwise(trees))


def test_a_warm_start_needs_fewer_steps_for_the_same(descent):
    features = _with_signal()
    cold, warm = (
        _run("toys.descent", features=features, epochs=3, warm_start=warm)[1].merge(_labels()) for warm in (False, True)
    )
    last = cold["fold"] == 2
    assert warm[last]["prediction"].corr(warm[last]["excess_2"]) > 0.4
    error = [((table["prediction"] - table["excess_2"])[last] ** 2).mean() for table in (cold, warm)]
    assert error[1] < 0.9 * error[0]


def test_an_adapter_that_cannot_says_so_before_anything_runs():
    with pytest.raises(ParameterError, match=r"warm_start is true, but models of adapter 'sklearn' cannot"):
        parse_model_options({"adapter": "sklearn", "warm_start": True})


def test_fits_say_how_they_went(descent):
    fits = _run("toys.descent", epochs=3)[0].fits()
    assert fits["fold"].tolist() == [0, 1, 2]
    assert fits["warm_start"].tolist() == [False, True, True]
    assert fits["steps"].tolist() == [3, 3, 3]
    assert fits["rows"].tolist() == [len(call["train"]) for call in descent.CALLS]
    assert fits["valid_rows"].tolist() == [len(call["valid"]) for call in descent.CALLS]
    assert (fits["seconds"] > 0).all()


def _trees(adapter, model):
    if adapter == "lightgbm":
        return model.num_trees()
    return model.num_boosted_rounds() if adapter == "xgboost" else model.tree_count_


def _first_trees(adapter, model, rows, n):
    if adapter == "lightgbm":
        return model.predict(rows, num_iteration=n)
    if adapter == "xgboost":
        return model.inplace_predict(rows, iteration_range=(0, n))
    return model.predict(rows, ntree_end=n)
