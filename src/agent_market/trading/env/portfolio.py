"""One account over several pairs: an action per pair, and the rest is cash."""

from typing import Any, ClassVar

import gymnasium
import numpy as np

from agent_market.errors import DataError, ParameterError
from agent_market.trading.env.arrays import LOOK_AHEAD, EpisodeMarket
from agent_market.trading.env.core import TradingCore
from agent_market.trading.env.options import EnvOptions
from agent_market.trading.env.single import TradingEnv


class PortfolioCore(TradingCore):
    """`n_envs` episodes of one account each that holds all pairs of the market, by the same rules.

    Actions (n_envs, pairs) are the notionals wished for, as parts of equity times leverage; where their sizes add up to
    more than 1 all are scaled down to that, and what they leave is cash. An observation is the window of features of
    each pair in turn, then the positions of all pairs, and what else the options show. An episode runs over candles
    that all pairs have.

    Raises ParameterError unless `actions` is continuous, DataError if the pairs have no candles in common.
    """

    def __init__(self, market: EpisodeMarket, options: EnvOptions, n_envs: int = 1, *, seed: int = 0) -> None:
        if options.actions != "continuous":
            raise ParameterError(f"a portfolio's actions are weights: set actions to continuous, not {options.actions}")
        super().__init__(market, options, n_envs, seed=seed)

    @property
    def pairs(self) -> list[str]:
        """The pairs in the order of the actions."""
        return [str(self.market.pair[row]) for row in self.rows[0, :, 0]]

    def wishes(self, actions: np.ndarray) -> np.ndarray:
        """The positions that the actions ask for, float64 (n_envs, pairs)."""
        wishes = super().wishes(actions)
        return wishes / np.maximum(np.abs(wishes).sum(axis=1, keepdims=True), 1.0)

    def _rows(self) -> np.ndarray:
        return common_rows(self.market, self.options.window)


class PortfolioEnv(TradingEnv):
    """Trade all pairs of a market with one account, candle by candle, with the backtest's rules for costs and exits.

    ## Action space
    `Box(-1, 1, (pairs,))`: for each pair, in alphabetical order, the notional wished for as a part of equity times
    leverage; short below 0, in spot flat. Sizes that add up to more than 1 are scaled down to 1; the rest is cash. Each
    is brought there at the next open unless it is within `rebalance_band` of its wish; costs are paid on what is bought
    and sold.

    ## Observation space
    `Box(-inf, inf, (n,), float32)`, all known at the close of *t*, with P pairs, W = `window` and F features:

    | place                        | observation                                  | unit                            |
    |------------------------------|----------------------------------------------|---------------------------------|
    | 0 … P·W·F − 1                | features of each pair, oldest candle first   | as given                        |
    | P·W·F … P·W·F + P − 1        | share of each pair, at the close             | part of equity times leverage   |
    | P more, if asked for         | profit of each position before costs         | percent of the equity at entry  |
    | P more, if asked for         | time in each position                        | ln(1 + candles)                 |

    Time, reward, start and end are those of `TradingEnv`; the liquidation of one position ends the episode. `info` has
    `weights` (pairs,), the shares at the close, in place of `position`; `row` is that of the first pair.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    action_space: gymnasium.spaces.Box

    def _core(self, market: EpisodeMarket, options: EnvOptions, seed: int) -> TradingCore:
        return PortfolioCore(market, options, seed=seed)

    def _info(self, log_return: float) -> dict[str, Any]:
        info = super()._info(log_return)
        del info["position"]
        core = self.core
        first = core.n_pairs * core.options.window * core.market.features.shape[1]
        return info | {"weights": core.observe()[0, first : first + core.n_pairs]}


def common_rows(market: EpisodeMarket, window: int) -> np.ndarray:
    """The rows in which a portfolio may decide: (stretches, pairs, 2) int64, the first and one after the last.

    All pairs have these candles, the `window` behind the first and the two after the last. Raises DataError if there
    are none.
    """
    parts = [np.arange(max(a, reach + window - 1), b) for a, b, reach in market.stretches]
    number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    codes, pair = np.unique(market.pair.codes[rows], return_inverse=True)
    dates, date = np.unique(market.date[rows].asi8, return_inverse=True)
    place = np.full((len(dates), len(codes)), -1, dtype=np.int64)
    stretch = np.full((len(dates), len(codes)), -1, dtype=np.int64)
    place[date, pair], stretch[date, pair] = rows, number
    shared = np.flatnonzero((place >= 0).all(axis=1))
    breaks = np.flatnonzero((np.diff(shared) > 1) | (np.diff(stretch[shared], axis=0) != 0).any(axis=1)) + 1
    runs = [run for run in np.split(shared, breaks) if len(run) > LOOK_AHEAD]
    if not runs:
        raise DataError(
            f"the {len(codes)} pairs of the market have no stretch of {LOOK_AHEAD + window} candles in common; leave "
            "out the pairs that start late or end early"
        )
    return np.array([np.column_stack([place[run[0]], place[run[-LOOK_AHEAD]]]) for run in runs])
