"""What a sweep keeps of a backtest, as `evaluation.metrics` defines it."""

import math

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import ENTRY


@njit(**ENTRY)
def write_figures(account, starting_balance, daily, periods, figures):
    """Final balance, total return, trades, win rate, largest drawdown and Sharpe ratio into `figures` (6,)."""
    figures[0] = account[0]["equity"]
    figures[1] = account[0]["equity"] / starting_balance - 1.0
    figures[2] = account[0]["n_closed"]
    figures[3] = account[0]["n_won"] / account[0]["n_closed"] if account[0]["n_closed"] > 0 else np.nan
    figures[4] = -account[0]["drawdown"]
    figures[5] = _sharpe(daily, starting_balance, periods)


@njit(nogil=True)
def _sharpe(daily, starting_balance, periods):
    """Mean over deviation of simple daily returns, annualised; NaN without a deviation. Ruin returns -1, then 0."""
    n = daily.size
    mean, squares, before = 0.0, 0.0, starting_balance
    for day in range(n):  # Welford's mean and sum of squared deviations
        change = daily[day] / before - 1.0 if before > 0.0 else 0.0
        before = daily[day]
        step = change - mean
        mean += step / (day + 1)
        squares += step * (change - mean)
    deviation = math.sqrt(squares / (n - 1)) if n > 1 else 0.0
    return mean * math.sqrt(periods) / deviation if deviation > 1e-15 else np.nan
