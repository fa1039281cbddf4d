import subprocess
import sys

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from agent_market.adapters.stable_baselines3.algorithms import build_algorithm
from agent_market.adapters.stable_baselines3.extraction import extract_policy
from agent_market.adapters.stable_baselines3.policy import Form, Layer, Policy
from agent_market.adapters.stable_baselines3.vec_env import VecTradingEnv
from agent_market.errors import ModelError
from agent_market.trading.env import TradingCore, build_market
from policies import ENV, tiny_options

ALGORITHMS = [
    ("ppo", {}),
    ("ppo", {"env": ENV | {"actions": "continuous"}}),
    ("ppo", {"activation": "silu", "net_arch": []}),
    ("a2c", {"activation": "elu", "net_arch": [16]}),
    ("dqn", {"activation": "relu"}),
    ("qr_dqn", {"activation": "leaky_relu"}),
    ("sac", {"activation": "sigmoid"}),
    ("td3", {"activation": "relu"}),
]


class _Normalised(FlattenExtractor):
    """Features of mean zero."""

    def __init__(self, observation_space):
        super().__init__(observation_space)
        self.norm = nn.LayerNorm(self.features_dim)

    def forward(self, observations):
        return self.norm(super().forward(observations))


def build(train, algorithm, changes):
    options = tiny_options(algorithm, **changes)
    core = TradingCore(build_market(train), options.env, options.n_envs, seed=0)
    return build_algorithm(options, VecTradingEnv(core), 0)


def observations(n, width, seed=1):
    return np.random.default_rng(seed).normal(0, 2, (n, width)).astype(np.float32)


@pytest.mark.parametrize(("algorithm", "changes"), ALGORITHMS)
def test_numpy_acts_as_the_library_does(train, algorithm, changes):
    model = build(train, algorithm, changes)
    model.learn(256)
    seen = observations(5000, 4)
    theirs = model.predict(seen, deterministic=True)[0]
    ours = extract_policy(model).act(seen)
    if ours.dtype == np.int64:
        assert len(np.unique(theirs)) > 1
        assert (ours == theirs).all()
    else:
        assert theirs.std() > 1e-3
        np.testing.assert_allclose(ours, theirs[:, 0], atol=2e-6)


def test_numpy_remembers_as_the_library_does(train):
    policy_kwargs = {"lstm_hidden_size": 8, "n_lstm_layers": 2}
    model = build(train, "recurrent_ppo", {"policy_kwargs": policy_kwargs})
    generator = torch.Generator().manual_seed(1)
    for parameter in model.policy.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    ours, theirs = extract_policy(model), None
    state, seen = ours.begin(50), observations(50 * 60, 4).reshape(60, 50, 4)
    actions = []
    for step in seen:
        action, state = ours.step(step, state)
        expected, theirs = model.predict(step, state=theirs, deterministic=True)
        assert (action == expected).all()
        actions.append(action)
    assert len(np.unique(actions)) > 1


def test_actions_over_all_positions_are_those_of_whole_observations(train):
    policy = extract_policy(build(train, "dqn", {}))
    levels, values = np.array([-1.0, 0.0, 1.0]), observations(500, 3)
    for number, action in enumerate(policy.over_levels(values, levels).T):
        seen = np.column_stack([values, np.full(500, levels[number])])
        assert (action == policy.act(seen)).all()


def test_an_observation_gets_the_same_alone_as_among_others(train):
    policy = extract_policy(build(train, "ppo", {"env": ENV | {"actions": "continuous"}}))
    seen = observations(300, 4)
    alone = np.array([policy.act(row[None])[0] for row in seen])
    np.testing.assert_allclose(alone, policy.act(seen), rtol=0, atol=1e-14)


def test_a_part_that_numpy_cannot_run_is_refused(train):
    model = build(train, "ppo", {"policy_kwargs": {"features_extractor_class": _Normalised}})
    with pytest.raises(ModelError, match=r"a LayerNorm in it.*policy_kwargs"):
        extract_policy(model)


def test_missing_weights_are_named():
    with pytest.raises(ModelError, match="lacks its weights b"):
        Policy(Form((Layer("w", "b"),)), {"w": np.zeros((2, 3))})


def test_trading_needs_neither_torch_nor_the_library(fit_tiny, panel, tmp_path):
    from agent_market.adapters.stable_baselines3 import predict, save

    model = fit_tiny("ppo")
    save(model, tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from agent_market.adapters.stable_baselines3 import load, predict\n"
        "from policies import make_panel\n"
        "positions = predict(load(Path(sys.argv[1])), make_panel())\n"
        "print([name for name in ('torch', 'stable_baselines3', 'gymnasium') if name in sys.modules])\n"
        "print(positions.tolist())"
    )
    tests = next(path for path in sys.path if path.rstrip("/").endswith("tests"))
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path), tests], capture_output=True, text=True, check=True)
    loaded, positions = run.stdout.splitlines()
    assert loaded == "[]"
    assert positions == str(predict(model, panel).tolist())
