"""A policy asked once in every state does, and earns, what it does step by step."""

import numpy as np
import pytest

from agent_market.errors import ParameterError
from agent_market.trading.env import EnvOptions, TradingCore, action_table, evaluate_table
from episodes import BALANCE, backtest, draw_episodes

CASES = {
    "spot": ({}, 0.01),
    "parts of a stake": ({"targets": (0.0, 0.25, 1.0, 0.5), "window": 3}, 0.01),
    "futures": ({"trading_mode": "futures", "leverage": 3.0, "window": 2}, 0.01),
    "liquidated": ({"trading_mode": "futures", "leverage": 20.0}, 0.02),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_path_is_that_of_stepping_the_environment(case, seed):
    extra, volatility = CASES[case]
    options = EnvOptions(**extra, episode_length=None, bankruptcy=0.001)
    episodes = draw_episodes(
        2, 200, mode=options.trading_mode, volatility=volatility, seed=seed, rows=np.r_[5:190, 210:380]
    )
    market = episodes.market()
    weights = np.random.default_rng(seed).normal(size=(options.window * 3 + 1, len(options.levels))).astype("float32")

    def policy(seen):
        return seen @ weights

    path = evaluate_table(policy, market, options)
    expected, positions, core, liquidations = {}, {}, TradingCore(market, options), 0
    for first, stop in market.decisions(options.window):
        row, held = first, 0.0
        while row < stop:  # an episode, or what the liquidated account goes on with
            core.reset(start=row)
            while core.accounts["left"][0]:
                row = core.holdings["row"][0, 0]
                steps = core.step(policy(core.observe()).argmax(axis=1))
                held = core.holdings["position"][0, 0]
                expected[row] = steps.log_returns[0]
                positions[row] = held
            liquidations += steps.terminated[0]
            if steps.terminated[0]:
                positions.pop(row)  # held for less than a candle
            row, held = row + 1, 0.0
    known = np.isfinite(path.log_return)
    assert path.rows[known].tolist() == list(expected)
    assert path.log_return[known] == pytest.approx(np.array(list(expected.values())), abs=1e-9)
    assert [path.position[np.searchsorted(path.rows, row)] for row in positions] == list(positions.values())
    assert path.total == pytest.approx(sum(expected.values()), abs=1e-9)
    assert (liquidations > 0) == (case == "liquidated")
    assert (~known).sum() == 4  # two rows of each pair


@pytest.mark.parametrize("seed", range(6))
def test_path_through_liquidations_is_that_of_the_backtest(seed):
    # cheap enough that a stop at -99 % leaves something: the backtest would count a balance below 0
    cheap = {"fee": 0.0002, "slippage": 0.0}
    options = EnvOptions(trading_mode="futures", leverage=20.0, targets=(-1.0, -0.2, 0.0, 0.3), **cheap)
    episodes = draw_episodes(1, 150, mode="futures", volatility=0.008, seed=seed)
    table = np.random.default_rng(seed).integers(0, 4, (150, 4))
    table[1:][np.random.default_rng(seed).random(149) < 0.8] = [0, 1, 2, 3]  # mostly held
    path = evaluate_table(table, episodes.market(), options)
    result = backtest(episodes, path.position, options)
    reasons = result.trades["exit_reason"].tolist()
    assert reasons.count("liquidation") + reasons.count("stop_loss") > 0
    assert len(reasons) > 10
    equity = result.equity["equity"].to_numpy()[1:149] / BALANCE
    assert np.exp(np.cumsum(path.log_return[:148])) == pytest.approx(equity, rel=1e-9)


def test_table_in_small_batches_is_the_same():
    options, market = EnvOptions(trading_mode="futures", window=2), draw_episodes(1, 100, mode="futures").market()
    weights = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    whole = action_table(lambda seen: seen @ weights, market, options)
    np.testing.assert_array_equal(whole, action_table(lambda seen: seen @ weights, market, options, batch=7))
    assert whole.shape == (99, 3)
    assert len(np.unique(whole, axis=0)) > 2


@pytest.mark.parametrize(
    ("options", "table", "message"),
    [
        ({"observe_time": True}, np.zeros((50, 2), dtype=int), "found observe_time set"),
        ({"actions": "continuous"}, np.zeros((50, 2), dtype=int), "found actions continuous"),
        ({}, np.zeros((48, 2), dtype=int), r"expected integers of shape \(50, 2\)"),
        ({}, np.zeros((50, 2)), "of float64, expected integers"),
        ({}, np.full((50, 2), 2), "actions are from 2 to 2, expected 0 to 1"),
        ({}, lambda seen: seen, r"scores of shape \(50, 4\), expected \(50, 2\)"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(options, table, message):
    with pytest.raises(ParameterError, match=message):
        evaluate_table(table, draw_episodes(1, 50).market(), EnvOptions(**options))
