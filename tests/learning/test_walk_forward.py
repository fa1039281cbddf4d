import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import parse_model_options
from agent_market.errors import ModelError, ParameterError
from agent_market.evaluation import prediction_metrics
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.sampling import labelled_rows
from agent_market.learning.walk_forward import (
    TrainingOptions,
    compares_pairs,
    prediction_kind,
    target_column,
    walk_forward,
)
from agent_market.parallel import ComputeOptions, computing
from agent_market.schemas import Predictions
from agent_market.trading import decide_positions
from agent_market.trading.options import SignRule
from panels import random_candles, random_features, scramble_after

CANDLES = random_candles(4, 24 * 30)
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
TRAINING = TrainingOptions(horizon=2)
FEATURES = random_features(CANDLES)
FACTORS = {name: f"delay(close, {i})" for i, name in enumerate(FEATURES.columns[2:])}


KINDS = ("scaled", "class", "barrier", "rank")


def _labels(candles=CANDLES, kinds=(), horizon=2):
    options = LabelOptions(horizons=(horizon,), kinds=kinds, volatility_window=24)
    return build_labels(candles, options, timeframe="1h")


def _run(adapter="sklearn", *, features=FEATURES, labels=None, training=TRAINING, **options):
    options = parse_model_options({"adapter": adapter, **options})
    labels = _labels() if labels is None else labels
    return walk_forward(features, FACTORS, labels, FOLDS, options, training, timeframe="1h")


def _with_planted_signal(noise=4.0):
    labels = _labels()
    future = labels["excess_2"].fillna(0.0).to_numpy()
    added = np.random.default_rng(3).normal(0, noise * future.std(), len(future))
    return FEATURES.assign(f0=(future + added).astype(np.float32))


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
    training = TrainingOptions(horizon=2, n_jobs=2)
    threads = _run("lightgbm", n_estimators=20, training=training)[1]
    with computing(ComputeOptions(backend="loky")):
        processes = _run("lightgbm", n_estimators=20, training=training)[1]
    pd.testing.assert_frame_equal(threads, processes, check_exact=True)


def test_networks_are_the_same_whatever_is_fitted_beside_them():
    import torch

    threads = torch.get_num_threads()
    network = {"network": "lstm", "hidden": 4, "lookback": 4, "chunk": 16, "epochs": 2, "seeds": 2}
    first, *others = (_run("torch", training=TrainingOptions(horizon=2, n_jobs=jobs), **network)[1] for jobs in (1, 3))
    with computing(ComputeOptions(backend="loky")):
        others.append(_run("torch", training=TrainingOptions(horizon=2, n_jobs=2), **network)[1])
    for other in others:
        pd.testing.assert_frame_equal(first, other, check_exact=True)
    assert torch.get_num_threads() == threads


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
    from agent_market.learning import sampling as module
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
            model.predict(FEATURES, factors, "sane")
    with pytest.raises(ModelError, match=r"followed the rules 'sane' \(features.compat\) and now follow 'qlib'"):
        model.predict(FEATURES, FACTORS, "qlib")


def test_progress_is_reported_per_fold():
    seen = set()
    options = parse_model_options({"adapter": "lightgbm", "n_estimators": 5})
    walk_forward(
        FEATURES, FACTORS, _labels(), FOLDS, options, TRAINING, timeframe="1h",
        report=lambda fold, progress: seen.add((fold, progress.step, progress.steps)),
    )  # fmt: skip
    assert {(fold, 1, 5) for fold in range(3)} <= seen


@pytest.mark.parametrize("label", ["return", *KINDS])
def test_every_label_finds_a_planted_signal(label):
    labels = _labels(kinds=KINDS)
    training = TrainingOptions(horizon=2, label=label)
    model, predictions = _run(features=_with_planted_signal(), labels=labels, training=training)
    joined = predictions.merge(labels, on=["pair", "date"]).dropna(subset="return_2")
    assert joined["prediction"].corr(joined["excess_2"]) > 0.15
    assert model.importance().groupby("feature")["importance"].mean().idxmax() == "f0"
    assert predictions["kind"].unique().tolist() == ["return" if label == "return" else "score"]
    # predictions are in units of the label: theirs vary less than what they foretell, and not by orders of magnitude
    ratio = predictions["prediction"].std() / labels[model.target].std()
    assert 0.05 < ratio < 1.0


def test_the_target_is_what_training_label_says():
    labels = _labels(kinds=KINDS)
    ridge, up = (parse_model_options({"adapter": "sklearn", "task": task}) for task in ("regression", "classification"))
    expected = {"scaled": "scaled_excess_2", "class": "class_2", "barrier": "barrier_2", "rank": "rank_2"}
    for label, column in expected.items():
        training = TrainingOptions(horizon=2, label=label)
        assert target_column(labels, ridge, training) == column
        assert target_column(labels, up, training) == "up_2"
        with pytest.raises(ParameterError, match=rf"no label {label}_2.*labels\.kinds"):
            target_column(_labels(), ridge, training)
    plain = TrainingOptions(horizon=2, label="scaled", demean=False)
    assert target_column(labels, ridge, plain) == "scaled_2"
    two_pairs = _labels(random_candles(2, 100), kinds=KINDS)
    assert target_column(two_pairs, ridge, TrainingOptions(horizon=2, label="scaled")) == "scaled_2"
    with pytest.raises(ParameterError, match="three pairs"):
        target_column(two_pairs, ridge, TrainingOptions(horizon=2, label="rank"))


def test_only_returns_are_called_returns():
    kinds = {name: prediction_kind(f"{name}_12") for name in ("return", "excess", "up", "scaled_excess", *KINDS)}
    assert kinds.pop("up") == "probability"
    assert kinds.pop("return") == kinds.pop("excess") == "return"
    assert set(kinds.values()) == {"score"}
    relative = [name for name in ("return", "excess", "up", "scaled_excess", *KINDS) if compares_pairs(f"{name}_12")]
    assert relative == ["excess", "scaled_excess", "rank"]


def _by_hand(labels, fold, column, end, weigh=None):
    """Ridge regression of one fold with scikit-learn alone: predictions of its test rows."""
    from sklearn.linear_model import Ridge

    table = FEATURES.assign(y=labels[column], end=labels[end], w=1.0)
    train = table[(table["date"] >= fold["train_start"]) & (table["end"] <= fold["train_end"])].dropna().copy()
    if weigh:
        train["w"] = weigh(train)
    test = table[(table["date"] >= fold["test_start"]) & (table["date"] < fold["test_end"])]
    X, scale = train[list(FACTORS)].to_numpy(float), train["y"].std(ddof=0)
    low, high = np.quantile(X, [0.005, 0.995], axis=0)
    mean, deviation = np.clip(X, low, high).mean(axis=0), np.clip(X, low, high).std(axis=0)

    def prepared(X):
        return (np.clip(X, low, high) - mean) / deviation

    target = (train["y"] / scale).clip(-4, 4)
    model = Ridge(alpha=1000.0).fit(prepared(X), target, sample_weight=train["w"])
    return model.predict(prepared(test[list(FACTORS)].to_numpy(float))) * scale


@pytest.mark.parametrize(("label", "column", "end"), [
    ("return", "excess_2", "label_end_2"), ("rank", "rank_2", "label_end_2"),
    ("barrier", "barrier_2", "label_end_barrier_2"),
])  # fmt: skip
def test_predictions_equal_a_regression_by_hand(label, column, end):
    labels = _labels(kinds=KINDS)
    _, predictions = _run(labels=labels, training=TrainingOptions(horizon=2, label=label))
    for fold in FOLDS.to_dict("records"):
        found = predictions.loc[predictions["fold"] == fold["fold"], "prediction"]
        np.testing.assert_allclose(found, _by_hand(labels, fold, column, end), rtol=1e-3, atol=1e-6)


def test_weights_by_recency_equal_a_regression_by_hand():
    labels = _labels()
    training = TrainingOptions(horizon=2, weights="recency", half_life="3d")
    _, predictions = _run(labels=labels, training=training)

    def weigh(train):
        weight = 2.0 ** ((train["date"] - train["date"].max()) / pd.Timedelta(days=3))
        return weight / weight.mean()

    fold = FOLDS.iloc[1]
    found = predictions.loc[predictions["fold"] == 1, "prediction"]
    np.testing.assert_allclose(found, _by_hand(labels, fold, "excess_2", "label_end_2", weigh), rtol=1e-3, atol=1e-6)
    assert not np.allclose(found, _by_hand(labels, fold, "excess_2", "label_end_2"), rtol=1e-3, atol=1e-6)


HOW = [{"weights": "uniqueness", "label": "barrier"}, {"weights": "recency"}, {"stride": 3}, {"bootstrap": True}]


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("how", HOW, ids=["uniqueness", "recency", "stride", "bootstrap"])
def test_every_adapter_takes_every_weight_and_sample(adapter, how):
    labels, features = _labels(kinds=("barrier",), horizon=4), _with_planted_signal(noise=0.5)
    trees = {} if adapter == "sklearn" else {"n_estimators": 60, "early_stopping": 0, "seed": 3}
    trees |= {"min_child_weight": 5} if adapter == "xgboost" else {}
    trees |= {"min_data_in_leaf": 20} if adapter == "lightgbm" else {}
    trees |= {"alpha": 50} if adapter == "sklearn" else {}

    def run(**how):
        return _run(adapter, features=features, labels=labels, training=TrainingOptions(horizon=4, **how), **trees)[1]

    found = run(**how)
    joined = found.merge(labels, on=["pair", "date"]).dropna(subset="excess_4")
    assert joined["prediction"].corr(joined["excess_4"]) > 0.25
    pd.testing.assert_frame_equal(found, run(**how))
    plain = run(label=how.get("label", "return"))
    assert not np.allclose(found["prediction"], plain["prediction"])


def test_a_sample_is_of_training_rows_and_depends_on_the_models_seed():
    training = TrainingOptions(horizon=2, bootstrap=True)
    first, again, other = (_run(training=training, seed=seed)[1] for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["prediction"], other["prediction"])
    assert len(first) == len(_run()[1])


def test_a_row_that_is_drawn_more_often_weighs_more(monkeypatch):
    from agent_market.learning import walk_forward as module

    monkeypatch.setattr(module, "bootstrap", lambda rows, uniqueness, *, seed: (rows, rows % 3 + 1.0))
    labels, fold = _labels(), FOLDS.iloc[1]
    _, predictions = _run(labels=labels, training=TrainingOptions(horizon=2, bootstrap=True))
    found = predictions.loc[predictions["fold"] == 1, "prediction"]
    by_hand = _by_hand(labels, fold, "excess_2", "label_end_2", lambda train: train.index % 3 + 1.0)
    np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-6)
    both = TrainingOptions(horizon=2, bootstrap=True, weights="recency", half_life="2d")
    assert not np.allclose(found, _run(labels=labels, training=both)[1].query("fold == 1")["prediction"], rtol=1e-3)


def test_uniqueness_counts_once():
    with pytest.raises(ValueError, match="bootstrap draws rows by uniqueness already"):
        TrainingOptions(bootstrap=True, weights="uniqueness")


@pytest.mark.parametrize("how", [{"label": label} for label in KINDS] + HOW, ids=str)
def test_no_label_or_weight_lets_a_fold_see_what_comes_after(how):
    fold = FOLDS.iloc[0]
    training = TrainingOptions(horizon=2, **how)
    before = _run(labels=_labels(kinds=KINDS), training=training)[1]
    changed = _labels(scramble_after(CANDLES, fold["valid_end"]), kinds=KINDS)
    after = _run(labels=changed, training=training)[1]
    pd.testing.assert_series_equal(
        before.loc[before["fold"] == 0, "prediction"], after.loc[after["fold"] == 0, "prediction"], check_exact=True
    )
    assert not np.allclose(before.loc[before["fold"] == 2, "prediction"], after.loc[after["fold"] == 2, "prediction"])


def test_the_check_above_would_catch_a_barrier_purged_by_another_labels_end():
    labels = _labels(kinds=KINDS, horizon=8)
    tensor = FeatureTensor.from_frame(FEATURES, timeframe="1h")
    window = FOLDS["train_start"].iloc[0], FOLDS["train_end"].iloc[0]
    changed = _labels(scramble_after(CANDLES, window[1]), kinds=KINDS, horizon=8)
    early = labels.assign(label_end_barrier_8=labels["label_end_barrier_8"] - pd.Timedelta("4h"))
    for table, moved in ((labels, False), (early, True)):
        rows = labelled_rows(tensor, table, "barrier_8", "label_end_barrier_8", *window)
        same = labels["barrier_8"].iloc[rows].equals(changed["barrier_8"].iloc[rows])
        assert same is not moved


def test_a_score_is_measured_by_order_and_sign_and_traded_from_0():
    labels = _labels(kinds=("rank",))
    features = _with_planted_signal(noise=1.0)
    _, predictions = _run(features=features, labels=labels, training=TrainingOptions(horizon=2, label="rank"))
    Predictions.validate(predictions)
    metrics = prediction_metrics(predictions, labels, horizon=2, demeaned=compares_pairs("rank_2"))
    assert metrics["kind"] == "score"
    assert metrics["rank_ic"] > 0.2
    assert metrics["hit_rate"] > 0.55
    assert metrics["r2_oos"] is None  # a rank less a return is nothing
    assert metrics["r2"] is None
    positions = decide_positions(predictions, SignRule(), allow_short=True)
    np.testing.assert_array_equal(positions["position"], np.sign(predictions["prediction"]))
