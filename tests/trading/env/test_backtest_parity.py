"""What an episode earns is what the embedded backtest makes of the same positions."""

import numpy as np
import pytest

from agent_market.trading.env import EnvOptions, TradingCore
from episodes import BALANCE, Episodes, backtest, draw_episodes

WHOLE = {"episode_length": None, "random_start": False, "bankruptcy": 0.001}


def play(episodes: Episodes, options: EnvOptions, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Equity after each step, the positions decided (n_rows,) and whether the episode was terminated."""
    core = TradingCore(episodes.market(), options)
    core.reset()
    equity, positions, total = [], np.zeros(len(episodes.candles)), 0.0
    for row, action in enumerate(actions[: len(positions) - 2]):
        positions[row] = options.levels[action]
        steps = core.step(np.array([action]))
        equity.append(core.accounts["equity"][0])
        total += steps.rewards[0] / options.reward_scale
        assert total == pytest.approx(np.log(equity[-1]), abs=1e-9)
        if steps.terminated[0]:
            return np.array(equity), positions, True
    assert steps.truncated[0]
    return np.array(equity), positions, False


def draw_actions(n: int, n_levels: int, *, seed: int, change: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, n_levels, n)
    keep = rng.random(n) > change
    for i in range(1, n):
        actions[i] = actions[i - 1] if keep[i] else actions[i]
    return actions


CASES = {
    "spot": {},
    "spot with parts of a stake": {"targets": (0.0, 0.3, 1.0)},
    "futures": {"trading_mode": "futures"},
    "futures with leverage": {"trading_mode": "futures", "leverage": 3.0, "targets": (-1.0, -0.4, 0.0, 0.7, 1.0)},
    "futures without funding": {"trading_mode": "futures", "leverage": 2.0, "funding": False},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_equity_after_every_candle_is_that_of_the_backtest(case, seed):
    options = EnvOptions(**CASES[case], **WHOLE)
    episodes = draw_episodes(seed=seed, mode=options.trading_mode)  # each candle opens at the last close
    actions = draw_actions(200, len(options.levels), seed=seed)
    equity, positions, _ = play(episodes, options, actions)
    result = backtest(episodes, positions, options)
    assert len(result.trades) > 5
    assert equity == pytest.approx(result.equity["equity"].to_numpy()[1 : 1 + len(equity)] / BALANCE, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_equity_when_flat_is_that_of_the_backtest_where_opens_differ_from_the_close_before(case, seed):
    options = EnvOptions(**CASES[case], **WHOLE)
    episodes = draw_episodes(seed=seed, mode=options.trading_mode, gaps=2.0)
    actions = draw_actions(200, len(options.levels), seed=seed)
    flat = options.levels.index(0.0)
    actions[-10:] = flat
    equity, positions, _ = play(episodes, options, actions)
    traded = backtest(episodes, positions, options).equity["equity"].to_numpy()[1 : 1 + len(equity)] / BALANCE
    is_flat = positions[: len(equity)] == 0
    assert is_flat.sum() > 10
    assert equity[is_flat] == pytest.approx(traded[is_flat], rel=1e-9)
    assert not np.allclose(equity[~is_flat], traded[~is_flat], rtol=1e-6)  # marked at the open, not the close


@pytest.mark.parametrize("seed", range(3))
def test_funding_inside_of_candles_is_that_of_the_backtest(seed):
    options = EnvOptions(trading_mode="futures", leverage=2.0, **WHOLE)
    episodes = draw_episodes(seed=seed, mode="futures", hours=4)
    assert (episodes.funding["date"].dt.hour % 4 > 0).sum() > 10
    equity, positions, _ = play(episodes, options, draw_actions(200, 3, seed=seed))
    result = backtest(episodes, positions, options)
    assert equity == pytest.approx(result.equity["equity"].to_numpy()[1 : 1 + len(equity)] / BALANCE, rel=1e-9)


@pytest.mark.parametrize("side", [0, 2])
@pytest.mark.parametrize("gaps", [0.0, 8.0])
@pytest.mark.parametrize("leverage", [5.0, 20.0])
def test_liquidation_leaves_what_the_backtest_leaves(side, gaps, leverage):
    ended = 0
    for seed in range(8):
        options = EnvOptions(trading_mode="futures", leverage=leverage, **WHOLE)
        episodes = draw_episodes(seed=seed, mode="futures", volatility=0.015, gaps=gaps, length=120)
        equity, positions, terminated = play(episodes, options, np.full(120, side))
        if not terminated or equity[-1] < 1e-3:  # all is lost: the backtest counts a balance below 0 then
            continue
        ended += 1
        result = backtest(episodes, positions, options)
        assert result.trades["exit_reason"].iloc[0] in ("liquidation", "stop_loss")  # which is beyond it
        assert equity[-1] == pytest.approx(result.equity["equity"].iloc[len(equity)] / BALANCE, rel=1e-9)
    assert ended >= 2


def test_spot_that_lost_99_percent_is_stopped_as_in_the_backtest():
    episodes = draw_episodes(seed=0, length=60)
    crash = episodes.candles["date"] >= episodes.candles["date"].iloc[30]
    episodes.candles.loc[crash, ["open", "high", "low", "close"]] *= 0.005
    options = EnvOptions(**WHOLE, fee=0.0, slippage=0.0)
    equity, positions, terminated = play(episodes, options, np.ones(60, dtype=int))
    result = backtest(episodes, positions, options)
    assert terminated
    assert result.trades["exit_reason"].tolist()[0] == "stop_loss"
    assert equity[-1] == pytest.approx(result.equity["equity"].iloc[len(equity)] / BALANCE, rel=1e-9)
