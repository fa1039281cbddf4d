"""Backtests on arrays: the market is made once, signals and results are arrays, and no table is built in between."""

import pandas as pd

from agent_market.errors import DataError
from agent_market.options import timeframe_delta
from agent_market.trading.book import MarketArrays, prepare_market
from agent_market.trading.markets import check_trading_mode
from agent_market.trading.window import PRICES, check_candles, check_markets, sorted_rows


def market_arrays(
    candles: pd.DataFrame,
    markets: dict[str, dict],
    *,
    timeframe: str,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
) -> MarketArrays:
    """The market of `candles`, from the first to the last of their dates, for any number of backtests on arrays.

    `dates` and `pairs` of what is returned name the rows and columns of the arrays that `pack_signals` and
    `sweep_scores` take. Parameters are those of `simulate`.

    Raises
    ------
    ParameterError, DataError
        Candles, markets or funding lack something, or do not fit together.
    """
    check_trading_mode(trading_mode)
    missing = [name for name in ("pair", "date", *PRICES) if name not in candles]
    if missing or candles.empty:
        raise DataError(f"candles: {'no rows' if not missing else 'missing columns: ' + ', '.join(missing)}")
    table, step = sorted_rows(candles[["pair", "date", *PRICES]]), timeframe_delta(timeframe)
    check_markets(table["pair"].cat.categories, markets)
    check_candles(table, step, timeframe)
    return prepare_market(table, markets, step=step, trading_mode=trading_mode, funding=funding)
