import json

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import ModelError, ParameterError
from agent_market.factors.files import read_features_file
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.selection import (
    SelectionOptions,
    correlation,
    mutual_info,
    score_features,
    summarize_scores,
)
from agent_market.learning.walk_forward import TrainingOptions
from panels import random_candles, random_features, scramble_after
from projects import kedro, only_version

CANDLES = random_candles(3, 24 * 30)
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
TRAINING = TrainingOptions(horizon=2)
OPTIONS = SelectionOptions(model={"adapter": "lightgbm", "n_estimators": 30, "min_data_in_leaf": 20}, max_rows=500)
SCORES = ["correlation", "mutual_info", "importance"]


def _labels(candles=CANDLES):
    return build_labels(candles, LabelOptions(horizons=(2,), kinds=("barrier",), volatility_window=24), timeframe="1h")


def _features():
    """f0 is the label with noise, f1 its size, f2 never varies, f3 is half missing, f4 is nothing."""
    future = _labels()["excess_2"].fillna(0.0).to_numpy()
    noise = np.random.default_rng(1).normal(0, 0.5 * future.std(), (2, len(future)))
    features = random_features(CANDLES)
    return features.assign(
        f0=(future + noise[0]).astype("float32"),
        f1=(np.abs(future) + 0.3 * noise[1]).astype("float32"),
        f2=np.float32(1.5),
        f3=features["f3"].where(features.index % 2 == 0),
    )


FEATURES = _features()


def _scores(features=FEATURES, labels=None, *, training=TRAINING, options=OPTIONS, folds=FOLDS):
    labels = _labels() if labels is None else labels
    return score_features(features, labels, folds, training, options, timeframe="1h")


def test_correlation_equals_pandas_on_the_training_rows():
    labels = _labels()
    table = FEATURES.assign(y=labels["excess_2"], end=labels["label_end_2"])
    found = _scores(options=OPTIONS.model_copy(update={"scores": ("correlation",)}))
    for fold in FOLDS.to_dict("records"):
        train = table[(table["date"] >= fold["train_start"]) & (table["end"] <= fold["train_end"])]
        here = found[found["fold"] == fold["fold"]].set_index("feature")
        assert (here["n_rows"] == len(train)).all()
        for name in ("f0", "f1", "f3", "f4"):
            assert here.loc[name, "correlation"] == pytest.approx(train[name].corr(train["y"]), abs=1e-6)
        assert np.isnan(here.loc["f2", "correlation"])
    assert found[["mutual_info", "importance"]].isna().all(axis=None)


def test_mutual_information_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    for rho in (0.0, 0.6, 0.9):
        x, e = rng.normal(size=(2, 4000))
        y = rho * x + np.sqrt(1 - rho**2) * e
        found = mutual_info(x[:, None], y, discrete=False, seed=0)[0]
        assert found == pytest.approx(-0.5 * np.log(1 - rho**2), abs=0.03)


def test_mutual_information_with_classes_is_that_of_the_table():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 4000)
    found = mutual_info(np.c_[x, rng.normal(size=4000)], np.sign(x), discrete=True, seed=0)
    assert found == pytest.approx([np.log(2), 0.0], abs=0.03)


def test_a_feature_without_a_linear_share_is_found_by_mutual_information():
    mean = summarize_scores(_scores()).set_index("name")
    assert mean["correlation"].abs().idxmax() == "f0"
    assert mean.loc["f0", "correlation"] > 0.7
    assert abs(mean.loc["f1", "correlation"]) < 0.2
    assert set(mean["mutual_info"].nlargest(2).index) == {"f0", "f1"}
    assert mean.loc["f1", "mutual_info"] > 5 * mean.loc["f4", "mutual_info"]
    assert mean["importance"].idxmax() == "f0"
    assert mean.loc["f2", "importance"] == 0.0
    assert mean["importance"].sum() == pytest.approx(1.0)
    assert np.isnan(mean.loc["f2", "mutual_info"])


def test_the_summary_has_the_mean_and_spread_over_folds():
    scores = pd.DataFrame(
        {
            "fold": [0, 0, 1, 1],
            "feature": ["b", "a", "b", "a"],
            "correlation": [0.1, 0.2, 0.3, 0.2],
            "mutual_info": [1.0, np.nan, 3.0, 2.0],
            "importance": [0.5, 0.5, 0.5, 0.5],
            "n_rows": 10,
        }
    )
    table = summarize_scores(scores)
    assert table["name"].tolist() == ["b", "a"]
    np.testing.assert_allclose(table["correlation"], [0.2, 0.2])
    np.testing.assert_allclose(table["correlation_std"], [np.sqrt(0.02), 0.0], atol=1e-15)
    np.testing.assert_allclose(table["mutual_info"], [2.0, 2.0])
    assert table["folds"].tolist() == [2, 2]
    assert table.columns[:3].tolist() == ["name", "correlation", "correlation_std"]


def test_the_same_seed_gives_the_same_scores_and_another_draws_other_rows():
    first, again = _scores(), _scores()
    pd.testing.assert_frame_equal(first, again)
    other = _scores(options=OPTIONS.model_copy(update={"seed": 1}))
    assert not np.allclose(first["mutual_info"], other["mutual_info"], equal_nan=True)
    pd.testing.assert_series_equal(first["correlation"], other["correlation"])


@pytest.mark.parametrize("label", ["return", "barrier"])
def test_a_folds_scores_know_nothing_after_its_training_window(label):
    cut = FOLDS["train_end"].iloc[0]
    training = TrainingOptions(horizon=2, label=label)
    before = _scores(training=training)
    features = FEATURES.copy()
    features.loc[features["date"] >= cut, "f0":] *= np.float32(-7.0)
    after = _scores(features, _labels(scramble_after(CANDLES, cut)), training=training)
    first = before["fold"] == 0
    pd.testing.assert_frame_equal(before[first], after[first], check_exact=True)
    for score in SCORES:
        assert not np.allclose(before.loc[~first, score], after.loc[~first, score], equal_nan=True)


def test_the_check_above_would_catch_rows_that_are_not_purged(monkeypatch):
    from agent_market.learning import sampling
    from agent_market.learning.folds import test_rows

    monkeypatch.setattr(sampling, "training_rows", lambda dates, label_end, start, end: test_rows(dates, start, end))
    changed = _labels(scramble_after(CANDLES, FOLDS["train_end"].iloc[0]))
    found = [_scores(labels=labels).query("fold == 0") for labels in (_labels(), changed)]
    for score in SCORES:
        assert not np.allclose(found[0][score], found[1][score], equal_nan=True)


def test_any_adapter_gives_the_importance():
    options = SelectionOptions(scores=("importance",), model={"adapter": "sklearn"})
    features = FEATURES.fillna({"f3": 0.0})
    table = summarize_scores(_scores(features, options=options)).set_index("name")
    assert table["importance"].idxmax() == "f0"
    assert table["importance"].sum() == pytest.approx(1.0)


def test_a_stride_scores_on_fewer_rows():
    whole, part = _scores(), _scores(training=TrainingOptions(horizon=2, stride=4))
    assert whole["n_rows"].iloc[0] == pytest.approx(4 * part["n_rows"].iloc[0], rel=0.03)


def test_too_few_rows_and_a_wrong_model_are_errors():
    with pytest.raises(ModelError, match=r"fold 0 has \d+ training rows with excess_2.*folds\.train"):
        _scores(training=TrainingOptions(horizon=2, stride=200))
    with pytest.raises(ParameterError, match="no label return_9"):
        _scores(training=TrainingOptions(horizon=9))
    with pytest.raises(ValueError, match=r"Did you mean lightgbm\?"):
        SelectionOptions(model={"adapter": "lightgmb"})


def test_correlation_leaves_out_what_is_missing():
    x = np.array([[1.0, np.nan], *([float(i % 5), 1.0] for i in range(40))])
    y = np.r_[100.0, np.arange(40) % 5]
    assert correlation(x[1:], y[1:])[0] == pytest.approx(1.0)
    assert np.isnan(correlation(x, y)[1])


def test_a_run_stores_the_scores_where_they_are_asked_for(tmp_path):
    parameters = "selection.enabled=true,selection.max_rows=200,training.label=rank"
    run = kedro(
        "run", "--env", "test", "--pipelines", "data_engineering,feature_store", "--params", parameters, data=tmp_path
    )
    assert run.returncode == 0, run.stdout + run.stderr
    scores = pd.read_parquet(only_version(tmp_path, "08_reporting/feature_scores.parquet"))
    by_fold = pd.read_parquet(only_version(tmp_path, "08_reporting/feature_scores_by_fold.parquet"))
    features = json.loads((only_version(tmp_path, "04_feature/features") / "panel.json").read_text())["columns"]
    assert scores["name"].tolist() == [name for name in features if name not in ("pair", "date")]
    assert len(by_fold) == len(scores) * scores["folds"].iloc[0]
    assert scores[SCORES].notna().mean().min() > 0.9
    file = read_features_file(only_version(tmp_path, "08_reporting/freqai_features.json"))
    written = file.rows.set_index("name")
    assert file.rejected.empty
    assert file.factors == {
        name: json.loads(only_version(tmp_path, "04_feature/factors.json").read_text())["factors"][name]
        for name in written.index
    }
    assert set(written.index) == set(scores["name"])
    assert written["score"].abs().is_monotonic_decreasing
    for score in SCORES:
        known = scores.set_index("name")[score].dropna()
        assert written.loc[list(known.index), score].tolist() == known.tolist()
    assert "rank_12" in pd.read_parquet(only_version(tmp_path, "04_feature/labels.parquet"))
