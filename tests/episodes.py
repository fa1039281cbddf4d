"""Small markets for environments, and the backtest that an episode is compared to."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from agent_market.learning.samples import FeatureTensor, Samples
from agent_market.market.execution import ExecutionPrices
from agent_market.trading import BacktestOptions, BacktestResult, signals_of, simulate, snapshot_markets
from agent_market.trading.env import EnvOptions, EpisodeMarket, build_market

START = pd.Timestamp("2024-01-29", tz="UTC").as_unit("ms")
BALANCE = 1e6


@dataclass(frozen=True)
class Episodes:
    """Candles, features and funding of a small market, and the rows that agents may use."""

    candles: pd.DataFrame
    features: pd.DataFrame
    funding: pd.DataFrame | None
    rows: np.ndarray
    timeframe: str = "1h"

    def samples(self) -> Samples:
        tensor = FeatureTensor.from_frame(self.features, timeframe=self.timeframe)
        prices = ExecutionPrices.from_candles(self.candles, self.funding, timeframe=self.timeframe)
        return Samples(replace(tensor, execution=prices), self.rows)

    def market(self) -> EpisodeMarket:
        return build_market(self.samples())


def draw_episodes(
    n_pairs: int = 1,
    length: int = 200,
    *,
    seed: int = 0,
    mode: str = "spot",
    volatility: float = 0.01,
    gaps: float = 0.0,
    n_features: int = 3,
    rows: np.ndarray | None = None,
    hours: int = 1,
) -> Episodes:
    """Random walks with a tick of 1e-10, so that nothing is rounded.

    `gaps` is how far a candle opens from the last close, in volatilities.
    Features are the return of the last candle and noise, so that they move with the candles up to their row.
    Futures have a funding rate each 8 hours, and one at odd hours.
    """
    rng = np.random.default_rng(seed)
    suffix = "/USDT:USDT" if mode == "futures" else "/USDT"
    dates = pd.date_range(START, periods=length, freq=f"{hours}h", unit="ms")
    clock = pd.date_range(START, dates[-1], freq="h", unit="ms")
    tables, rates = [], []
    for number in range(n_pairs):
        moves = rng.normal(0, volatility, (length, 4))
        moves[:, 0] *= gaps
        walk = (100 * np.exp(moves.ravel().cumsum())).round(10).reshape(length, 4)
        prices = {"open": walk[:, 0], "high": walk.max(axis=1), "low": walk.min(axis=1), "close": walk[:, 3]}
        pair = f"{chr(65 + number)}{suffix}"
        tables.append(pd.DataFrame({"pair": pair, "date": dates, **prices, "volume": 1.0, "filled": False}))
        paid = clock[(clock.hour % 8 == 0) | (rng.random(len(clock)) < 0.05)]
        rate = {"funding_rate": rng.normal(0, 1e-3, len(paid)), "mark_price": rng.uniform(95, 105, len(paid))}
        rates.append(pd.DataFrame({"pair": pair, "date": paid, **rate}))
    candles = pd.concat(tables, ignore_index=True).astype({"pair": "category"})
    features = candles[["pair", "date"]].assign(
        move=(candles["close"] / candles["open"] - 1).astype("float32") * 100,
        **{f"noise_{i}": rng.normal(size=len(candles)).astype("float32") for i in range(1, n_features)},
    )
    funding = pd.concat(rates, ignore_index=True) if mode == "futures" else None
    return Episodes(candles, features, funding, np.arange(len(candles)) if rows is None else rows, f"{hours}h")


def backtest(episodes: Episodes, positions: np.ndarray, options: EnvOptions) -> BacktestResult:
    """The embedded engine on the first pair, told to round nothing: `positions` (n_rows,) decided at each close."""
    candles, mode = episodes.candles, options.trading_mode
    account = BacktestOptions(
        starting_balance=BALANCE,
        tradable_balance_ratio=1.0,
        max_open_trades=1,
        fee=options.fee,
        slippage=options.slippage,
        leverage=options.leverage,
        liquidation_buffer=options.liquidation_buffer,
    )
    markets = snapshot_markets(candles, fee=options.fee, trading_mode=mode)
    for market in markets.values():
        market["precision"]["amount"] = 1e-14
        market["limits"] = {kind: {"min": None, "max": None} for kind in market["limits"]}
        tier = {"minNotional": 0.0, "maxNotional": None, "maxLeverage": 125.0, "maintAmt": 0.0}
        if mode == "futures":
            market["leverageTiers"] = [tier | {"maintenanceMarginRate": options.maintenance_margin}]
    decided = candles[["pair", "date"]].assign(position=positions)
    paid = episodes.funding if options.funding else None
    return simulate(
        candles, signals_of(decided), markets, account, timeframe=episodes.timeframe, trading_mode=mode, funding=paid
    )
