"""Where episodes start and end, what they remember, and the traps that other environments fell into."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_market.errors import DataError, ParameterError
from agent_market.trading.env import EnvOptions, TradingCore, TradingEnv
from episodes import draw_episodes

LENGTHS = st.one_of(st.none(), st.integers(1, 60))


@settings(max_examples=60, deadline=None)
@given(
    kept=st.lists(st.booleans(), min_size=80, max_size=80),
    window=st.integers(1, 6),
    length=LENGTHS,
    seed=st.integers(0, 99),
    stagger=st.booleans(),
)
def test_no_episode_leaves_its_rows_or_crosses_a_pair_or_a_hole(kept, window, length, seed, stagger):
    rows = np.flatnonzero(np.repeat(kept, 2))  # of two pairs with 80 candles each
    market = draw_episodes(2, 80, rows=rows).market()
    options = EnvOptions(window=window, episode_length=length)
    try:
        core = TradingCore(market, options, 20, seed=seed)
    except DataError:
        joined = np.split(rows, np.flatnonzero((np.diff(rows) > 1) | (np.diff(rows // 80) > 0)) + 1)
        assert not any(len(run) > 2 and run[-3] % 80 >= window - 1 for run in joined)
        return
    core.reset(stagger=stagger)
    start = core.holdings["row"][:, 0].copy()
    assert (start % 80 >= window - 1).all()
    last = start + core.accounts["left"] + 1  # the row whose open the last reward needs
    for first, end in zip(start, last, strict=True):
        assert np.isin(np.arange(first, end + 1), rows).all()
        assert first // 80 == end // 80
    if length is not None:
        assert (core.accounts["left"] <= length).all()


def test_starts_cover_all_rows_and_no_other():
    market = draw_episodes(2, 100, rows=np.r_[10:50, 120:190]).market()
    core = TradingCore(market, EnvOptions(episode_length=5), 4000)
    core.reset()
    start = core.holdings["row"][:, 0]
    assert set(start) == {*range(10, 44), *range(120, 184)}
    assert (start < 100).mean() == pytest.approx(38 / (38 + 68), abs=0.03)  # stretches by their number of decisions


def test_prices_and_features_outside_of_the_rows_are_never_used():
    episodes = draw_episodes(1, 100, rows=np.arange(30, 70))
    market = episodes.market()
    prices, features = market.prices.copy(), market.features.copy()
    prices[:30], prices[70:], features[:27], features[70:] = np.nan, np.nan, np.nan, np.nan  # windows reach back
    core = TradingCore(
        type(market)(features, prices, market.funding, market.pair, market.date, market.stretches),
        EnvOptions(window=4, episode_length=None, random_start=False),
    )
    core.reset()
    while core.accounts["left"][0]:
        assert np.isfinite(core.observe()).all()
        assert np.isfinite(core.step(np.array([1])).rewards).all()
    assert core.holdings["row"][0, 0] == 68


def test_reset_with_a_seed_repeats_and_without_one_goes_on():
    env = TradingEnv(draw_episodes(1, 500).market(), EnvOptions(episode_length=20))
    first = [env.reset(seed=7)[1]["row"], *[env.reset()[1]["row"] for _ in range(5)]]
    again = [env.reset(seed=7)[1]["row"], *[env.reset()[1]["row"] for _ in range(5)]]
    assert first == again
    assert len(set(first)) > 3
    assert [env.reset(seed=8)[1]["row"], *[env.reset()[1]["row"] for _ in range(5)]] != first


def test_nothing_of_an_episode_is_left_in_the_next():
    options = EnvOptions(trading_mode="futures", observe_profit=True, observe_time=True, drawdown_penalty=0.5)
    market = draw_episodes(1, 300, mode="futures").market()
    used, fresh = TradingEnv(market, options), TradingEnv(market, options)
    for _ in range(40):
        used.step(2)
    seen, info = used.reset(options={"row": 100})
    expected, expected_info = fresh.reset(options={"row": 100})
    np.testing.assert_array_equal(seen, expected)
    assert seen[-3:].tolist() == [0.0, 0.0, 0.0]  # flat, no profit, no time
    assert info == expected_info
    for action in (0, 2, 2, 1, 0):
        got, wanted = used.step(action), fresh.step(action)
        np.testing.assert_array_equal(got[0], wanted[0])
        assert got[1:] == wanted[1:]


def test_step_after_the_end_and_unknown_actions_and_rows_are_refused():
    env = TradingEnv(draw_episodes(1, 100).market(), EnvOptions(episode_length=2))
    env.reset(options={"row": 0})
    env.step(0)
    assert env.step(0)[3]
    with pytest.raises(ParameterError, match="episodes have ended: call reset"):
        env.step(0)
    with pytest.raises(ParameterError, match="no action 2"):
        env.step(2)
    with pytest.raises(ParameterError, match="cannot start at row 98 to 98"):
        env.reset(options={"row": 98})
    with pytest.raises(ParameterError, match=r"no option \['start'\]"):
        env.reset(options={"start": 0})


def constant_market(mode: str, price: float = 100.0, length: int = 120, **funding):
    episodes = draw_episodes(1, length, mode=mode)
    episodes.candles[["open", "high", "low", "close"]] = price
    if mode == "futures":
        episodes.funding[["funding_rate", "mark_price"]] = [funding["rate"], price]
    return episodes


def test_funding_of_a_held_short_adds_up_over_time():
    episodes = constant_market("futures", rate=-0.001)  # shorts pay
    options = EnvOptions(trading_mode="futures", episode_length=None, random_start=False, fee=0, slippage=0)
    core = TradingCore(episodes.market(), options)
    core.reset()
    while core.accounts["left"][0]:
        core.step(np.array([0]))
    paid = episodes.funding["date"].between(episodes.candles["date"].iloc[1], episodes.candles["date"].iloc[118])
    assert paid.sum() > 14
    assert core.accounts["equity"][0] == pytest.approx(1 - 0.001 * paid.sum(), abs=1e-12)


def test_costs_are_in_the_reward_and_churning_loses_what_it_pays():
    options = EnvOptions(episode_length=None, random_start=False)
    core = TradingCore(constant_market("spot").market(), options)
    core.reset()
    total = sum(core.step(np.array([i % 2])).rewards[0] for i in range(100))
    trip = 1 - 2 * options.cost_per_side  # into the market and out of it
    assert total / options.reward_scale == pytest.approx(49 * np.log(trip) + np.log(1 - options.cost_per_side))
    assert core.accounts["turnover"][0] == pytest.approx(99, abs=1)


def test_one_candle_of_foresight_that_costs_eat_up_earns_no_reward():
    episodes = draw_episodes(1, 300, volatility=0.0003)
    options = EnvOptions(episode_length=None, random_start=False)
    core = TradingCore(episodes.market(), options)
    core.reset()
    opens, total = episodes.candles["open"].to_numpy(), 0.0
    while core.accounts["left"][0]:
        row = core.holdings["row"][0, 0]
        total += core.step(np.array([int(opens[row + 2] > opens[row + 1])])).rewards[0]
    assert total < 0
    assert total == pytest.approx(100 * np.log(core.accounts["equity"][0]), abs=1e-9)


def test_features_that_are_all_ones_are_nothing_special():
    episodes = draw_episodes(1, 100)
    episodes.features.iloc[:, 2:] = 1.0
    core = TradingCore(episodes.market(), EnvOptions(random_start=False))
    core.reset()
    core.step(np.array([1]))
    assert core.holdings["amount"][0, 0] > 0


def test_stakes_are_no_whole_numbers():
    core = TradingCore(constant_market("spot", price=60_000.0).market(), EnvOptions(random_start=False))
    core.reset()
    core.step(np.array([1]))
    assert core.holdings["amount"][0, 0] == pytest.approx(1 / 60_000)


def test_terminal_step_brings_its_own_reward_and_nothing_else():
    episodes = draw_episodes(1, 100)
    episodes.candles.loc[50:, ["open", "high", "low", "close"]] *= 0.05
    core = TradingCore(episodes.market(), EnvOptions(episode_length=None, random_start=False))
    core.reset()
    rewards, steps = [], None
    while core.accounts["left"][0]:
        steps = core.step(np.array([1]))
        rewards.append(steps.rewards[0])
    assert (steps.terminated[0], steps.truncated[0], len(rewards)) == (True, False, 49)
    assert sum(rewards) == pytest.approx(100 * np.log(core.accounts["equity"][0]), abs=1e-9)
    assert rewards[-1] < -200


def test_episodes_that_run_side_by_side_see_different_candles():
    core = TradingCore(draw_episodes(2, 1000).market(), EnvOptions(), 64)
    core.reset()
    assert len(np.unique(core.holdings["row"])) > 50


def test_training_options_change_the_reward_as_they_say():
    market = draw_episodes(1, 200, volatility=0.02).market()
    rewards = {}
    for name, extra in {"plain": {}, "penalty": {"drawdown_penalty": 0.5}, "scale": {"reward_scale": 1.0}}.items():
        core = TradingCore(market, EnvOptions(episode_length=None, random_start=False, **extra))
        core.reset()
        rewards[name] = np.array([core.step(np.array([1])).rewards[0] for _ in range(150)])
    equity = np.exp(np.cumsum(rewards["scale"]))
    peak = np.maximum.accumulate(np.append(1.0, equity))
    deeper = np.maximum(np.diff(np.log(peak / np.append(1.0, equity))), 0)
    assert rewards["plain"] == pytest.approx(100 * rewards["scale"])
    assert rewards["penalty"] == pytest.approx(100 * (rewards["scale"] - 0.5 * deeper))
    doubled = TradingCore(market, EnvOptions(random_start=False, cost_multiplier=3.0))
    doubled.reset()
    assert doubled.terms["cost"][0] == pytest.approx(0.0036)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": (-1.0, 0.0)}, "in spot each must lie from 0 to 1"),
        ({"targets": (0.5, 1.0)}, "0 among them"),
        ({"targets": (0.0, 1.0, 1.0)}, "two different ones or more"),
        ({"leverage": 2.0}, "set trading_mode to futures"),
        ({"windows": 3}, "Extra inputs"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EnvOptions(**options)
