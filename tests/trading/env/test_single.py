"""The environment as Gymnasium and Stable-Baselines3 want it."""

import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from agent_market.trading.env import EnvOptions, TradingEnv
from episodes import draw_episodes

OPTIONS = {
    "spot": {},
    "futures": {"trading_mode": "futures", "window": 5, "observe_profit": True, "observe_time": True},
    "continuous": {"actions": "continuous", "trading_mode": "futures", "leverage": 2.0},
}


@pytest.mark.filterwarnings("error", "ignore:.*observation space m", "ignore:.*alternative render modes")
@pytest.mark.parametrize("check", [check_env, check_env_sb3])
@pytest.mark.parametrize("case", OPTIONS)
def test_checkers_of_both_libraries_find_nothing(case, check):
    options = EnvOptions(**OPTIONS[case])
    check(TradingEnv(draw_episodes(mode=options.trading_mode).market(), options))
