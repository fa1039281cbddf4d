"""Many episodes at once over one market: the account, the clock and the eyes of every environment here."""

from dataclasses import dataclass

import numpy as np

from agent_market.errors import ParameterError
from agent_market.trading.env.arrays import LOOK_AHEAD, MarketArrays
from agent_market.trading.env.kernels import ACCOUNT, HOLDING, TERMS, begin, observe_all, step_all
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

    def __init__(self, market: MarketArrays, options: EnvOptions, n_envs: int = 1, *, seed: int = 0) -> None:
        self.market, self.options, self.n_envs = market, options, n_envs
        self.rows = self._rows()  # (stretches, pairs, 2): first row of decisions, and one after the last
        self.n_pairs = self.rows.shape[1]
        self.n_decisions = self.rows[:, 0, 1] - self.rows[:, 0, 0]
        self.terms = terms_of(options)
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
        indices = np.arange(self.n_envs) if indices is None else np.asarray(indices)
        n = len(indices)
        if start is not None:
            stretch, offset = self._place(np.broadcast_to(np.asarray(start), n))
        elif self.options.random_start:
            up_to = np.cumsum(self.n_decisions)  # stretches are drawn by their length
            stretch = np.searchsorted(up_to, self.rng.integers(0, up_to[-1], n), side="right")
            spare = self.n_decisions[stretch] - self._length(self.n_decisions[stretch])
            offset = self.rng.integers(0, spare + 1)
        else:
            stretch, offset = indices % len(self.n_decisions), np.zeros(n, dtype=np.int64)
        length = self._length(self.n_decisions[stretch] - offset)
        if stagger:
            length = self.rng.integers(np.maximum(length // SHORTEST, 1), length + 1)
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

    def observe(self) -> np.ndarray:
        """What each episode sees at the close of its row, float32 (n_envs, width)."""
        out = np.empty((self.n_envs, self.width), dtype=np.float32)
        observe_all(self.market.features, self.market.prices, self.terms, self.accounts, self.holdings, out)
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
    terms["is_futures"], terms["funds"] = is_futures, is_futures and options.funding
    terms["maintenance"], terms["buffer"] = options.maintenance_margin, options.liquidation_buffer
    terms["stoploss"] = abs(BacktestOptions.model_fields["stoploss"].default)
    terms["bankruptcy"], terms["penalty"] = options.bankruptcy, options.drawdown_penalty
    terms["scale"], terms["window"] = options.reward_scale, options.window
    terms["sees_profit"], terms["sees_time"] = options.observe_profit, options.observe_time
    return terms
