"""One episode at a time, as a Gymnasium environment."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from agent_market.errors import ParameterError
from agent_market.trading.env.arrays import EpisodeMarket
from agent_market.trading.env.core import TradingCore
from agent_market.trading.env.options import EnvOptions


class TradingEnv(gymnasium.Env):
    """Trade one pair of a market, candle by candle, with the backtest's rules.

    ## Description
    At the close of a candle *t* the agent chooses a position. It is filled at the open of *t+1*, where fee and slippage
    are paid, and valued at the open of *t+2*. Prices do not react. Rules, costs and the order of events are those of
    the embedded engine: the chosen positions, replayed there on one pair with the whole balance at stake, give the
    same equity.

    ## Action space
    Discrete (the default): the number of a position in `options.levels`.

    | number | spot | futures |
    |--------|------|---------|
    | 0      | flat | short   |
    | 1      | long | flat    |
    | 2      |      | long    |

    A position is traded only if its side changes; its size counts when it is opened. Continuous: `Box(-1, 1, (1,))`,
    the notional wished for as a part of equity times leverage; in spot, below 0 is flat. The position is brought there
    at the open unless it is within `rebalance_band` of it.

    ## Observation space
    `Box(-inf, inf, (n,), float32)`, all known at the close of *t*, with W = `window` and F features:

    | place               | observation                                             | unit                          |
    |---------------------|---------------------------------------------------------|-------------------------------|
    | 0 … W·F − 1         | features, oldest candle first                           | as given                      |
    | W·F                 | position: what it was opened with; continuous: its      | part of equity times leverage |
    |                     | present share, at the close                             |                               |
    | then, if asked for  | profit of the open position before costs, at the close  | percent of the equity at entry|
    | then, if asked for  | time in the position                                    | ln(1 + candles)               |

    ## Reward
    `reward_scale` × log(equity at the open of *t+2* / equity at the open of *t+1*), after fee, slippage and funding.
    Rewards of an episode add up to `reward_scale` × log of its equity. Two options for training change that:
    `cost_multiplier` and `drawdown_penalty`.

    ## Starting state
    Flat, an equity of 1, at a row drawn evenly from those that leave room for an episode; `reset(options={"row": r})`
    starts at row r of the market instead.

    ## Episode end
    - Termination: the equity is below `bankruptcy`, or the position was liquidated or stopped at a loss of 99 %.
    - Truncation: after `episode_length` decisions, or where the next reward would lie beyond the rows given.

    `info` has `row` (of the present observation), `equity`, `position` (signed, as opened), `log_return` (of the step)
    and `trades` (entries so far).
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, market: EpisodeMarket, options: EnvOptions | None = None, *, seed: int = 0) -> None:
        self.core = self._core(market, options or EnvOptions(), seed)
        self.observation_space, self.action_space = spaces_of(self.core)
        self.render_mode = None
        self.reset(seed=seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: the first observation and `info`.

        Raises ParameterError for an unknown option or a row in which no decision can be made.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.core.seed(seed)
        if unknown := (options or {}).keys() - {"row"}:
            raise ParameterError(f"reset has no option {sorted(unknown)}; it has row, the first row of the episode")
        self.core.reset(start=(options or {}).get("row"))
        return self.core.observe()[0], self._info(0.0)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act for one candle: observation, reward, terminated, truncated, info.

        Raises ParameterError if the episode has ended, or for an action that there is not.
        """
        if not self.action_space.contains(action):
            raise ParameterError(f"there is no action {action!r}; expected one of {self.action_space}")
        done = self.core.step(np.asarray([action]))
        info = self._info(float(done.log_returns[0]))
        return self.core.observe()[0], float(done.rewards[0]), bool(done.terminated[0]), bool(done.truncated[0]), info

    def _core(self, market: EpisodeMarket, options: EnvOptions, seed: int) -> TradingCore:
        return TradingCore(market, options, seed=seed)

    def _info(self, log_return: float) -> dict[str, Any]:
        account, holding = self.core.accounts[0], self.core.holdings[0, 0]
        return {
            "row": int(holding["row"]),
            "equity": float(account["equity"]),
            "position": float(holding["position"]),
            "log_return": log_return,
            "trades": int(account["trades"]),
        }


def spaces_of(core: TradingCore) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
    """The observation and the action space of one episode of `core`."""
    observations = spaces.Box(-np.inf, np.inf, (core.width,), np.float32)
    if core.options.actions == "discrete":
        return observations, spaces.Discrete(len(core.levels))
    return observations, spaces.Box(-1.0, 1.0, (core.n_pairs,), np.float32)
