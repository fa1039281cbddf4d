"""What kind of market each candle closed in, as it could be known at that close."""

import numpy as np
import pandas as pd

from agent_market.options import timeframe_delta

DAY = pd.Timedelta("1D")
VOLATILITY_DAYS = 7
TREND_DAYS = 30
HISTORY_DAYS = 30
"""Less history than this gives no rank of today's volatility."""
CRASH = -0.2
"""A fall of the market from its highest close of `TREND_DAYS` that counts as a crash."""

VOLATILITY = ("calm", "normal", "turbulent")
TREND = ("rising", "falling", "crash")


def market_regimes(candles: pd.DataFrame, *, timeframe: str) -> pd.DataFrame:
    """The regime of the market at each close: date, volatility and trend; both missing where too little came before.

    The market is the mean of the pairs' log returns. `volatility` says in which third of all values *so far* the
    deviation of the last 7 days lies: calm, normal, turbulent. `trend` is a crash while the market is 20 % or more
    below its highest close of 30 days, else rising or falling by its return of 30 days. A later candle changes no row.
    """
    step = timeframe_delta(timeframe)
    close = candles.pivot_table(index="date", columns="pair", values="close", observed=True).sort_index()
    returns = np.log(close).diff().mean(axis=1)
    week, month = (max(int(days * DAY / step), 2) for days in (VOLATILITY_DAYS, TREND_DAYS))
    deviation = returns.rolling(week).std()
    rank = deviation.expanding(max(int(HISTORY_DAYS * DAY / step), 2)).rank(pct=True)
    level = returns.fillna(0.0).cumsum()
    change = level.diff(month)
    fallen = np.expm1(level - level.rolling(month).max())
    trend = np.select([fallen <= CRASH, change < 0.0, change >= 0.0], ["crash", "falling", "rising"], "")
    third = np.select([rank <= 1.0 / 3.0, rank <= 2.0 / 3.0, rank <= 1.0], VOLATILITY, "")
    return pd.DataFrame(
        {
            "date": close.index,
            "volatility": _categories(third, rank.notna(), VOLATILITY),
            "trend": _categories(trend, change.notna(), TREND),
        }
    )


def _categories(names: np.ndarray, known: pd.Series, categories: tuple[str, ...]) -> pd.Categorical:
    codes = pd.Index(categories).get_indexer(names)
    return pd.Categorical.from_codes(np.where(known, codes, -1), categories=list(categories))
