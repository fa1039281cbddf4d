"""Small versions of benchmarks/rl_quality.py: policies learn what is there, and the gate knows when nothing is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agent_market.adapters.stable_baselines3 import Options, fit, predict, predict_members
from agent_market.learning.account import account_policy
from agent_market.learning.gate import GateOptions, judge_policy
from policies import make_panel, some

N, WINDOW = 4200, 600
FAST = {"n_envs": 128, "n_steps": 64, "batch_size": 2048, "n_epochs": 4, "learning_rate": 1e-3}
ENV = {"trading_mode": "futures", "fee": 0.001, "slippage": 0.0002, "episode_length": 256}


def earned(panel, candles, *, seeds, steps):
    """The account of policies that are trained on what lies before each of three windows at the panel's end."""
    options = Options.model_validate({"seeds": seeds, "total_timesteps": steps, "env": ENV} | FAST)
    tables = []
    for fold in range(3):
        begin = N - (3 - fold) * WINDOW
        model = fit(some(panel, 0, begin - 10), None, options, report=lambda progress: None)
        test = some(panel, begin, begin + WINDOW)
        table = pd.DataFrame({"pair": test.pair, "date": test.date, "fold": fold, "prediction": predict(model, test)})
        for number, positions in enumerate(predict_members(model, test).T):
            table[f"prediction_seed{number}"] = positions
        tables.append(table)
    predictions = pd.concat(tables).sort_values(["pair", "date"], ignore_index=True).assign(kind="position")
    return account_policy(predictions, candles, options.env, cost_factor=2.0, timeframe="1h")


@pytest.fixture(scope="module")
def market():
    """A panel whose feature f0 foretells the next move, the same with f0 replaced by noise, and their candles."""
    panel = make_panel(seed=3, n_candles=N)
    values = panel.tensor.values.copy()
    values[:, 0] = np.random.default_rng(1).permutation(values[:, 0])
    prices = pd.DataFrame(panel.tensor.execution.prices, columns=["open", "high", "low", "close"])
    candles = pd.concat([pd.DataFrame({"pair": panel.pair, "date": panel.date}), prices], axis=1)
    return panel, panel.with_values(values), candles


def test_a_policy_beats_flat_net_of_fees_and_the_gate_sees_that_it_is_its_timing(market):
    panel, _, candles = market
    account = earned(panel, candles, seeds=1, steps=50_000)
    vote = account.intervals[account.intervals["seed"] == "ensemble"]
    assert (vote["net_raised_costs"] > 0.2).all()
    verdict = judge_policy(account, GateOptions(min_seeds=1))
    assert verdict["passed"], verdict["reasons"]
    assert verdict["timing_z"] > 5


@pytest.mark.slow
def test_the_gate_passes_a_signal_and_rejects_a_placebo(market):
    panel, placebo, candles = market
    assert judge_policy(earned(panel, candles, seeds=3, steps=50_000), GateOptions())["passed"]
    for seed in range(3):
        shuffled = placebo.tensor.values[np.random.default_rng(seed).permutation(len(placebo))]
        account = earned(
            replace(placebo, tensor=replace(placebo.tensor, values=shuffled)), candles, seeds=3, steps=50_000
        )
        verdict = judge_policy(account, GateOptions())
        assert not verdict["passed"]
        assert len(verdict["reasons"]) >= 2, "more than one check knows"
