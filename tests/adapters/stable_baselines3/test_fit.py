import importlib
import itertools
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from agent_market.adapters.stable_baselines3 import fit, importance, load, predict, predict_members, save
from agent_market.adapters.stable_baselines3.ensemble import vote
from agent_market.adapters.stable_baselines3.options import DEFAULTS
from agent_market.errors import DataError, ModelError, ParameterError
from policies import ENV, TINY, some, tiny_options


class KilledError(Exception):
    """The end of a fit, from outside."""


def at_report(number):
    count = itertools.count(1)

    def report(progress):
        if next(count) == number:
            raise KilledError

    return report


def same(first, second):
    return all(
        a.facts == b.facts
        and all(np.array_equal(a.policy.tensors[name], b.policy.tensors[name]) for name in a.policy.tensors)
        for a, b in zip(first.members, second.members, strict=True)
    )


@pytest.mark.parametrize("algorithm", list(DEFAULTS))
def test_each_algorithm_trains_trades_and_is_stored(fit_tiny, panel, tmp_path, algorithm):
    seen = []
    model = fit_tiny(algorithm, seeds=2, report=seen.append)
    assert [progress.step for progress in seen] == list(range(1, seen[-1].steps + 1))
    assert seen[-1].gain is not None
    positions, members = predict(model, panel), predict_members(model, panel)
    assert members.shape == (len(panel), 2)
    assert np.abs(members).max() > 0
    assert (positions == vote(members.T)).all()
    assert set(np.abs(members).ravel()) <= {0.0, 1.0} or algorithm in ("sac", "td3")
    save(model, tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if path.suffix not in (".json", ".safetensors")]
    assert same(model, load(tmp_path))
    assert (predict(load(tmp_path), panel) == positions).all()
    assert importance(model).shape == (3,)


@pytest.mark.parametrize(
    ("algorithm", "changes", "killed"),
    [
        ("ppo", {"patience": 3, "evaluate_every": 1}, 3),  # in the first seed
        ("ppo", {"imitate": 2}, 6),  # and in the second
        ("recurrent_ppo", {}, 3),
        ("qr_dqn", {"policy_kwargs": {"n_quantiles": 4}}, 40),
        ("sac", {}, 40),
        ("td3", {}, 20),
    ],
)
def test_an_interrupted_fit_ends_as_an_undisturbed_one(fit_tiny, tmp_path, algorithm, changes, killed):
    changes = {"seeds": 2, "evaluate_every": 2, "checkpoints": 100} | changes
    undisturbed = fit_tiny(algorithm, **changes)
    with pytest.raises(KilledError):
        fit_tiny(algorithm, **changes, checkpoint=tmp_path / "fit", report=at_report(killed))
    seen = []
    resumed = fit_tiny(algorithm, **changes, checkpoint=tmp_path / "fit", report=seen.append)
    assert seen[0].step == killed + 1
    assert same(undisturbed, resumed)
    again = []
    assert same(undisturbed, fit_tiny(algorithm, **changes, checkpoint=tmp_path / "fit", report=again.append))
    assert again == []


def test_the_same_seed_gives_the_same_bytes_whatever_else_draws(fit_tiny, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    for number, folder in enumerate(folders):
        np.random.seed(number)
        folder.mkdir()
        save(fit_tiny("ppo"), folder)
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
    assert np.random.get_state()[1].tolist() == before, "the process's generator is left as it was"
    assert not same(fit_tiny("ppo"), fit_tiny("ppo", seed=5))


def test_fits_in_threads_do_not_disturb_one_another(fit_tiny):
    found = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: fit_tiny("ppo", seed=seed)})) for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(model, fit_tiny("ppo", seed=seed)) for seed, model in found.items())


def scrambled(panel, after):
    """The panel with other features and prices from candle `after` of each pair on."""
    rng = np.random.default_rng(5)
    later = (panel.tensor.date >= panel.tensor.date.min() + after * (panel.tensor.date[1] - panel.tensor.date[0]))[
        :, None
    ]
    execution = panel.tensor.execution
    prices = np.where(later, execution.prices * np.exp(rng.normal(0, 0.3, (len(panel), 1))), execution.prices)
    values = np.where(later, rng.normal(size=panel.tensor.values.shape), panel.tensor.values).astype(np.float32)
    tensor = replace(panel.tensor, values=values, execution=replace(execution, prices=prices))
    return replace(panel, tensor=tensor)


@pytest.mark.parametrize("changes", [{}, {"imitate": 2}, {"imitate": 2, "learning_rate": 1e-30}])
def test_a_fit_knows_nothing_of_what_comes_after_its_rows(fit_tiny, panel, changes):
    first, same_rows, other_rows = (
        fit_tiny("ppo", train=some(market, 0, 200), valid=None, **changes)
        for market in (panel, scrambled(panel, 200), scrambled(panel, 180))
    )
    assert same(first, same_rows)
    assert not same(first, other_rows), "the scrambling must be able to matter"


def test_a_policy_can_start_from_what_was_best_in_hindsight(fit_tiny, panel):
    still = {"learning_rate": 1e-30, "seeds": 2}  # so that it stays as it was taught
    taught, untaught = (fit_tiny("ppo", imitate=passes, **still) for passes in (60, 0))
    signal = panel.tensor.values[:, 0]
    agreement = [np.corrcoef(predict(model, panel), signal)[0, 1] for model in (taught, untaught)]
    assert agreement[0] > 0.5 > agreement[1] + 0.2
    assert same(taught, fit_tiny("ppo", imitate=60, **still))
    first, second = (member.policy.tensors for member in taught.members)
    assert any((first[name] != second[name]).any() for name in first)
    critic = "mlp_extractor.value_net.0.weight"
    assert (first[critic] == untaught.members[0].policy.tensors[critic]).all()
    assert not same(taught, fit_tiny("ppo", imitate=60, seeds=2)), "then it goes on by trading"


@pytest.mark.parametrize("algorithm", ["ppo", "recurrent_ppo", "td3"])
def test_a_position_knows_nothing_of_later_candles(fit_tiny, panel, algorithm):
    model, cut = fit_tiny(algorithm, env=ENV | {"rebalance_band": 1e-4}), 260
    candle = (panel.tensor.date - panel.tensor.date.min()).total_seconds().to_numpy() // 3600
    positions, changed = predict(model, panel), predict(model, scrambled(panel, cut))
    assert (positions[candle < cut] == changed[candle < cut]).all()
    assert (positions[candle >= cut] != changed[candle >= cut]).any()


@pytest.mark.parametrize("algorithm", ["ppo", "recurrent_ppo", "td3"])
def test_a_position_does_not_depend_on_the_other_rows_asked_for(fit_tiny, panel, algorithm):
    model = fit_tiny(algorithm, env=ENV | {"window": 3})
    whole = predict(model, panel)
    for rows in (np.array([250, 3, 400, 251]), np.arange(100, 330), np.array([], dtype=np.int64)):
        assert (predict(model, replace(panel, rows=rows)) == whole[rows]).all()
    assert (whole[:2] == 0).all(), "there is no window of three candles yet"


def test_training_goes_on_from_the_weights_of_an_earlier_model(fit_tiny, tmp_path):
    init = fit_tiny("ppo", seeds=2)
    save(init, tmp_path)
    warm = fit_tiny("ppo", seeds=2, init=init, total_timesteps=128)
    assert same(warm, fit_tiny("ppo", seeds=2, init=load(tmp_path), total_timesteps=128))
    assert not same(warm, fit_tiny("ppo", seeds=2, total_timesteps=128))
    with pytest.raises(ModelError, match=r"net_arch was \(8, 8\) and is now \(4,\).*warm_start: false"):
        fit_tiny("ppo", seeds=2, init=init, net_arch=[4])


def test_patience_ends_a_fit_with_the_best_weights(fit_tiny):
    seen = []
    model = fit_tiny("ppo", total_timesteps=128 * 40, evaluate_every=1, patience=2, report=seen.append)
    history = model.members[0].facts["history"]
    assert len(seen) == len(history) < 40
    gains = [entry["valid_return"] for entry in history]
    assert model.members[0].facts["best_update"] == 1 + int(np.argmax(gains))
    assert max(gains[-2:]) <= max(gains[:-2])


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([[1, 0, -1], [1, 1, 1], [0, 0, 0]], [1, 0, 0]),
        ([[1, 1, 0.5], [0, -1, 0.2]], [0, 0, 0.2]),
        ([[-1, -0.5, 1]], [-1, -0.5, 1]),
    ],
)
def test_the_vote_is_the_median_and_cautious(positions, expected):
    assert vote(np.array(positions, float)).tolist() == expected


def test_rows_that_cannot_be_traded_or_seen_are_errors(fit_tiny, train, panel):
    bare = replace(train, tensor=replace(train.tensor, execution=None))
    with pytest.raises(DataError, match="no execution prices"):
        fit_tiny("ppo", train=bare)
    values = train.tensor.values.copy()
    values[5, 1] = np.nan
    with pytest.raises(DataError, match=r"f1 of A/USDT:USDT .* add impute"):
        fit_tiny("ppo", train=train.with_values(values))
    with pytest.raises(DataError, match=r"training\.stride"):
        fit_tiny("ppo", train=replace(train, rows=train.rows[::2]))
    model = fit_tiny("ppo")
    with pytest.raises(ModelError, match="1 of 630 rows have features that are missing"):
        predict(model, panel.with_values(values))
    with pytest.raises(ModelError, match="trained on 3 features and are asked about 2"):
        predict(model, panel.with_values(panel.tensor.values[:, :2]))


@pytest.mark.parametrize(
    ("algorithm", "changes", "said"),
    [
        ("ppo", {"algorithm_options": {"clip": 0.1}}, "algorithm_options: ppo does not take clip"),
        ("dqn", {"algorithm_options": {"gamma": 0.5}}, "algorithm_options cannot have gamma"),
        ("ppo", {"policy_kwargs": {"width": 3}}, "policy_kwargs: the policy of ppo does not take them.*width"),
        ("ppo", {"policy_kwargs": {"optimizer_class": "Adm"}}, "torch.optim has no 'Adm'"),
    ],
)
def test_what_the_library_does_not_take_is_an_error(train, algorithm, changes, said):
    with pytest.raises(ParameterError, match=said):
        fit(train, None, tiny_options(algorithm, **(TINY[algorithm] | changes)), report=lambda progress: None)


def test_tensorboard_must_be_installed_to_be_used(fit_tiny, monkeypatch, tmp_path):
    importlib.import_module("stable_baselines3")  # which keeps whether it found tensorboard
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ParameterError, match="tensorboard is not installed: `pip install tensorboard`"):
        fit_tiny("ppo", tensorboard=tmp_path)


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_tensorboard_shows_each_seed_and_its_evaluations(fit_tiny, train, tmp_path, algorithm):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is optional and not installed: `pip install tensorboard` to run this test",
    )
    plain = fit_tiny(algorithm, seeds=2, evaluate_every=2)
    assert not list(tmp_path.iterdir())
    logged = fit_tiny(algorithm, seeds=2, evaluate_every=2, tensorboard=tmp_path)
    assert same(plain, logged), "to look on changes nothing"
    last = train.tensor.date[train.rows[-1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"seed_{seed}_until_{last:%Y-%m-%d_%H-%M}_0" for seed in (0, 1)
    ]
    for folder, member in zip(sorted(tmp_path.iterdir()), logged.members, strict=True):
        shown = events.EventAccumulator(str(folder))
        shown.Reload()
        valid = [(event.step, event.value) for event in shown.Scalars("valid/log_return")]
        history = member.facts["history"]
        assert [step for step, _ in valid] == [entry["timesteps"] for entry in history]
        assert [value for _, value in valid] == pytest.approx([entry["valid_return"] for entry in history], rel=1e-6)
        tags = set(shown.Tags()["scalars"])
        assert {"rollout/ep_rew_mean", "time/fps"} <= tags
        losses = {"ppo": ["value_loss", "approx_kl", "entropy_loss", "clip_fraction"], "dqn": ["loss"]}[algorithm]
        for name in losses:
            assert all(np.isfinite(event.value) for event in shown.Scalars(f"train/{name}"))
        if algorithm == "ppo":
            assert 0 < -shown.Scalars("train/entropy_loss")[0].value < np.log(3) + 1e-6
