"""Many episodes in one call are as many single ones."""

import numpy as np
import pytest

from agent_market.adapters.stable_baselines3.vec_env import VecTradingEnv
from agent_market.errors import ParameterError
from agent_market.trading.env import EnvOptions, TradingCore, TradingEnv
from episodes import draw_episodes

CASES = {
    "spot": {},
    "windows": {"window": 4, "observe_profit": True, "observe_time": True},
    "futures": {"trading_mode": "futures", "leverage": 20.0},
    "continuous": {"trading_mode": "futures", "leverage": 8.0, "actions": "continuous"},
}


@pytest.mark.parametrize("case", CASES)
def test_each_episode_is_what_a_single_environment_does(case):
    options = EnvOptions(**CASES[case], episode_length=40)
    market = draw_episodes(2, 300, mode=options.trading_mode, volatility=0.02).market()
    n, rng = 5, np.random.default_rng(0)
    env, singles = (
        VecTradingEnv(TradingCore(market, options, n, seed=3)),
        [TradingEnv(market, options) for _ in range(n)],
    )
    observations, ended = env.reset(), 0
    left = env.core.accounts["left"].copy()
    for i, single in enumerate(singles):
        single.reset(options={"row": int(env.core.holdings["row"][i, 0])})
        single.core.accounts["left"] = left[i]
    for _ in range(150):
        if options.actions == "discrete":
            actions = rng.integers(0, len(options.levels), n)
        else:
            actions = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
        observations, rewards, dones, infos = env.step(actions)
        for i, single in enumerate(singles):
            seen, reward, terminated, truncated, info = single.step(actions[i])
            assert rewards[i] == np.float32(reward)
            assert dones[i] == (terminated or truncated)
            if dones[i]:
                ended += 1
                np.testing.assert_array_equal(infos[i]["terminal_observation"], seen)
                assert infos[i]["TimeLimit.truncated"] == truncated
                assert infos[i]["equity"] == info["equity"]
                assert infos[i]["episode"]["r"] == pytest.approx(100 * np.log(info["equity"]), abs=1e-9)
                seen, _ = single.reset(options={"row": int(env.core.holdings["row"][i, 0])})
                single.core.accounts["left"] = env.core.accounts["left"][i]
            else:
                assert infos[i] == {}
            np.testing.assert_array_equal(observations[i], seen)
    assert ended > 15


def test_same_seed_gives_the_same_episodes_whatever_numpy_drew_before():
    market = draw_episodes(2, 400).market()

    def run(seed):
        env = VecTradingEnv(TradingCore(market, EnvOptions(episode_length=30), 8))
        env.seed(seed)
        seen = [env.reset()]
        np.random.random()
        return np.array([*seen, *[env.step(np.ones(8, dtype=int))[0] for _ in range(60)]])

    np.testing.assert_array_equal(run(5), run(5))
    assert not np.array_equal(run(5), run(6))


def test_observations_that_were_handed_out_do_not_change_later():
    env = VecTradingEnv(TradingCore(draw_episodes().market(), EnvOptions(), 4))
    first = env.reset()
    kept = first.copy()
    env.step(np.ones(4, dtype=int))
    np.testing.assert_array_equal(first, kept)


def test_first_episodes_end_at_different_times_and_later_ones_are_whole():
    env = VecTradingEnv(TradingCore(draw_episodes(1, 2000).market(), EnvOptions(episode_length=100), 32))
    env.reset()
    lengths = [[] for _ in range(32)]
    for _ in range(301):
        for i, info in enumerate(env.step(np.zeros(32, dtype=int))[3]):
            if info:
                lengths[i].append(info["episode"]["l"])
    assert len({own[0] for own in lengths}) > 16
    assert {length for own in lengths for length in own[1:]} == {100}


def test_attributes_are_those_of_the_core_and_episodes_have_no_methods():
    env = VecTradingEnv(TradingCore(draw_episodes().market(), EnvOptions(), 3))
    assert env.get_attr("n_pairs", [0, 2]) == [1, 1]
    assert env.get_attr("render_mode") == [None, None, None]
    assert env.env_is_wrapped(VecTradingEnv) == [False, False, False]
    with pytest.raises(ParameterError, match="no method render"):
        env.env_method("render")
    with pytest.raises(ParameterError, match="cannot be set for some episodes only"):
        env.set_attr("render_mode", "human", 1)
    env.close()
