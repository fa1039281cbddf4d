import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import parse_model_options
from agent_market.errors import ModelError, ParameterError
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, target_column, walk_forward
from panels import random_candles, random_features, scramble_after

CANDLES = random_candles(4, 24 * 30)
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
TRAINING = TrainingOptions(horizon=2)
FEATURES = random_features(CANDLES)
FACTORS = {name: f"delay(close, {i})" for i, name in enumerate(FEATURES.columns[2:])}


def _labels(candles=CANDLES):
    return build_labels(candles, LabelOptions(horizons=(2,)), timeframe="1h")


def _run(adapter="sklearn", *, features=FEATURES, labels=None, training=TRAINING, **options):
    options = parse_model_options({"adapter": adapter, **options})
    labels = _labels() if labels is None else labels
    return walk_forward(features, FACTORS, labels, FOLDS, options, training, timeframe="1h")


def _with_planted_signal():
    labels = _labels()
    future = labels["excess_2"].fillna(0.0).to_numpy()
    noise = np.random.default_rng(3).normal(0, 4 * future.std(), len(future))
    return FEATURES.assign(f0=(future + noise).astype(np.float32))


def test_predictions_cover_the_test_windows_and_nothing_else():
    _, predictions = _run()
    assert len(FOLDS) == 3
    expected = CANDLES[(CANDLES["date"] >= FOLDS["test_start"].min()) & (CANDLES["date"] < FOLDS["test_end"].max())]
    pd.testing.assert_frame_equal(
        predictions[["pair", "date"]],
        expected[["pair", "date"]].reset_index(drop=True),
        check_categorical=False,
    )
    assert predictions["kind"].unique().tolist() == ["return"]


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_every_adapter_finds_a_planted_signal(adapter, task):
    # A few hundred validation rows are too few to stop early by.
    trees = {} if adapter == "sklearn" else {"n_estimators": 60, "early_stopping": 0}
    trees |= {"min_child_weight": 20} if adapter == "xgboost" else {}
    model, predictions = _run(adapter, task=task, features=_with_planted_signal(), **trees)
    joined = predictions.merge(_labels(), on=["pair", "date"]).dropna()
    assert joined["prediction"].corr(joined["return_2"]) > 0.1
    if task == "classification":
        assert predictions["prediction"].between(0, 1).all()
    importance = model.importance()
    np.testing.assert_allclose(importance.groupby("fold")["importance"].sum(), 1.0)
    assert importance.groupby("feature")["importance"].mean().idxmax() == "f0"


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm", "xgboost", "catboost"])
def test_the_same_seed_gives_the_same_predictions_whatever_the_number_of_jobs(adapter):
    runs = [_run(adapter, training=TrainingOptions(horizon=2, n_jobs=jobs))[1] for jobs in (1, 2, 2)]
    for other in runs[1:]:
        pd.testing.assert_frame_equal(runs[0], other)


def test_processes_give_the_same_predictions_as_threads():
    threads, processes = (
        _run("lightgbm", n_estimators=20, training=TrainingOptions(horizon=2, backend=backend, n_jobs=2))[1]
        for backend in ("threading", "loky")
    )
    pd.testing.assert_frame_equal(threads, processes)


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm", "xgboost", "catboost"])
def test_a_folds_model_sees_nothing_after_its_validation_window(adapter):
    fold = FOLDS.iloc[0]
    before = _run(adapter)[1]
    # The open of the candle at `valid_end` is the last thing that a validation label may know.
    labels = _labels(scramble_after(CANDLES, fold["valid_end"]))
    features = FEATURES.copy()
    features.loc[FEATURES["date"] >= fold["test_end"], list(FACTORS)] *= -7.0
    after = _run(adapter, features=features, labels=labels)[1]
    assert (before["fold"] == 0).any()
    pd.testing.assert_series_equal(
        before.loc[before["fold"] == 0, "prediction"], after.loc[after["fold"] == 0, "prediction"]
    )
    assert not np.allclose(before.loc[before["fold"] == 2, "prediction"], after.loc[after["fold"] == 2, "prediction"])


def test_the_check_above_would_catch_training_rows_that_are_not_purged(monkeypatch):
    from agent_market.learning import walk_forward as module
    from agent_market.learning.folds import test_rows

    def unpurged(dates, label_end, start, end):
        return test_rows(dates, start, end)

    monkeypatch.setattr(module, "training_rows", unpurged)
    cut = FOLDS["train_end"].iloc[0]
    changed = _labels(scramble_after(CANDLES, cut))
    first = [_run(labels=labels)[1].query("fold == 0")["prediction"] for labels in (_labels(), changed)]
    assert not np.allclose(*first)


def test_a_constant_label_is_an_error_that_names_fold_and_label():
    flat = CANDLES.assign(open=50.0)
    with pytest.raises(ModelError, match=r"excess_2 is constant \(0\).*fold \d"):
        _run(labels=_labels(flat))


def test_a_fold_without_training_rows_is_an_error():
    features = FEATURES.copy()
    features.loc[features["date"] < FOLDS["train_end"].iloc[0], list(FACTORS)] = np.nan
    with pytest.raises(ModelError, match=r"fold 0 has 0 training rows.*folds\.train"):
        _run(features=features)


def test_a_horizon_without_label_is_an_error():
    with pytest.raises(ParameterError, match=r"training\.horizon is 5.*labels\.horizons are \[2\]"):
        _run(training=TrainingOptions(horizon=5))


def test_the_target_is_the_excess_where_there_are_three_pairs():
    options = parse_model_options({"adapter": "sklearn"})
    two = _labels(random_candles(2, 100))
    assert target_column(_labels(), options, TRAINING) == "excess_2"
    assert target_column(two, options, TRAINING) == "return_2"
    assert target_column(_labels(), options, TrainingOptions(horizon=2, demean=False)) == "return_2"
    with pytest.raises(ParameterError, match="three pairs"):
        target_column(two, options, TrainingOptions(horizon=2, demean=True))


def test_a_model_asked_about_other_features_says_which():
    model, _ = _run()
    cases = {
        "f4 is missing": {k: v for k, v in FACTORS.items() if k != "f4"},
        "extra is new": FACTORS | {"extra": "close"},
        r"f1 was delay\(close, 1\) and is now delay\(close, 9\)": FACTORS | {"f1": "delay(close, 9)"},
        "the order was": dict(reversed(FACTORS.items())),
    }
    for message, factors in cases.items():
        with pytest.raises(ModelError, match=message):
            model.predict(FEATURES, factors)


def test_progress_is_reported_per_fold():
    seen = set()
    options = parse_model_options({"adapter": "lightgbm", "n_estimators": 5})
    walk_forward(
        FEATURES, FACTORS, _labels(), FOLDS, options, TRAINING, timeframe="1h",
        report=lambda fold, progress: seen.add((fold, progress.step, progress.steps)),
    )  # fmt: skip
    assert {(fold, 1, 5) for fold in range(3)} <= seen
