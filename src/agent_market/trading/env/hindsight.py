"""What would have been best: the positions of someone who knew the prices of the rows given, and of no others."""

import numpy as np

from agent_market.errors import ParameterError
from agent_market.market.execution import ENTERED, HELD, OPEN
from agent_market.trading.env.arrays import EpisodeMarket
from agent_market.trading.env.options import EnvOptions

LEAST = 1e-4
"""What is left at the least, as a fraction, of an account in the sums of logarithms here."""


def best_actions(market: EpisodeMarket, options: EnvOptions) -> tuple[np.ndarray, np.ndarray]:
    """The rows in which a decision can be made (n,), and the best action there for each position held (n, levels).

    By dynamic programming (Bellman), from the last row of each stretch backwards: the largest sum of log returns to
    its end, fees, slippage and funding paid. Positions count as if brought to their size at every open, which makes
    what comes later independent of the account; stops and liquidation are not foreseen.

    Raises ParameterError if actions are not discrete.
    """
    if options.actions != "discrete":
        raise ParameterError(f"what is best in hindsight is found among `targets`, and actions are {options.actions}")
    bounds = market.decisions(options.window)
    tables = [_best_of(market, first, stop, options) for first, stop in bounds]
    return np.concatenate([np.arange(*bound) for bound in bounds]), np.concatenate(tables)


def _best_of(market: EpisodeMarket, first: int, stop: int, options: EnvOptions) -> np.ndarray:
    """The best actions (stop - first, levels) in the rows [first, stop), all of one stretch."""
    levels = np.asarray(options.levels)
    size, side = options.leverage * levels, np.sign(levels)
    filled, valued = np.arange(first, stop) + 1, np.arange(first, stop) + 2
    price = market.prices[filled, OPEN]
    held, entered = np.zeros(len(filled)), np.zeros(len(filled))
    if options.trading_mode == "futures" and options.funding:
        held, entered = market.funding[valued, HELD] / price, market.funding[filled, ENTERED] / price
    growth = 1.0 + (market.prices[valued, OPEN] / price - 1.0 - held)[:, None] * size
    gains = np.log(np.maximum(growth, LEAST))  # (n, next)
    turns = side[:, None] != side  # (now, next)
    traded = np.abs(size)[:, None] + np.abs(size)
    costs = np.where(turns, -np.log(np.maximum(1.0 - options.cost_per_side * traded, LEAST)), 0.0)
    best, later, now = (
        np.empty((len(filled), len(levels)), dtype=np.int64),
        np.zeros(len(levels)),
        np.arange(len(levels)),
    )
    for t in range(len(filled) - 1, -1, -1):
        worth = gains[t] + later - costs - turns * (entered[t] * size)
        best[t] = worth.argmax(axis=1)
        later = worth[now, best[t]]
    return best
