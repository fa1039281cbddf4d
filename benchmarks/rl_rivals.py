"""The environments that benchmarks/rl.py measures ours against, each over the same candles and features.

Made here, and only here: the rival packages are imported inside the functions, in the environment that has them.
"""

import warnings
from collections.abc import Callable

import gymnasium
import pandas as pd

EPISODE = 512
FEE = 0.001


def gym_trading_env(candles: pd.DataFrame, features: pd.DataFrame) -> Callable[[], gymnasium.Env]:
    """gym-trading-env: short, flat or long, episodes of 512 candles from random starts."""
    from gym_trading_env.environments import TradingEnv

    warnings.simplefilter("default")  # its import makes an error of every warning of anybody
    table = pd.concat([candles, features.add_prefix("feature_")], axis=1).tz_localize(None)
    how = {"positions": [-1, 0, 1], "trading_fees": FEE, "max_episode_duration": EPISODE, "verbose": 0}
    return lambda: TradingEnv(df=table, **how)


def gym_anytrading(candles: pd.DataFrame, features: pd.DataFrame) -> Callable[[], gymnasium.Env]:
    """gym-anytrading: buy or sell, one candle of our features in view, one episode over all candles."""
    from gym_anytrading.envs import StocksEnv

    prices, signals = candles["close"].to_numpy(), features.to_numpy()

    class Ours(StocksEnv):
        def _process_data(self):
            return prices, signals

    table = candles.rename(columns={"close": "Close"})
    return lambda: Ours(df=table, window_size=1, frame_bound=(1, len(table)))


def freqai(candles: pd.DataFrame, features: pd.DataFrame) -> Callable[[], gymnasium.Env]:
    """FreqAI's Base5ActionRLEnv with a reward that costs nothing to compute, one candle in view."""
    from freqtrade.freqai.RL.Base5ActionRLEnv import Base5ActionRLEnv

    class Free(Base5ActionRLEnv):
        def calculate_reward(self, action):
            return 0.0

    config = {"stake_amount": "unlimited", "fee": FEE, "freqai": {"rl_config": {"max_training_drawdown_pct": 0.99}}}
    prices = candles[["open", "high", "low", "close"]].reset_index(drop=True)
    signals = features.reset_index(drop=True)
    how = {"window_size": 1, "reward_kwargs": {"rr": 1, "profit_aim": 0.02}, "can_short": True, "config": config}
    return lambda: Free(df=signals, prices=prices, df_raw=signals, **how)


RIVALS = {"gym-trading-env": gym_trading_env, "gym-anytrading": gym_anytrading, "FreqAI Base5Action": freqai}
"""Name of a rival: function of candles and features of one pair, dates as index, that gives what makes one."""
