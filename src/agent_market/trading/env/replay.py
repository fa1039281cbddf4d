"""What given positions earn, by the account of the environment."""

import numpy as np

from agent_market.trading.env.arrays import EpisodeMarket
from agent_market.trading.env.options import FLAT, EnvOptions
from agent_market.trading.env.table import Path, evaluate_table, seen_rows


def replay_positions(market: EpisodeMarket, positions: np.ndarray, options: EnvOptions) -> Path:
    """The path of an account that follows `positions` (n_rows of the market,), whatever it holds.

    Each stretch begins flat. Sizes are taken to the hundredth; as in the backtest they count when a position is opened.
    Of `options` the costs and the rules of the account count.
    """
    sizes = np.round(positions, 2)
    rows = np.concatenate(seen_rows(market, options))
    levels = np.union1d(sizes[rows], [FLAT, 1.0])  # there are two levels at the least
    table = np.repeat(np.searchsorted(levels, sizes[rows])[:, None], len(levels), axis=1)
    rules = options.model_copy(update={"actions": "discrete", "targets": tuple(levels.tolist())})
    seen = {"observe_profit": False, "observe_time": False}
    return evaluate_table(table, market, rules.model_copy(update=seen))
