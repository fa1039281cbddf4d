"""What costs do to a strategy: its figures at other costs, and the cost at which nothing is left."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.trading.options import BacktestOptions
from agent_market.trading.sweep import sweep_options

MULTIPLES = tuple(np.arange(0.0, 3.01, 0.25).tolist())
"""Of the configured cost per side: what the curve shows."""

WITHOUT_COSTS = 0.001
"""Cost per side that stands for the configured one where that is zero."""

MOST = 0.05
"""The highest fee per side that a backtest takes, fraction."""


@dataclass(frozen=True)
class CostSweep:
    """`curve` has multiple, cost (per side, fraction), total_return, sharpe, one row each; `break_even` is that cost
    per side at which the mean daily net return is zero: NaN without a trade and for what loses even before costs, and
    infinite for what still gains at the highest cost that there is."""

    curve: pd.DataFrame
    break_even: float


def sweep_costs(
    candles: pd.DataFrame,
    signals: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
    trading_days: int = 365,
) -> CostSweep:
    """The same signals at other costs per side (fee and slippage together), each a whole backtest.

    Arguments are those of `sweep_options`. The break-even cost is found by backtests on ever narrower grids, and so
    counts what a formula of turnover leaves out: that stakes shrink with the account, and that stops may move.
    """

    def at(costs: np.ndarray) -> pd.DataFrame:
        table = sweep_options(
            candles,
            signals,
            markets,
            [options.model_copy(update={"fee": float(cost), "slippage": 0.0}) for cost in costs],
            timeframe=timeframe,
            trading_mode=trading_mode,
            funding=funding,
            trading_days=trading_days,
        )
        return table.assign(cost=costs)

    unit = options.cost_per_side or WITHOUT_COSTS
    costs = np.minimum(unit * np.array(MULTIPLES), MOST)
    curve = at(costs).assign(multiple=MULTIPLES)[["multiple", "cost", "total_return", "sharpe", "trades"]]
    wide = np.concatenate([costs, np.geomspace(costs[-1], MOST, 12)[1:]]) if costs[-1] < MOST else costs
    grid = pd.concat([curve, at(wide[len(costs) :])]) if len(wide) > len(costs) else curve
    for _ in range(2):
        low, high = _bracket(grid)
        if not math.isfinite(high):
            return CostSweep(curve, high if low > 0.0 else math.nan)
        grid = at(np.linspace(low, high, 17))
    low, high = _bracket(grid)
    left, right = (grid.loc[grid["cost"] == cost, "sharpe"].iloc[0] for cost in (low, high))
    return CostSweep(curve, float(low + (high - low) * left / (left - right)))


def _bracket(grid: pd.DataFrame) -> tuple[float, float]:
    """The last cost at which the Sharpe ratio is above zero and the next one; (0, inf) if none, (last, inf) if all."""
    gains = np.flatnonzero((grid["sharpe"] > 0.0).to_numpy())
    costs = grid["cost"].to_numpy()
    if not len(gains):
        return 0.0, math.inf
    return float(costs[gains[-1]]), float(costs[gains[-1] + 1]) if gains[-1] + 1 < len(costs) else math.inf
