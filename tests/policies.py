"""A small market in which the last move goes on, and options of policies that are trained on it for a few steps."""

from dataclasses import replace

import numpy as np
import pandas as pd

from agent_market.adapters.stable_baselines3 import Options
from agent_market.learning.samples import FeatureTensor, Samples
from agent_market.market.execution import ExecutionPrices

TINY = {
    "ppo": {"n_envs": 8, "n_steps": 16, "batch_size": 64, "n_epochs": 2},
    "recurrent_ppo": {"n_envs": 8, "n_steps": 16, "batch_size": 64, "policy_kwargs": {"lstm_hidden_size": 8}},
    "a2c": {"n_envs": 8, "n_steps": 8},
    **{name: {"n_envs": 8, "algorithm_options": {"learning_starts": 100}} for name in ("dqn", "qr_dqn", "sac", "td3")},
}
ENV = {"trading_mode": "futures", "episode_length": 32}


def tiny_options(algorithm: str = "ppo", **changes) -> Options:
    """Options of a policy that is trained within a second."""
    defaults = {
        "evaluate_every": 0,
        "patience": 0,
        "algorithm": algorithm,
        "seeds": 1,
        "net_arch": [8, 8],
        "total_timesteps": 512,
        "env": ENV,
    }
    return Options.model_validate(defaults | TINY[algorithm] | changes)


def make_panel(seed: int = 0, n_candles: int = 320) -> Samples:
    """Two pairs of hourly candles, the second with a hole; feature f0 foretells the next move, f1 and f2 are noise."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2024-01-01", periods=n_candles, freq="h", tz="UTC").as_unit("ms")
    tables, values = [], []
    for number in range(2):
        signal = np.zeros(n_candles)
        for t in range(1, n_candles):
            signal[t] = 0.9 * signal[t - 1] + 0.44 * rng.normal()
        moves = 0.01 * rng.normal(size=n_candles)
        moves[1:] += 0.008 * signal[:-1]  # what is known at the close of a candle moves the next one
        close = 100 * np.exp(np.cumsum(moves))
        opens = np.r_[100.0, close[:-1]]
        prices = {"open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close), "close": close}
        table = pd.DataFrame({"pair": f"{'AB'[number]}/USDT:USDT", "date": dates, **prices})
        keep = np.ones(n_candles, bool)
        keep[90:100] = number == 0
        tables.append(table[keep])
        values.append(np.column_stack([signal, rng.normal(size=(n_candles, 2))])[keep])
    candles = pd.concat(tables, ignore_index=True).astype({"pair": "category"})
    features = candles[["pair", "date"]].copy()
    features[["f0", "f1", "f2"]] = np.concatenate(values).astype(np.float32)
    tensor = FeatureTensor.from_frame(features, timeframe="1h")
    tensor = replace(tensor, execution=ExecutionPrices.from_candles(candles, timeframe="1h"))
    return Samples(tensor, np.arange(len(features)))


def some(panel: Samples, first: int, stop: int) -> Samples:
    """The candles [first, stop) of each pair, by the clock."""
    candle = (panel.tensor.date - panel.tensor.date.min()) // pd.Timedelta("1h")
    return replace(panel, rows=np.flatnonzero((candle >= first) & (candle < stop)))
