from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from agent_market.adapters.torch import fit, predict, predict_members
from agent_market.adapters.torch.loop import information_coefficient
from agent_market.errors import ModelError, ParameterError
from agent_market.learning.samples import Samples

NETWORKS = ["mlp", "lstm", "gru", "tcn", "transformer"]


def _weights(model):
    return [{name: value.clone() for name, value in m.network.state_dict().items()} for m in model.members]


def _equal(first, second):
    return all(torch.equal(a[name], b[name]) for a, b in zip(first, second, strict=True) for name in a)


def _ic(prediction, samples):
    return np.corrcoef(prediction, samples.y[:, 0])[0, 1]


@pytest.mark.parametrize("training", ["window", "chunked"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_finds_the_planted_signal_in_both_ways_of_training(fit_tiny, valid, network, training):
    model = fit_tiny(network, training=training, epochs=8)
    assert _ic(predict(model, valid), valid) > 0.4  # 0.7 is what the signal itself has


@pytest.mark.parametrize(("network", "sees_it"), [("lstm", True), ("tcn", True), ("transformer", True), ("mlp", False)])
def test_a_pattern_of_two_candles_is_seen_by_networks_that_see_more_than_one(fit_tiny, train, valid, network, sees_it):
    signs = np.sign(train.tensor.values[:, 0])
    product = (signs * np.r_[1.0, signs[:-1]])[:, None]  # neither candle says anything of it alone
    parts = [replace(part, y=product[part.rows]) for part in (train, valid)]
    how = {"epochs": 30, "patience": 0, "dropout": 0.0, "hidden": 16, "lookback": 5 if sees_it else 1}
    model = fit_tiny(network, train=parts[0], valid=parts[1], **how)
    ic = _ic(predict(model, parts[1]), parts[1])
    assert ic > 0.5 if sees_it else abs(ic) < 0.2


@pytest.mark.parametrize("network", ["lstm", "mlp"])
def test_nothing_is_found_where_labels_are_noise(fit_tiny, train, valid, network):
    rng = np.random.default_rng(5)
    noise = [replace(part, y=rng.normal(size=part.y.shape)) for part in (train, valid)]
    model = fit_tiny(network, train=noise[0], epochs=4)
    assert abs(_ic(predict(model, noise[1]), noise[1])) < 0.2  # 3 / sqrt(270)


@pytest.mark.parametrize("loss", ["mse", "huber", "ic", "quantile"])
def test_every_loss_finds_the_signal_and_gives_returns_of_about_their_size(fit_tiny, valid, loss):
    model = fit_tiny("tcn", loss=loss, epochs=15, patience=0)
    prediction = predict(model, valid)
    assert _ic(prediction, valid) > 0.3
    slope = np.polyfit(prediction, valid.y[:, 0], 1)[0]
    assert 0.5 < slope < 2


def test_classification_gives_probabilities(fit_tiny, train, valid):
    up = [replace(part, y=(part.y > 0).astype(float)) for part in (train, valid)]
    model = fit_tiny("gru", train=up[0], valid=up[1], task="classification", epochs=12)
    prediction = predict(model, up[1])
    assert ((prediction > 0) & (prediction < 1)).all()
    assert _ic(prediction, up[1]) > 0.3


def test_several_horizons_and_quantiles_have_one_column_per_horizon(fit_tiny, train, valid):
    two = [replace(part, y=np.hstack([part.y, -part.y])) for part in (train, valid)]
    two[0].y[::3, 1] = np.nan  # the further label is not known everywhere
    for loss in ("mse", "quantile", "ic"):
        model = fit_tiny("mlp", train=two[0], valid=two[1], loss=loss, aux_horizons=(5,), epochs=12, patience=0)
        prediction = predict(model, two[1])
        assert prediction.shape == (len(valid), 2)
        assert np.corrcoef(prediction.T)[0, 1] < -0.5
        np.testing.assert_allclose(predict_members(model, two[1]).mean(1), prediction[:, 0])


def test_sample_weights_decide_between_rows_that_contradict_each_other(fit_tiny, train, valid):
    first_pair = np.asarray(train.pair) == "AA/USDT"
    y = np.where(first_pair[:, None], train.y, -train.y)
    for believed in (True, False):
        weight = np.where(first_pair == believed, 1.0, 0.01)
        model = fit_tiny("lstm", train=replace(train, y=y, weight=weight), valid=None, epochs=12)
        assert (_ic(predict(model, valid), valid) > 0.3) == believed


def test_rows_without_enough_history_are_filled_up_and_predicted(fit_tiny, panel):
    early = Samples(panel.tensor, np.unique(panel.tensor.segment_start))
    for network in NETWORKS:
        assert np.isfinite(predict(fit_tiny(network, epochs=1, lookback=8), early)).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_two_fits_of_one_seed_give_the_same_weights_bit_for_bit_even_side_by_side(fit_tiny, network):
    state = torch.get_rng_state()
    changes = {"epochs": 2, "dropout": 0.2, "seeds": 2, "augment": {"noise": 0.1}, "ema": 0.9}
    alone = _weights(fit_tiny(network, **changes))
    with ThreadPoolExecutor(2) as pool:
        both = [_weights(part) for part in pool.map(lambda _: fit_tiny(network, **changes), range(2))]
    assert all(_equal(alone, part) for part in both)
    assert not _equal(alone, _weights(fit_tiny(network, **changes | {"seed": 1})))
    assert torch.equal(state, torch.get_rng_state())


def test_threads_are_put_back(fit_tiny):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = []
        fit_tiny(epochs=1, threads=1, report=lambda progress: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_members_are_networks_of_consecutive_seeds_and_their_mean_is_the_prediction(fit_tiny, valid):
    model = fit_tiny("mlp", seeds=3, epochs=2)
    members = predict_members(model, valid)
    assert members.shape == (len(valid), 3)
    np.testing.assert_allclose(predict(model, valid), members.mean(1))
    second = fit_tiny("mlp", seed=1, epochs=2)
    np.testing.assert_array_equal(predict(second, valid), members[:, 1])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_epoch_on_the_validation_rows_is_kept_and_patience_ends_the_fit(fit_tiny, valid, ema):
    progress = []
    model = fit_tiny("lstm", epochs=60, patience=2, learning_rate=0.05, ema=ema, report=progress.append)
    facts = model.members[0].facts
    ics = [entry["ic"] for entry in facts["history"]]
    assert facts["best_epoch"] == 1 + int(np.argmax(ics))
    assert len(ics) == facts["best_epoch"] + 2 < 60
    assert [p.step for p in progress] == list(range(1, len(ics) + 1))
    assert all(p.rate > 0 and p.ic is not None and p.loss is not None for p in progress)
    table = pd.DataFrame({"p": predict(model, valid), "y": valid.y[:, 0], "date": valid.date})
    by_date = [stats.spearmanr(part["p"], part["y"])[0] for _, part in table.groupby("date") if len(part) > 1]
    assert max(ics) == pytest.approx(np.mean(by_date), abs=1e-6)


def test_averaged_weights_are_steadier_than_the_last_ones(fit_tiny):
    plain, averaged = (_weights(fit_tiny("mlp", epochs=3, valid=None, ema=ema))[0] for ema in (0.0, 0.95))
    assert all(not torch.equal(plain[name], averaged[name]) for name in plain if name.startswith("layers"))


def test_the_plain_correlation_is_the_ic_of_a_single_pair():
    rng = np.random.default_rng(0)
    p, y = rng.normal(size=(2, 50))
    expected = np.corrcoef(p, y)[0, 1]
    assert information_coefficient(p, y, np.arange(50), compares_pairs=False) == pytest.approx(expected)
    assert information_coefficient(np.ones(50), y, np.arange(50), compares_pairs=False) == 0.0


def test_a_loss_that_is_no_number_names_epoch_and_batch(fit_tiny, train):
    labels = train.y.copy()
    labels[-1] = 1e30  # its square is no float32
    with pytest.raises(ModelError, match=r"the loss is inf in epoch 1 at batch \d of 7 .*lower learning_rate \(0.01\)"):
        fit_tiny("mlp", train=replace(train, y=labels))


def test_features_that_are_no_numbers_are_named(fit_tiny, train, valid):
    values = train.tensor.values.copy()
    values[3, 2] = np.nan
    with pytest.raises(ModelError, match=r"features f2 have NaN .* keep impute"):
        fit_tiny(train=train.with_values(values))
    with pytest.raises(ModelError, match="features f2"):
        predict(fit_tiny(epochs=1), valid.with_values(values))


def test_other_features_than_those_of_the_training_are_refused(fit_tiny, valid):
    with pytest.raises(ModelError, match="trained on 4 features and is asked about 3"):
        predict(fit_tiny(epochs=1), valid.with_values(np.ascontiguousarray(valid.tensor.values[:, :3])))


def test_a_gpu_that_is_not_there_is_an_error(fit_tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="device is cuda, but torch finds no GPU"):
        fit_tiny(device="cuda")


def test_a_warm_start_goes_on_from_the_earlier_weights_and_leaves_them_alone(fit_tiny, valid):
    earlier = fit_tiny("lstm", epochs=8, seeds=2)
    before = _weights(earlier)
    progress = []
    warm = fit_tiny("lstm", seeds=2, warm_epochs=1, learning_rate=1e-9, init=earlier, report=progress.append)
    assert [(p.step, p.steps) for p in progress] == [(1, 2), (2, 2)]
    np.testing.assert_allclose(predict(warm, valid), predict(earlier, valid), atol=1e-4)
    fit_tiny("lstm", seeds=2, init=earlier)
    assert _equal(before, _weights(earlier))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden": 16}, "hidden was 8 and is now 16"),
        ({"network": "gru"}, "network was 'lstm' and is now 'gru'"),
        ({"seeds": 2}, "seeds was 1 and is now 2"),
    ],
)
def test_a_warm_start_from_another_form_says_what_changed(fit_tiny, changes, match):
    with pytest.raises(ModelError, match=f"{match}.*warm_start: false"):
        fit_tiny(**changes, init=fit_tiny("lstm", epochs=1))


def test_a_single_pair_is_fitted_and_judged_over_time(tiny, train, valid):
    parts = []
    for samples in (train, valid):
        own = np.asarray(samples.pair) == "CC/USDT"
        parts.append(Samples(samples.tensor, samples.rows[own], samples.y[own]))
    for loss in ("mse", "ic"):
        model = fit(*parts, tiny("tcn", loss=loss, epochs=12), report=lambda progress: None)
        assert _ic(predict(model, parts[1]), parts[1]) > 0.3
