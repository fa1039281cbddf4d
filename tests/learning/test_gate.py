from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agent_market.learning.account import PolicyAccount
from agent_market.learning.gate import GateOptions, account_drawdown, judge_policy, timing_test


def made_account(
    nets: dict[str, list[float]], raised: float = 0.5, *, skill: float = 1.0, seed: int = 0
) -> PolicyAccount:
    """Accounts whose seeds earned `nets` by window, at raised costs `raised` times that, with a hand for timing."""
    rows = [
        {"fold": fold, "seed": name, "net": net, "net_raised_costs": net * raised if net > 0 else net}
        for name, values in nets.items()
        for fold, net in enumerate(values)
    ]
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, 0.01, (2, 2000))
    positions = np.sign(skill * returns + rng.normal(0, 0.01, returns.shape))
    net = pd.Series(np.repeat(np.array(nets["ensemble"]) / 10, 10))
    return PolicyAccount(pd.DataFrame(rows), net, positions, returns)


GOOD = {name: [0.1, 0.2, 0.1, 0.1] for name in ("seed0", "seed1", "seed2", "seed3", "seed4", "ensemble")}


def test_a_policy_that_earns_everywhere_by_timing_passes():
    verdict = judge_policy(made_account(GOOD), GateOptions())
    assert verdict["passed"]
    assert verdict["reasons"] == []
    assert {check["passed"] for check in verdict["checks"]} == {True}
    assert verdict["timing_z"] > 10


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nets": {name: values[:2] for name, values in GOOD.items()}}, "2 test windows, and 3 are needed"),
        ({"nets": {name: GOOD[name] for name in ("seed0", "seed1", "ensemble")}}, "2 seeds, and 3 are needed"),
        ({"raised": -0.1}, "at 2 times the costs it lost"),
        ({"nets": GOOD | {"ensemble": [0.4, -0.1, -0.1, 0.4]}}, "it gained in 50% of 4 intervals, less than 75%"),
        ({"nets": GOOD | {"seed0": [-1.0] * 4, "seed1": [-1.0] * 4}}, "60% of 5 seeds gained"),
        ({"nets": GOOD | {"ensemble": [0.5, -0.5, 0.5, 0.5]}}, "its account fell by 39.3% from a peak"),
        ({"skill": 0.0}, "what it earned is not its timing"),
    ],
)
def test_each_weakness_alone_is_a_reason(changes, reason):
    verdict = judge_policy(made_account(**{"nets": GOOD} | changes), GateOptions())
    assert not verdict["passed"]
    assert sum(not check["passed"] for check in verdict["checks"]) == len(verdict["reasons"]) <= 2
    assert any(reason in said for said in verdict["reasons"]), verdict["reasons"]


def test_of_three_windows_all_must_gain():
    nets = {name: [0.4, 0.4, -0.01] for name in GOOD}
    assert "67% of 3 intervals, less than 100%" in " ".join(judge_policy(made_account(nets), GateOptions())["reasons"])


def test_all_shifts_are_tried_as_one_by_one():
    rng = np.random.default_rng(3)
    positions, returns = rng.choice([-1, 0, 1], (3, 500)).astype(float), rng.normal(size=(3, 500))
    earned = [(positions * np.roll(returns, -shift, axis=1)).sum() for shift in range(500)]
    luck = np.array(earned[100:401])
    chance, z = timing_test(positions, returns, min_shift=100)
    assert chance == (1 + (luck >= earned[0]).sum()) / (1 + len(luck))
    assert z == pytest.approx((earned[0] - luck.mean()) / luck.std())


def test_luck_passes_for_timing_as_often_as_the_level_says():
    """Trending positions on trending returns, which have nothing to do with one another."""
    chances = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        positions = np.sign(pd.Series(rng.normal(size=3000)).ewm(alpha=0.05).mean().to_numpy())[None]
        returns = pd.Series(rng.normal(size=3000)).ewm(alpha=0.3).mean().to_numpy()[None] + 0.05
        chances.append(timing_test(positions, returns, min_shift=168)[0])
    assert 0.01 <= np.mean(np.array(chances) < 0.05) <= 0.1


def test_being_long_in_a_rising_market_is_no_timing():
    returns = np.abs(np.random.default_rng(0).normal(size=(1, 1000)))
    assert timing_test(np.ones((1, 1000)), returns, min_shift=168)[0] > 0.05
    assert timing_test(np.zeros((1, 1000)), returns, min_shift=168) == (1.0, 0.0)
    assert timing_test(np.ones((1, 100)), returns[:, :100], min_shift=168) == (1.0, 0.0), "too short to tell"


def test_the_drawdown_counts_from_the_start():
    assert account_drawdown(np.log([0.5, 4.0, 0.75])) == pytest.approx(0.5)
    assert account_drawdown(np.array([])) == 0.0


def test_a_verdict_is_json_and_says_by_which_limits(tmp_path):
    import json

    options = GateOptions(max_drawdown=0.2)
    verdict = json.loads(json.dumps(judge_policy(replace(made_account(GOOD)), options)))
    assert GateOptions.model_validate(verdict["options"]) == options
