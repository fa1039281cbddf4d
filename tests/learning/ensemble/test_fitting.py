import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import get_adapter, parse_model_options
from agent_market.errors import DataError, ModelError
from agent_market.evaluation import prediction_metrics
from agent_market.learning.ensemble import MemberRun, blend_models
from agent_market.learning.ensemble import fitting as module
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.model_folder import load_model, save_model
from agent_market.learning.validation import predict_validation
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.schemas import Predictions, ValidationPredictions
from panels import random_candles, random_features, scramble_after

CANDLES = random_candles(4, 24 * 34)
LABELS = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="4d", test="5d"), timeframe="1h")
TRAINING = TrainingOptions(horizon=2)
FUTURE = LABELS["excess_2"].fillna(0.0).to_numpy()
RNG = np.random.default_rng(1)
FEATURES = random_features(CANDLES).assign(
    f0=(FUTURE + RNG.normal(0, 3 * FUTURE.std(), len(FUTURE))).astype("float32"),
    f1=(FUTURE + RNG.normal(0, 5 * FUTURE.std(), len(FUTURE))).astype("float32"),
)
FACTORS = {name: f"delay(close, {i})" for i, name in enumerate(FEATURES.columns[2:])}
METHODS = ("mean", "rank_mean", "ic_weights", "stacking", "diverse")
MEMBERS = {
    "ridge": {"adapter": "sklearn"},
    "trees": {"adapter": "lightgbm", "n_estimators": 30},
    "up": {"adapter": "lightgbm", "n_estimators": 30, "task": "classification"},
}


def member(name, block, labels=LABELS, features=FEATURES):
    model, predictions = walk_forward(
        features, FACTORS, labels, FOLDS, parse_model_options(block), TRAINING, timeframe="1h"
    )
    return MemberRun(name, model, predictions, predict_validation(model, features, FACTORS, "sane", FOLDS))


@pytest.fixture(scope="module")
def runs():
    return [member(name, block) for name, block in MEMBERS.items()]


def blended(runs, labels=LABELS, **options):
    block = {"adapter": "ensemble", "members": [run.name for run in runs], **options}
    return blend_models(runs, labels, FOLDS, parse_model_options(block), TRAINING)


def test_validation_predictions_cover_the_validation_windows_and_nothing_else(runs):
    for run in runs:
        ValidationPredictions.validate(run.validation)
        dates = run.validation.groupby("fold")["date"]
        windows = FOLDS.set_index("fold")
        assert (dates.min() == windows["valid_start"]).all()
        assert (dates.max() == windows["valid_end"] - pd.Timedelta("1h")).all()


@pytest.mark.parametrize("evidence", ["validation", "tested"])
@pytest.mark.parametrize("method", METHODS)
def test_an_ensemble_predicts_the_rows_of_its_members_and_comes_back_from_disk_as_it_was(
    runs, tmp_path, method, evidence
):
    model, predictions, weights = blended(runs, method=method, evidence=evidence)
    Predictions.validate(predictions)
    keys = ["pair", "date", "fold"]
    pd.testing.assert_frame_equal(predictions[keys], runs[0].predictions[keys])
    np.testing.assert_allclose(weights.groupby("fold")["weight"].sum(), 1.0)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    for fold, table in predictions.groupby("fold"):
        known = again.predict(FEATURES, FACTORS, "sane", fold=fold).merge(table, on=["pair", "date"])
        np.testing.assert_array_equal(known["prediction_x"], known["prediction_y"])
    assert again.describe() == model.describe()


def test_members_that_know_different_things_know_more_together():
    apart = [
        member(name, {"adapter": "sklearn"}, features=FEATURES.assign(**{other: np.float32(0)}))
        for name, other in (("first", "f1"), ("second", "f0"))
    ]
    _, predictions, _ = blended(apart, method="mean")
    found = [
        prediction_metrics(table, LABELS, horizon=2, demeaned=True)["rank_ic"]
        for table in (predictions, apart[0].predictions, apart[1].predictions)
    ]
    assert found[0] > max(found[1:]) > 0.1


def test_the_evidence_of_a_fold_is_known_before_its_test_window(runs):
    tested = blended(runs, method="mean", evidence="tested")[2].groupby("fold")["rows"].first()
    per_day = 4 * 24
    # Labels of horizon 2 end three candles later: the last two rows of each pair are not known in time.
    assert tested.tolist() == [days * per_day - 8 for days in (4, 5, 10, 15)]
    validated = blended(runs, method="mean")[2].groupby("fold")["rows"].first()
    assert validated.tolist() == [4 * per_day - 8] * 4


CHANGING = [{"method": method} for method in ("ic_weights", "stacking", "diverse", "rank_mean")]


@pytest.mark.parametrize("options", [*CHANGING, {"method": "stacking", "evidence": "tested"}], ids=str)
def test_what_comes_after_a_validation_window_changes_no_weight_of_its_fold(runs, options):
    before, after = _weights_with_another_future(runs, options)
    pd.testing.assert_frame_equal(before.query("fold <= 1"), after.query("fold <= 1"), check_exact=True)


def test_the_check_above_would_catch_evidence_that_is_not_purged(runs, monkeypatch):
    known = module.label_end_column("excess_2")
    early = LABELS.assign(**{known: LABELS[known] - pd.Timedelta("6h")})
    monkeypatch.setattr(module, "_known", lambda labels, target: early[["pair", "date", target, known]])
    before, after = _weights_with_another_future(runs, {"method": "stacking"})
    assert not before.query("fold <= 1").equals(after.query("fold <= 1"))


def _weights_with_another_future(runs, options):
    """Weights with the labels as they came, and with others after the end of fold 1's validation window."""
    end = FOLDS["valid_end"].iloc[1]
    other = build_labels(scramble_after(CANDLES, end), LabelOptions(horizons=(2,)), timeframe="1h")
    later = LABELS["label_end_2"] > end
    changed = LABELS.copy()
    values = ["return_2", "excess_2", "up_2"]
    changed.loc[later, values] = 7 * other.loc[later, values] + 1.0
    return blended(runs, **options)[2], blended(runs, changed, **options)[2]


def test_members_of_other_runs_or_features_are_an_error_that_names_them(runs):
    short = MemberRun("ridge", runs[0].model, runs[0].predictions.iloc[:-1], runs[0].validation)
    with pytest.raises(DataError, match=r"trees\.predictions.*ridge\.predictions.*different runs"):
        blended([short, runs[1]])
    factors = dict.fromkeys(FACTORS, "close")
    model, predictions = walk_forward(
        FEATURES, factors, LABELS, FOLDS, parse_model_options({"adapter": "sklearn"}), TRAINING, timeframe="1h"
    )
    other = MemberRun("other", model, predictions, runs[0].validation)
    with pytest.raises(ModelError, match="other and ridge have other features"):
        blended([runs[0], other])


def test_an_ensemble_sees_as_far_back_as_its_most_far_sighted_member(runs):
    from dataclasses import replace

    network = parse_model_options({"adapter": "torch", "network": "lstm", "lookback": 8})
    other = MemberRun("lstm", replace(runs[0].model, options=network), runs[0].predictions, runs[0].validation)
    assert blended([other, runs[1]])[0].lookback == 8
    assert blended(runs)[0].lookback == 1


def test_an_ensemble_cannot_be_fitted_to_rows():
    options = parse_model_options({"adapter": "ensemble", "members": ["a", "b"]})
    with pytest.raises(ModelError, match="run the pipeline `ensemble`"):
        get_adapter("ensemble").fit(None, None, options, report=print)


def test_a_policy_that_failed_its_gate_and_has_a_say_keeps_the_ensemble_from_going_live(runs):
    from dataclasses import replace

    failed = {"passed": False, "reasons": ["it lost"]}
    policy = MemberRun("policy", replace(runs[0].model, gate=failed), runs[0].predictions, runs[0].validation)
    model, _, _ = blended([policy, runs[1]])
    assert (model.gate["passed"], model.gate["reasons"]) == (False, ["its member policy: it lost"])
    assert blended(runs)[0].gate is None
