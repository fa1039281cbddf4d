"""The embedded engine beside freqtrade's own backtester: the same trades, and the time that each takes.

Both trade the same positions on the same simulated candles in one run; the ratio is what counts, not the seconds.
"""

import argparse
import time

import numpy as np
import pandas as pd

from agent_market import trading
from agent_market.market import clean_candles, simulate
from agent_market.market.options import MarketOptions
from agent_market.trading.options import BacktestOptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--candles", type=int, default=10_000, help="per pair")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()

    market = MarketOptions(n_pairs=chosen.pairs, n_candles=chosen.candles, seed=1)
    candles, _ = clean_candles(simulate(market), market)
    positions = random_positions(candles)
    options = BacktestOptions()
    markets = trading.snapshot_markets(candles, fee=options.fee, trading_mode="spot")
    arguments = (candles, positions, markets, options)
    how = {"timeframe": "1h", "trading_mode": "spot"}

    times: dict[str, list[float]] = {"embedded": [], "freqtrade": []}
    for _ in range(chosen.repeats):
        for name, engine in (("embedded", trading.simulate), ("freqtrade", trading.run_freqtrade)):
            started = time.perf_counter()
            result = engine(*arguments, **how)
            times[name].append(time.perf_counter() - started)
            if name == "embedded":
                ours = result.trades
    same = trading.compare_trades(ours, result.trades, starting_balance=options.starting_balance)

    print(f"{len(candles):,} candles, {len(ours):,} trades: {same['verdict']}")
    for name, seconds in times.items():
        print(f"{name:10s} min {min(seconds):6.2f} s  median {np.median(seconds):6.2f} s")
    ratios = np.divide(times["freqtrade"], times["embedded"])
    print(f"freqtrade / embedded: min {ratios.min():.0f}  median {np.median(ratios):.0f}  max {ratios.max():.0f}")


def random_positions(candles: pd.DataFrame) -> pd.DataFrame:
    """Positions that change at random, about once in 20 candles."""
    rng = np.random.default_rng(0)
    change = rng.random(len(candles)) < 0.05
    drawn = pd.Series(np.where(change, rng.integers(0, 2, len(candles)), np.nan))
    held = drawn.groupby(candles["pair"].astype(str)).ffill().fillna(0.0)
    return candles[["pair", "date"]].assign(position=held.to_numpy())


if __name__ == "__main__":
    main()
