"""From predictions to positions, and from these to an account: one way for the backtest, tuning and robustness."""

from typing import Any

import pandas as pd

from agent_market import trading
from agent_market.market.options import MarketOptions
from agent_market.trading.options import BacktestOptions


def positions_of(
    predictions: pd.DataFrame, candles: pd.DataFrame, backtest: BacktestOptions, market: MarketOptions
) -> pd.DataFrame:
    """Target position of each pair and candle by the configured rule, none over gaps: pair, date, position."""
    gaps = {"timeframe": market.timeframe, "max_gap": market.max_gap}
    decided = trading.decide_positions(
        predictions,
        backtest.positions,
        allow_short=market.trading_mode == "futures",
        candles=candles,
        trading_days=market.trading_days,
        **gaps,
    )
    return trading.wait_out_gaps(decided, **gaps)


def trade_predictions(
    predictions: pd.DataFrame,
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame | None,
    market_snapshot: dict[str, Any],
    backtest: BacktestOptions,
    market: MarketOptions,
) -> trading.BacktestResult:
    """The account that trades them from the first candle to the last, by the embedded engine."""
    signals = trading.signals_of(positions_of(predictions, candles, backtest, market))
    how = {"timeframe": market.timeframe, "trading_mode": market.trading_mode, "funding": funding_rates}
    return trading.simulate(candles, signals, market_snapshot, backtest, **how)
