"""What a strategy is measured against: holding everything, and holding nothing."""

import pandas as pd

from agent_market.errors import DataError
from agent_market.options import timeframe_delta
from agent_market.trading.engine import BacktestResult, simulate
from agent_market.trading.options import BacktestOptions
from agent_market.trading.signals import signals_of
from agent_market.trading.trades import as_trades

ACCOUNT = {"starting_balance", "stake_currency", "tradable_balance_ratio", "fee", "slippage"}


def buy_and_hold(
    candles: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    start: pd.Timestamp,
    end: pd.Timestamp,
    timeframe: str,
    funding: pd.DataFrame | None = None,
) -> BacktestResult:
    """All pairs bought with equal stakes at the first open a strategy could use, sold at the last; costs too.

    `start` and `end` are the first and last date of the strategies' positions, both included, so that the
    first purchase is at the open after `start`. A pair listed later is bought at its own first tradable open. Of
    `options` the account and the costs count, and in futures `funding`; no leverage, no stop, no ROI.
    """
    inside = candles.loc[candles["date"].between(start, end), ["pair", "date"]].astype({"pair": "str"})
    if inside.empty:
        raise DataError(f"no candles from {start} to {end} to buy and hold; load candles for those dates")
    step = timeframe_delta(timeframe)
    spans = inside.groupby("pair")["date"].agg(["min", "max"])
    always_long = [  # in holes of the candles, too: a missing position would sell
        pd.DataFrame({"pair": pair, "date": pd.date_range(first, last, freq=step, unit="ms"), "position": 1.0})
        for pair, first, last in spans.itertuples()
    ]
    return simulate(
        candles,
        signals_of(pd.concat(always_long, ignore_index=True)),
        markets,
        BacktestOptions(**options.model_dump(include=ACCOUNT), max_open_trades=len(spans)),
        timeframe=timeframe,
        trading_mode="futures" if ":" in spans.index[0] else "spot",
        funding=funding,
    )


def always_flat(options: BacktestOptions, *, start: pd.Timestamp, end: pd.Timestamp, timeframe: str) -> BacktestResult:
    """No trades, and the starting balance at every candle from `start` to `end`, both included."""
    dates = pd.date_range(start, end, freq=timeframe_delta(timeframe), unit="ms")
    equity = pd.DataFrame({"date": dates, "equity": options.starting_balance, "exposure": 0.0, "n_open": 0})
    return BacktestResult(as_trades([]), equity)
