"""Continuous positions and portfolios against an account kept in another, slow and obvious way."""

import numpy as np
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading.env import EnvOptions, PortfolioEnv, TradingCore
from agent_market.trading.env.portfolio import PortfolioCore
from episodes import draw_episodes

FUTURES = {"trading_mode": "futures", "actions": "continuous", "bankruptcy": 0.001}


class SlowAccount:
    """A balance from which costs and funding go at once, and for each pair an amount bought at an average price."""

    def __init__(self, episodes, options):
        candles = episodes.candles
        self.options = options
        self.tables = {pair: rows.reset_index(drop=True) for pair, rows in candles.groupby("pair", observed=True)}
        self.paid = {pair: {} for pair in self.tables}
        if episodes.funding is not None:
            for row in episodes.funding.itertuples():
                self.paid[row.pair][row.date] = row.funding_rate * row.mark_price
        self.balance, self.held = 1.0, {}

    def equity(self, candle, column="open"):
        return self.balance + sum(
            amount * (self.tables[pair].loc[candle, column] - entry) for pair, (amount, entry) in self.held.items()
        )

    def trade(self, pair, amount, price):
        """Bring a holding to an amount at a price; what it earned goes to the balance, as do costs."""
        before, entry = self.held.pop(pair, (0.0, price))
        self.balance -= (self.options.fee + self.options.slippage) * abs(amount - before) * price
        if before * amount <= 0:  # left, or turned
            self.balance += before * (price - entry)
            entry = price
        elif abs(amount) < abs(before):
            self.balance += (before - amount) * (price - entry)
        else:
            entry = (entry * before + price * (amount - before)) / amount
        if amount != 0:
            self.held[pair] = (amount, entry)

    def live(self, candle, wishes):
        """One candle: funding, trades at its open, liquidation inside; the equity at the next open."""
        for pair, (amount, _) in self.held.items():
            self.balance -= amount * self.funding(pair, candle)
        opens = {pair: table.loc[candle, "open"] for pair, table in self.tables.items()}
        equity, leverage = self.equity(candle), self.options.leverage
        traded = {}
        for pair, wish in wishes.items():
            share = self.held.get(pair, (0.0, 0.0))[0] * opens[pair] / equity / leverage
            if abs(wish - share) >= self.options.rebalance_band:
                traded[pair] = wish
                if share != 0 and wish * share <= 0:
                    self.trade(pair, 0.0, opens[pair])
        stake = self.equity(candle)
        for pair, wish in traded.items():
            amount, before = stake * wish * leverage / opens[pair], self.held.get(pair, (0.0, 0.0))[0]
            if amount != before:
                self.trade(pair, amount, opens[pair])
            if abs(amount) > abs(before):
                self.balance -= (amount - before) * self.funding(pair, candle)
        is_over = False
        for pair in list(self.held):
            is_over |= self.liquidate(pair, candle)
        return self.equity(candle + 1), is_over

    def liquidate(self, pair, candle):
        amount, entry = self.held[pair]
        row, side, options = self.tables[pair].loc[candle], np.sign(amount), self.options
        margin = entry / options.leverage
        price = (margin - side * entry) / (options.maintenance_margin - side)
        price = max(price + side * options.liquidation_buffer * abs(entry - price), 0)
        stop = entry - side * 0.99 * margin  # where it is reached as well, freqtrade takes it for the reason
        price = stop if (row["low"] <= stop if side > 0 else row["high"] >= stop) else price
        if price <= 0 or not (row["low"] <= price if side > 0 else row["high"] >= price):
            return False
        self.trade(pair, 0.0, row["open"] if (price > row["high"] if side > 0 else price < row["low"]) else price)
        return True

    def funding(self, pair, candle):
        is_paid = self.options.trading_mode == "futures" and self.options.funding
        return self.paid[pair].get(self.tables[pair].loc[candle, "date"], 0.0) if is_paid else 0.0


@pytest.mark.parametrize("n_pairs", [1, 3])
@pytest.mark.parametrize("leverage", [1.0, 10.0])
@pytest.mark.parametrize("gaps", [0.0, 2.0])
def test_equity_is_that_of_the_slow_account(n_pairs, leverage, gaps):
    options = EnvOptions(**FUTURES, leverage=leverage, episode_length=None, random_start=False)
    liquidated = 0
    for seed in range(3):
        episodes = draw_episodes(n_pairs, 120, seed=seed, mode="futures", gaps=gaps, volatility=0.03)
        core, slow = PortfolioCore(episodes.market(), options), SlowAccount(episodes, options)
        core.reset()
        rng = np.random.default_rng(seed)
        for candle in range(1, 119):
            action = rng.uniform(-1.3, 1.3, n_pairs) * rng.integers(0, 2, n_pairs)
            wish = np.clip(action, -1, 1) / max(np.abs(np.clip(action, -1, 1)).sum(), 1)
            before = core.accounts["equity"][0]
            steps = core.step(action[None])
            equity, is_over = slow.live(candle, dict(zip(slow.tables, wish, strict=True)))
            assert core.accounts["equity"][0] == pytest.approx(equity, rel=1e-9)
            assert steps.log_returns[0] == pytest.approx(np.log(equity / before), abs=1e-9)
            assert steps.terminated[0] == is_over
            if is_over:
                liquidated += 1
                break
    assert liquidated > 0 or leverage == 1


def test_portfolio_of_one_pair_is_the_continuous_environment():
    options = EnvOptions(**FUTURES, leverage=2.0, observe_profit=True, observe_time=True, window=3)
    market = draw_episodes(1, 300, mode="futures").market()
    alone, portfolio = TradingCore(market, options, 4, seed=1), PortfolioCore(market, options, 4, seed=1)
    alone.reset(stagger=True)
    portfolio.reset(stagger=True)
    rng = np.random.default_rng(0)
    for _ in range(30):
        np.testing.assert_array_equal(alone.observe(), portfolio.observe())
        actions = rng.uniform(-1, 1, (4, 1))
        np.testing.assert_array_equal(alone.step(actions).rewards, portfolio.step(actions).rewards)


def test_share_within_the_band_is_left_alone_and_costs_nothing():
    options = EnvOptions(actions="continuous", rebalance_band=0.2, random_start=False)
    core = TradingCore(draw_episodes().market(), options)
    core.reset()
    core.step(np.array([[0.6]]))
    amount, turnover = core.holdings["amount"][0, 0], core.accounts["turnover"][0]
    for wish in (0.5, 0.7, 0.45):
        core.step(np.array([[wish]]))
    assert core.holdings["amount"][0, 0] == amount
    assert core.accounts["turnover"][0] == turnover == pytest.approx(0.6)
    core.step(np.array([[0.2]]))
    assert core.holdings["amount"][0, 0] < amount


def test_negative_wish_is_flat_in_spot():
    options = EnvOptions(actions="continuous", random_start=False)
    core = TradingCore(draw_episodes().market(), options)
    core.reset()
    assert core.step(np.array([[-1.0]])).log_returns[0] == 0.0
    assert core.holdings["amount"][0, 0] == 0.0


def test_weights_of_a_portfolio_never_add_up_to_more_than_one():
    env = PortfolioEnv(draw_episodes(3, 100).market(), EnvOptions(actions="continuous", fee=0, slippage=0))
    env.reset(options={"row": 0})
    info = env.step(np.ones(3, dtype=np.float32))[4]
    assert info["weights"].sum() == pytest.approx(1.0)
    assert env.core.accounts["cash"][0] == pytest.approx(0.0)
    info = env.step(np.zeros(3, dtype=np.float32))[4]
    assert info["weights"].tolist() == [0.0, 0.0, 0.0]


def test_portfolio_needs_weights_and_candles_in_common():
    episodes = draw_episodes(2, 50)
    with pytest.raises(ParameterError, match="set actions to continuous"):
        PortfolioCore(episodes.market(), EnvOptions())
    early_and_late = draw_episodes(2, 50, rows=np.r_[0:20, 70:100])
    with pytest.raises(DataError, match="no stretch of 3 candles in common"):
        PortfolioCore(early_and_late.market(), EnvOptions(actions="continuous"))


def test_portfolio_trades_only_where_all_pairs_have_candles():
    market = draw_episodes(2, 50, rows=np.r_[0:30, 60:100]).market()  # the second pair starts at candle 10
    core = PortfolioCore(market, EnvOptions(actions="continuous", window=3))
    assert core.rows.tolist() == [[[10, 28], [60, 78]]]
    assert core.pairs == ["A/USDT", "B/USDT"]
