import numpy as np
import pytest
from scipy.stats import spearmanr

from agent_market.adapters import Progress, parse_model_options
from agent_market.datasets import TrainedModelDataset
from agent_market.errors import ModelError, ParameterError
from agent_market.evaluation import prediction_metrics
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.samples import FeatureTensor, build_samples
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.parallel import ComputeOptions, computing
from agent_market.schemas import Predictions
from panels import random_candles, random_features

CANDLES = random_candles(4, 24 * 30)
FEATURES = random_features(CANDLES)
FACTORS = dict.fromkeys(FEATURES.columns[2:], "close")
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
LABELS = build_labels(
    CANDLES, LabelOptions(horizons=(2, 6, 30), kinds=("barrier",), volatility_window=24), timeframe="1h"
)


def _run(*, adapter="toys.descent", report=None, labels=LABELS, training=None, **options):
    options = parse_model_options({"adapter": adapter, **options})
    training = training or TrainingOptions(horizon=2, n_jobs=1)
    return walk_forward(
        FEATURES, FACTORS, labels, FOLDS, options, training, timeframe="1h", name="mine", report=report
    )  # fmt: skip


def test_further_horizons_are_further_columns_of_y(descent):
    _run(aux_horizons=(6, 30))
    for call in descent.CALLS:
        for window in ("train", "valid"):
            samples = call[window]
            assert samples.y.shape == (len(samples), 3)
            expected = LABELS[["excess_2", "excess_6", "excess_30"]].iloc[samples.rows].to_numpy()
            if window == "train":
                scale = expected.std(axis=0)
            np.testing.assert_allclose(samples.y, np.clip(expected / scale, -4, 4))


def test_rows_are_purged_by_the_latest_end_of_their_labels(descent):
    for horizons, column in (((), "label_end_2"), ((6, 30), "label_end_30"), ((30, 6), "label_end_30")):
        descent.CALLS.clear()
        _run(aux_horizons=horizons)
        for call, fold in zip(descent.CALLS, FOLDS.to_dict("records"), strict=True):
            for window in ("train", "valid"):
                rows, end = call[window].rows, fold[f"{window}_end"]
                assert LABELS[column].iloc[rows].max() == end
                inside = (LABELS["date"] >= fold[f"{window}_start"]) & (LABELS[column] <= end)
                assert len(rows) == inside.sum()


def test_of_several_horizons_the_first_is_the_prediction(descent, tmp_path):
    model, predictions = _run(aux_horizons=(6, 30))
    tensor = FeatureTensor.from_frame(FEATURES, timeframe="1h")
    part = model.folds[1]
    rows = np.flatnonzero(FEATURES["date"].between(*FOLDS.loc[1, ["test_start", "test_end"]], inclusive="left"))
    samples = build_samples(tensor, None, rows).with_values(part.preprocessing.transform(tensor.values))
    said = descent.predict(part.model, samples)  # (n, 3)
    found = predictions.loc[predictions["fold"] == 1, "prediction"]
    scale = LABELS["excess_2"].iloc[descent.CALLS[1]["train"].rows].std(ddof=0)
    np.testing.assert_allclose(found, said[:, 0] * scale, rtol=1e-12)
    dataset = TrainedModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(model)
    for fold, table in predictions.groupby("fold"):
        known = dataset.load().predict(FEATURES, FACTORS, "sane", fold=fold).merge(table, on=["pair", "date"])
        np.testing.assert_array_equal(known["prediction_x"], known["prediction_y"])


def test_a_further_horizon_without_label_is_an_error():
    with pytest.raises(
        ParameterError, match=r"aux_horizons has 7.*no label excess_7.*labels\.horizons are \[2, 6, 30\]"
    ):
        _run(aux_horizons=(6, 7))
    for twice in ((2,), (6, 6)):
        with pytest.raises(ParameterError, match=r"name each further horizon once, and not training\.horizon"):
            _run(aux_horizons=twice)


def test_a_constant_further_label_is_an_error():
    with pytest.raises(ModelError, match=r"label excess_6 is constant \(1\).*fold \d"):
        _run(labels=LABELS.assign(excess_6=1.0), aux_horizons=(6,))


def test_an_error_of_a_fit_names_model_and_fold(descent):
    with (
        pytest.raises(ModelError, match=r"^model mine, fold 0: the loss is (inf|nan) in epoch \d+, batch 0"),
        np.errstate(all="ignore"),
    ):
        _run(rate=1e200, epochs=9)
    descent.CALLS.clear()
    descent.BREAK_IN.update(call=2, epoch=1)
    with pytest.raises(RuntimeError, match="the power went out") as caught:
        _run()
    assert caught.value.__notes__ == ["This happened in the fit of model mine, fold 1."]


def test_a_network_s_loss_that_is_no_number_names_model_fold_epoch_and_batch():
    network = {"network": "mlp", "hidden": 4, "seeds": 1, "batch_size": 256, "learning_rate": 1e30, "clip_norm": None}
    with pytest.raises(ModelError, match=r"^model mine, fold 0: the loss is (inf|nan) in epoch 1 at batch \d of \d"):
        _run(adapter="torch", **network)


def test_an_error_in_another_process_names_model_and_fold(descent):
    training = TrainingOptions(horizon=2, n_jobs=2)
    with (
        computing(ComputeOptions(backend="loky")),
        pytest.raises(ModelError, match=r"^model mine, fold \d: the loss is"),
    ):
        _run(rate=1e200, epochs=9, training=training)


def test_each_seed_of_an_ensemble_says_what_it_says(descent, tmp_path):
    model, predictions = _run(seeds=3)
    Predictions.validate(predictions)
    seeds = predictions[[f"prediction_seed{i}" for i in range(3)]]
    np.testing.assert_allclose(seeds.mean(axis=1), predictions["prediction"])
    assert seeds.std(axis=1).gt(0).all()
    assert not any(name.startswith("prediction_seed") for name in _run(seeds=1)[1])
    dataset = TrainedModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(model)
    files = {
        path.relative_to(tmp_path / "model" / "fold_00").as_posix()
        for path in (tmp_path / "model" / "fold_00").rglob("*")
    }
    assert files == {"preprocessing.skops", "weights", *(f"weights/{seed}.npy" for seed in range(3))}
    assert len(dataset.load().fits()) == 0, "seconds are not of the model"


def test_the_spread_over_seeds_is_that_of_their_own_coefficients():
    _, predictions = _run(seeds=3)
    metrics = prediction_metrics(predictions, LABELS, horizon=2, demeaned=True)
    joined = predictions.merge(LABELS, on=["pair", "date"]).dropna(subset="excess_2")
    alone = [
        joined.groupby("date")[[seed, "excess_2"]].apply(lambda part: spearmanr(part).statistic).mean()
        for seed in ("prediction_seed0", "prediction_seed1", "prediction_seed2")
    ]
    np.testing.assert_allclose(metrics["rank_ic_seeds"], alone)
    assert metrics["rank_ic_seed_mean"] == pytest.approx(np.mean(alone))
    assert metrics["rank_ic_seed_std"] == pytest.approx(np.std(alone, ddof=1))
    assert metrics["n_seeds"] == 3
    assert len(metrics["ic_seeds"]) == 3
    single = prediction_metrics(_run()[1], LABELS, horizon=2, demeaned=True)
    assert [single[name] for name in ("n_seeds", "rank_ic_seeds", "rank_ic_seed_mean", "rank_ic_seed_std")] == [
        None
    ] * 4


def test_the_last_progress_of_a_fit_says_that_there_is_no_more():
    heard: dict[int, list[Progress]] = {}
    planted = FEATURES.assign(f0=np.random.default_rng(0).normal(size=len(FEATURES)).astype(np.float32))
    options = parse_model_options({"adapter": "lightgbm", "n_estimators": 300, "early_stopping": 3})
    model, _ = walk_forward(
        planted, FACTORS, LABELS, FOLDS, options, TrainingOptions(horizon=2), timeframe="1h",
        report=lambda fold, progress: heard.setdefault(fold, []).append(progress),
    )  # fmt: skip
    steps = dict(zip(model.fits()["fold"], model.fits()["steps"], strict=True))
    for fold, progress in heard.items():
        assert all(one.step < one.steps == 300 for one in progress[:-1])
        assert progress[-1].step == progress[-1].steps == steps[fold] < 300
