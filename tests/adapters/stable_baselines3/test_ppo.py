"""The lean PPO against the library's own: the same draws, the same losses, the same weights."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from torch import nn

from agent_market.adapters.stable_baselines3.algorithms import build_algorithm
from agent_market.adapters.stable_baselines3.ppo import CategoricalPolicy, LeanPPO, Tanh
from agent_market.adapters.stable_baselines3.vec_env import VecTradingEnv
from agent_market.trading.env import TradingCore, build_market
from policies import tiny_options


def make_env(train, changes):
    options = tiny_options("ppo", **changes)
    return VecTradingEnv(TradingCore(build_market(train), options.env, options.n_envs, seed=3))


def weights_of(model):
    return torch.cat([value.flatten() for value in model.policy.state_dict().values()]).numpy()


def build_lean(train, **changes):
    model = build_algorithm(tiny_options("ppo", **changes), make_env(train, changes), 5)
    assert isinstance(model, LeanPPO)
    return model


def of_the_library(train, **changes):
    """The library's PPO of the same options, with its own policy, activation and optimiser."""
    options = tiny_options("ppo", **changes)
    given = {name: getattr(options, name) for name in ("n_steps", "batch_size", "n_epochs", "learning_rate", "gamma")}
    return PPO(
        "MlpPolicy", make_env(train, changes), seed=5, device="cpu", gae_lambda=options.gae_lambda,
        policy_kwargs={"net_arch": list(options.net_arch)}, **given, **options.algorithm_options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 50},  # 128 candles of an update: the last batch is smaller
        {"algorithm_options": {"ent_coef": 0.05, "vf_coef": 0.3, "max_grad_norm": 0.01, "clip_range": 0.02}},
        {"algorithm_options": {"normalize_advantage": False}},
        {"algorithm_options": {"clip_range_vf": 0.1, "target_kl": 0.001}},  # done by the library itself
        {"env": {"trading_mode": "futures", "actions": "continuous", "episode_length": 32}},
    ],
)
def test_it_ends_with_the_weights_that_the_librarys_own_ends_with(train, changes):
    changes = {"learning_rate": 3e-3} | changes
    ended = []
    for build in (build_lean, of_the_library):
        model = build(train, **changes)  # seeds the generators that both draw from
        first = weights_of(model)
        model.learn(256)
        ended.append(weights_of(model))
    assert np.abs(ended[0] - first).max() > 0.01
    np.testing.assert_allclose(*ended, atol=2e-5)


def test_its_policy_answers_as_the_librarys_does(train):
    model, theirs = build_lean(train), of_the_library(train)
    theirs.policy.load_state_dict(model.policy.state_dict())
    assert isinstance(model.policy, CategoricalPolicy)
    seen = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
    for deterministic in (True, False):
        answers = []
        for policy in (model.policy, theirs.policy):
            torch.manual_seed(2)
            answers.append(policy(seen, deterministic))
        assert (answers[0][0] == answers[1][0]).all()
        torch.testing.assert_close(answers[0][1:], answers[1][1:], atol=1e-6, rtol=1e-5)
    actions = torch.randint(3, (400,), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        model.policy.evaluate_actions(seen, actions),
        theirs.policy.evaluate_actions(seen, actions),
        atol=1e-6,
        rtol=1e-5,
    )


def test_the_quick_tanh_is_tanh_and_so_is_its_slope():
    x = torch.linspace(-30, 30, 10_001, requires_grad=True)
    ours, theirs = (torch.autograd.grad(module()(x).sum(), x)[0] for module in (Tanh, nn.Tanh))
    torch.testing.assert_close(Tanh()(x), nn.Tanh()(x), atol=2e-7, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=5e-7, rtol=0)
