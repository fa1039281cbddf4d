"""Many episodes at once over one market: the account, the clock and the eyes of every environment here."""

from dataclasses import dataclass

import numpy as np

from agent_market.errors import ParameterError
from agent_market.trading.env.arrays import LOOK_AHEAD, EpisodeMarket
from agent_market.trading.env.kernels import ACCOUNT, HOLDING, TERMS, begin, observe, step_all
from agent_market.trading.env.options import EnvOptions
from agent_market.trading.options import BacktestOptions

SHORTEST = 8
"""Episodes of a first, staggered generation last at least so many-th of the full length."""


@dataclass(frozen=True)
class Steps:
    """What one step of n episodes brought, each (n,).

    rewards: float64; terminated: bankrupt or liquidated; truncated: at the end of its rows or its length.
    log_returns: log of the growth of the equity, costs paid, float64.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    log_returns: np.ndarray


class TradingCore:
    """`n_envs` episodes of one pair each, stepped together.

    A decision is made at the close of a row, filled at the open of the next and rewarded with what the equity gains
    from there to the open after: log change net of costs, times `reward_scale`. Rewards of an episode add up to the
    log of `accounts["equity"]`, which is 1 at its start; the account follows the backtest's rules.

    Discrete actions are indices of `options.levels`, continuous ones positions from -1 to 1 (in spot, below 0 is 0).
    An observation is the window of features, oldest candle first, then the position, and what else the options show.
    """

    def __init__(self, market: EpisodeMarket, options: EnvOptions, n_envs: int = 1, *, seed: int = 0) -> None:
        self.market, self.options, self.n_envs = market, options, n_envs
        self.rows = self._rows()  # (stretches, pairs, 2): first row of decisions, and one after the last
        self.n_pairs = self.rows.shape[1]
        self.all = np.arange(n_envs)
        self.n_decisions = self.rows[:, 0, 1] - self.rows[:, 0, 0]
        self.up_to = np.cumsum(self.n_decisions)
        self.terms = terms_of(options)
        self.terms["funds"] &= market.funding.any()  # what is zero need not be looked up
        self.accounts = np.zeros(n_envs, dtype=ACCOUNT)
        self.holdings = np.zeros((n_envs, self.n_pairs), dtype=HOLDING)
        self.levels = np.asarray(options.levels)
        n_states = 1 + options.observe_profit + options.observe_time
        self.width = self.n_pairs * (options.window * market.features.shape[1] + n_states)
        self.seed(seed)

    def seed(self, seed: int | None) -> None:
        """Start the generator of this core anew; None: from the system's entropy."""
        self.rng = np.random.default_rng(seed)

    def reset(
        self, indices: np.ndarray | None = None, *, stagger: bool = False, start: np.ndarray | int | None = None
    ) -> None:
        """Begin new episodes in the places `indices` (None: all); nothing of those before is left.

        Where and for how long is drawn from the core's own generator. `stagger` draws their lengths, so that episodes
        do not end together; `start` gives their first rows instead (of the first pair, where there are several).

        Raises ParameterError if `start` is a row in which no decision can be made.
        """
        indices = self.all if indices is None else np.asarray(indices)
        n = len(indices)
        where, offset, when = self.rng.random((3, n))  # all at once: this is on the way of every step
        if start is not None:
            stretch, offset = self._place(np.broadcast_to(np.asarray(start), n))
        elif self.options.random_start:
            stretch = self.up_to.searchsorted((where * self.up_to[-1]).astype(np.int64), side="right")
            available = self.n_decisions[stretch]  # stretches are drawn by it
            offset = (offset * (available - self._length(available) + 1)).astype(np.int64)
        else:
            stretch, offset = indices % len(self.n_decisions), np.zeros(n, dtype=np.int64)
        length = self._length(self.n_decisions[stretch] - offset)
        if stagger:
            shortest = np.maximum(length // SHORTEST, 1)
            length = shortest + (when * (length + 1 - shortest)).astype(np.int64)
        rows = self.rows[stretch, :, 0] + offset[:, None]
        begin(self.accounts, self.holdings, indices, np.asarray(length, dtype=np.int64), rows)

    def step(self, actions: np.ndarray) -> Steps:
        """Act on `actions` (n_envs,), or (n_envs, pairs) if continuous, for one candle.

        Episodes that end stay as they are until they are reset. Raises ParameterError if one of them was not.
        """
        n = self.n_envs
        rewards, log_returns = np.empty(n), np.empty(n)
        terminated, truncated = np.empty(n, dtype=bool), np.empty(n, dtype=bool)
        market, mine = self.market, (self.accounts, self.holdings)
        ended = step_all(
            market.prices, market.funding, self.terms, *mine, self.wishes(actions), rewards, log_returns, terminated,
            truncated,
        )  # fmt: skip
        if ended:
            raise ParameterError(f"{ended} of {n} episodes have ended: call reset before the next step")
        return Steps(rewards, terminated, truncated, log_returns)

    def observe(self, indices: np.ndarray | None = None) -> np.ndarray:
        """What the episodes in the places `indices` (None: all) see at the close of their rows, float32 (k, width)."""
        indices = self.all if indices is None else indices
        out = np.empty((len(indices), self.width), dtype=np.float32)
        market = self.market
        observe(market.features, market.prices, self.terms, self.accounts, self.holdings, indices, out)
        return out

    def wishes(self, actions: np.ndarray) -> np.ndarray:
        """The positions that the actions ask for, float64 (n_envs, pairs)."""
        if self.options.actions == "discrete":
            return self.levels[np.asarray(actions).reshape(self.n_envs, self.n_pairs)]
        lowest = 0.0 if self.options.trading_mode == "spot" else -1.0
        return np.clip(np.asarray(actions, dtype=np.float64).reshape(self.n_envs, self.n_pairs), lowest, 1.0)

    def _rows(self) -> np.ndarray:
        return self.market.decisions(self.options.window)[:, None, :]

    def _length(self, available: np.ndarray) -> np.ndarray:
        longest = self.options.episode_length
        return available if longest is None else np.minimum(available, longest)

    def _place(self, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The stretch and the offset in it of each first row."""
        first, stop = self.rows[:, 0, 0], self.rows[:, 0, 1]
        stretch = np.maximum(np.searchsorted(first, start, side="right") - 1, 0)
        offset = start - first[stretch]
        if ((offset < 0) | (start >= stop[stretch])).any():
            raise ParameterError(
                f"an episode cannot start at row {start.min()} to {start.max()}: decisions are made in the rows "
                f"{[(int(a), int(b - 1)) for a, b in zip(first[:3], stop[:3], strict=True)]}{' …' * (len(first) > 3)}, "
                f"{LOOK_AHEAD} before the end of each stretch"
            )
        return stretch, offset


def terms_of(options: EnvOptions) -> np.ndarray:
    """The options as the kernels take them: one record of TERMS."""
    terms = np.zeros(1, dtype=TERMS)
    is_futures = options.trading_mode == "futures"
    terms["cost"], terms["leverage"] = options.cost_per_side, options.leverage
    terms["band"] = np.inf if options.actions == "discrete" else options.rebalance_band
    terms["funds"] = is_futures and options.funding
    part = abs(BacktestOptions.model_fields["stoploss"].default) / options.leverage
    terms["stop_long"], terms["stop_short"] = 1 - part, 1 + part
    terms["end_long"] = _liquidation(1, options) if is_futures else 0.0
    terms["end_short"] = _liquidation(-1, options) if is_futures else np.inf
    terms["bankruptcy"], terms["penalty"] = options.bankruptcy, options.drawdown_penalty
    terms["scale"], terms["window"] = options.reward_scale, options.window
    terms["sees_profit"], terms["sees_time"] = options.observe_profit, options.observe_time
    return terms


def _liquidation(side: int, options: EnvOptions) -> float:
    """The price at which a position is liquidated, as a multiple of its entry: isolated margin, one tier.

    See `_liquidation` in `trading/kernels/entries.py`.
    """
    price = (1 / options.leverage - side) / (options.maintenance_margin - side)
    return max(price + side * abs(1 - price) * options.liquidation_buffer, 0.0)
