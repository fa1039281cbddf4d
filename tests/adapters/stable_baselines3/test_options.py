import pytest
from pydantic import ValidationError

from agent_market.adapters import parse_model_options
from agent_market.adapters.stable_baselines3 import Options
from agent_market.adapters.stable_baselines3.options import DEFAULTS, FAST


def test_the_measured_settings_are_the_defaults():
    options = Options()
    assert (options.n_envs, options.n_steps, options.batch_size, options.n_epochs) == (64, 128, 1024, 10)
    assert (options.learning_rate, options.gamma, options.gae_lambda) == (3e-4, 0.9, 0.9)
    assert (options.total_timesteps, options.net_arch, options.activation) == (200_000, (64, 64), "tanh")
    fast = Options(profile="fast", total_timesteps=1000)
    assert {name: getattr(fast, name) for name in FAST} == FAST | {"total_timesteps": 1000}


@pytest.mark.parametrize("algorithm", list(DEFAULTS))
def test_options_come_back_from_json(algorithm):
    options = Options(algorithm=algorithm)
    assert parse_model_options(options.model_dump(mode="json")) == options
    assert options.env.actions == ("continuous" if algorithm in ("sac", "td3") else "discrete")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"algorithm": "ddpg"}, "ppo.*qr_dqn"),
        ({"algorithm": "dqn", "n_epochs": 3}, "n_epochs: dqn takes n_envs"),
        ({"algorithm": "dqn", "profile": "fast"}, "profile fast is for ppo"),
        ({"algorithm": "sac", "env": {"actions": "discrete"}}, "env.actions is discrete, and sac has continuous"),
        ({"algorithm": "dqn", "env": {"actions": "continuous"}}, "set it to discrete"),
        ({"env": {"observe_profit": True}}, "env.observe_profit is true.*a bot could not do the same"),
        ({"activation": "tahn"}, "Did you mean tanh"),
        ({"policy_kwargs": {"net_arch": [3]}}, "use net_arch and activation"),
        ({"algorithm_options": {"device": "cpu"}}, "cannot have device"),
        ({"n_envs": 2, "n_steps": 4}, r"batch_size \(1024\) is more than the 8 candles"),
        ({"patience": 3, "evaluate_every": 0}, "set evaluate_every"),
        ({"algorithm": "dqn", "imitate": 3}, "imitate is 3, and dqn with discrete actions has no probabilities"),
        ({"imitate": 3, "env": {"actions": "continuous"}}, "choose ppo or a2c with discrete actions"),
        ({"task": "classification"}, "regression"),
        ({"env": {"fees": 0.1}}, "Extra inputs are not permitted"),
    ],
)
def test_options_that_do_not_fit_are_refused(block, said):
    with pytest.raises(ValidationError, match=said):
        Options.model_validate(block)


def test_the_search_space_gives_options_that_are_valid():
    optuna = pytest.importorskip("optuna")
    from agent_market.adapters.stable_baselines3 import suggest

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(5):
        Options(**suggest(study.ask()))
