import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import parse_model_options
from agent_market.learning.attribution import AttributionOptions, attribute, prediction_drift, spread_rows
from agent_market.learning.curves import learning_curve
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from panels import random_candles, random_features

CANDLES = random_candles(4, 24 * 30)
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
LABELS = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
FACTORS = {f"f{i}": f"delay(close, {i})" for i in range(5)}
OPTIONS = AttributionOptions(rows=200, permuted_rows=100)
FEW_TREES = {"n_estimators": 30, "early_stopping": 0}
SMALL = {"epochs": 5, "patience": 0, "seeds": 1, "hidden": 8, "learning_rate": 0.01, "batch_size": 64}


def planted():
    """Features of which f0 foretells the label, upside down."""
    future = LABELS["excess_2"].fillna(0.0).to_numpy()
    added = np.random.default_rng(3).normal(0, future.std(), len(future))
    return random_features(CANDLES).assign(f0=-(future + added).astype(np.float32))


FEATURES = planted()


def trained(adapter, **options):
    options = parse_model_options({"adapter": adapter, **options})
    training = TrainingOptions(horizon=2, n_jobs=1)
    return walk_forward(FEATURES, FACTORS, LABELS, FOLDS, options, training, timeframe="1h")


@pytest.mark.parametrize(
    ("adapter", "options", "method"),
    [
        ("sklearn", {}, "coefficient"),
        ("lightgbm", FEW_TREES, "shap"),
        ("xgboost", FEW_TREES | {"min_child_weight": 20}, "shap"),
        ("catboost", FEW_TREES, "shap"),
        ("lightgbm", FEW_TREES | {"task": "classification"}, "shap"),
        ("torch", SMALL | {"network": "mlp"}, "permutation"),
        ("torch", SMALL | {"network": "lstm", "lookback": 4, "chunk": 32}, "permutation"),
    ],
)
def test_the_feature_that_foretells_is_found_in_each_fold_and_its_direction_told(adapter, options, method):
    model, _ = trained(adapter, **options)
    table = attribute(model, FEATURES, FOLDS, OPTIONS)
    assert table["method"].unique().tolist() == [method]
    np.testing.assert_allclose(table.groupby("fold")["share"].sum(), 1.0)
    strongest = table.loc[table.groupby("fold")["share"].idxmax()]
    assert strongest["feature"].tolist() == ["f0"] * len(FOLDS)
    assert (strongest["share"] > 0.4).all()
    if method == "permutation":
        assert table["direction"].isna().all()
    else:
        assert (strongest["direction"] < -0.8).all()
    pd.testing.assert_frame_equal(table, attribute(model, FEATURES, FOLDS, OPTIONS))


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm", "xgboost", "catboost"])
def test_contributions_and_a_constant_are_the_prediction(adapter):
    model, _ = trained(adapter, **({} if adapter == "sklearn" else FEW_TREES))
    part = model.folds[0]
    samples = part.samples(FeatureTensor.from_frame(FEATURES, timeframe="1h"), np.arange(50, 300))
    rest = model.adapter.predict(part.model, samples) - model.adapter.contributions(part.model, samples).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-6)
    assert np.ptp(model.adapter.predict(part.model, samples)) > 0.01


def test_shap_values_are_the_shapley_values_of_a_tree_of_two_features():
    import lightgbm

    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2)).astype(np.float32)
    y = 2.0 * (X[:, 0] > 0.0) + 1.0 * (X[:, 1] > 0.0)
    options = parse_model_options(
        {"adapter": "lightgbm", "num_leaves": 4, "feature_fraction": 1.0, "bagging_fraction": 1.0}
        | {"lambda_l2": 0.0, "learning_rate": 1.0, "n_estimators": 1, "min_data_in_leaf": 10, "early_stopping": 0}
    )
    from agent_market.adapters import lightgbm as adapter

    model = lightgbm.train(adapter._params(options), lightgbm.Dataset(X, y), 1)
    frame = pd.DataFrame({"pair": pd.Categorical(["A"] * 4000), "date": pd.date_range("2024", periods=4000, freq="h")})
    tensor = FeatureTensor.from_frame(frame.assign(a=X[:, 0], b=X[:, 1]), timeframe="1h")
    from agent_market.learning.samples import Samples

    found = adapter.contributions(model, Samples(tensor, np.arange(4000)))
    share = (X > 0.0).mean(axis=0)
    by_hand = np.column_stack([2.0 * ((X[:, 0] > 0) - share[0]), 1.0 * ((X[:, 1] > 0) - share[1])])
    np.testing.assert_allclose(found, by_hand, atol=0.03)


def test_attribution_looks_at_test_rows_only_and_the_future_does_not_change_the_past():
    model, _ = trained("lightgbm", **FEW_TREES)
    table = attribute(model, FEATURES, FOLDS, OPTIONS)
    outside = FEATURES["date"] < FOLDS["test_start"].iloc[0]
    changed = FEATURES.copy()
    changed.loc[outside, list(FACTORS)] = 9.0
    pd.testing.assert_frame_equal(attribute(model, changed, FOLDS, OPTIONS), table)
    changed.loc[changed["date"] >= FOLDS["test_start"].iloc[-1], list(FACTORS)] = 9.0
    after = attribute(model, changed, FOLDS, OPTIONS)
    last = FOLDS["fold"].iloc[-1]
    pd.testing.assert_frame_equal(after[after["fold"] != last], table[table["fold"] != last])
    assert not after[after["fold"] == last].equals(table[table["fold"] == last])


def test_rows_are_drawn_by_date_with_all_pairs_and_not_of_one_hour_only():
    date = pd.DatetimeIndex(FEATURES["date"])
    rows = spread_rows(date, np.arange(len(date)), 400)
    assert len(rows) == 400
    assert date[rows].value_counts().unique().tolist() == [4]
    assert date[rows].hour.nunique() > 20
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_predictions_that_move_are_told_from_those_that_do_not(shift):
    model, predictions = trained("sklearn")
    moved = FEATURES.assign(f0=FEATURES["f0"] + np.float32(shift))
    said = model.predict(moved, FACTORS, "sane")["prediction"].to_numpy()
    where = predictions.set_index(["pair", "date"]).index
    shifted = pd.Series(said, index=pd.MultiIndex.from_frame(FEATURES[["pair", "date"]])).loc[where].to_numpy()
    table = predictions.assign(prediction=np.where(shift, shifted, predictions["prediction"]))
    drift = prediction_drift(model, FEATURES, table, FOLDS)
    assert drift["fold"].tolist() == FOLDS["fold"].tolist()
    assert (drift["psi"] > 0.25).all() if shift else (drift["psi"] < 0.25).all()


def test_a_learning_curve_has_each_epoch_of_each_seed_and_trees_have_none():
    model, _ = trained("torch", **(SMALL | {"seeds": 2, "network": "mlp"}))
    curve = learning_curve(model)
    assert curve.groupby(["fold", "seed"])["step"].apply(list).tolist() == [[1, 2, 3, 4, 5]] * 2 * len(FOLDS)
    assert curve[["loss", "ic"]].notna().all(axis=None)
    assert curve["gain"].isna().all()
    assert learning_curve(trained("sklearn")[0]).empty
