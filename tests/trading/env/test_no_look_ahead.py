"""Nothing after a candle moves what was seen, or earned, up to it; environments that leak are caught."""

from dataclasses import replace

import numpy as np
import pytest

from agent_market.trading.env import EnvOptions, TradingCore, action_table, evaluate_table
from episodes import Episodes, draw_episodes

ALL_SEEN = {"window": 3, "observe_profit": True, "observe_time": True}
CASES = {
    "discrete": {"trading_mode": "futures", "leverage": 3.0, **ALL_SEEN},
    "continuous": {"trading_mode": "futures", "leverage": 3.0, "actions": "continuous", **ALL_SEEN},
}
LENGTH = 80


class PeeksAtTheNextOpen(TradingCore):
    """Shows the position's share at the open after the close at which it is seen."""

    def observe(self, indices=None):
        seen = super().observe(indices)
        rows = self.holdings["row"]
        seen[:, -3] = self.holdings["amount"][:, 0] * self.market.prices[rows[:, 0] + 1, 0]
        return seen


class PaysTheCandleAfter(TradingCore):
    """Values the account one candle later than it should."""

    def step(self, actions):
        steps = super().step(actions)
        row = self.holdings["row"][0, 0]
        later = self.market.prices[min(row + 2, LENGTH - 1), 0] / self.market.prices[row, 0]
        return replace(steps, rewards=steps.rewards * later)


class FillsAtTheSeenClose(TradingCore):
    """Shows features that hold the return of the candle that it will trade in."""

    def observe(self, indices=None):
        seen = super().observe(indices)
        seen[:, 0] = self.market.features[self.holdings["row"][:, 0] + 1, 0]
        return seen


def scramble(episodes: Episodes, after: int, seed: int) -> Episodes:
    """Other prices, features and funding from the candle after `after` on."""
    rng = np.random.default_rng(seed)
    later = np.arange(len(episodes.candles)) > after
    candles, features = episodes.candles.copy(), episodes.features.copy()
    candles.loc[later, ["open", "high", "low", "close"]] *= rng.uniform(0.9, 1.1, (later.sum(), 1)).round(6)
    names = list(features.columns[2:])
    features.loc[later, names] = rng.normal(size=(later.sum(), len(names))).astype("float32")
    funding = episodes.funding.copy()
    funding.loc[funding["date"] > candles["date"].iloc[after], "funding_rate"] = 0.05
    return replace(episodes, candles=candles, features=features, funding=funding)


def follow(core_class: type[TradingCore], episodes: Episodes, options: EnvOptions) -> tuple[np.ndarray, np.ndarray]:
    """Observations (one per row) and rewards (one per decision) of a whole episode."""
    core = core_class(episodes.market(), options)
    core.reset()
    rng, seen, rewards = np.random.default_rng(0), [core.observe()[0]], []
    while core.accounts["left"][0] > 0:
        drawn = rng.integers(0, 3, 1) if options.actions == "discrete" else rng.uniform(-1, 1, (1, 1))
        rewards.append(core.step(drawn).rewards[0])
        seen.append(core.observe()[0])
    return np.array(seen), np.array(rewards)


def leaks(core_class: type[TradingCore], options: EnvOptions) -> bool:
    """Whether scrambled candles after some row move an observation or a reward of that row or an earlier one."""
    options = options.model_copy(update={"episode_length": None, "random_start": False, "bankruptcy": 0.001})
    episodes, first = draw_episodes(length=LENGTH, mode="futures", seed=4), options.window - 1
    seen, rewards = follow(core_class, episodes, options)
    moved = False
    for after in range(first + 2, LENGTH - 3, 7):
        seen_too, rewards_too = follow(core_class, scramble(episodes, after, after), options)
        n_seen = after - first + 1  # of rows up to `after`
        n_known = n_seen - 2  # of decisions whose two opens are not later than `after`
        if not np.array_equal(seen[:n_seen], seen_too[:n_seen]):
            return True
        if not np.array_equal(rewards[:n_known], rewards_too[:n_known]):
            return True
        moved |= not np.array_equal(rewards[n_known : n_known + 2], rewards_too[n_known : n_known + 2])
    assert moved  # what was scrambled matters from the next reward on
    return False


@pytest.mark.parametrize("case", CASES)
def test_no_observation_or_reward_moves_with_later_candles(case):
    assert not leaks(TradingCore, EnvOptions(**CASES[case]))


@pytest.mark.parametrize("leaking", [PeeksAtTheNextOpen, PaysTheCandleAfter, FillsAtTheSeenClose])
@pytest.mark.parametrize("case", CASES)
def test_environment_that_leaks_is_caught(leaking, case):
    assert leaks(leaking, EnvOptions(**CASES[case]))


def test_path_of_a_table_does_not_move_with_later_candles():
    options = EnvOptions(trading_mode="futures", leverage=5.0, window=2)
    weights = np.random.default_rng(0).normal(size=(2 * 3 + 1, 3)).astype(np.float32)
    episodes = draw_episodes(length=LENGTH, mode="futures", seed=4)

    def path(some):
        return evaluate_table(action_table(lambda seen: seen @ weights, some.market(), options), some.market(), options)

    whole = path(episodes)
    for after in range(10, LENGTH - 3, 9):
        other = path(scramble(episodes, after, after))
        known, paid = whole.rows <= after, whole.rows <= after - 2
        np.testing.assert_array_equal(whole.position[known], other.position[known])
        np.testing.assert_array_equal(whole.log_return[paid], other.log_return[paid])
