"""Small markets for the trading tests: some drawn at random, some written out by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

START = pd.Timestamp("2024-01-29", tz="UTC").as_unit("ms")  # a few days on, the month's tick changes


@pytest.fixture
def random_candles() -> Callable[..., pd.DataFrame]:
    """A function that draws candles of random walks, priced with `decimals` decimals."""

    def draw(pairs: list[str], length: int, *, seed: int = 0, price: float = 100.0, decimals: int = 2):
        rng = np.random.default_rng(seed)
        tables = []
        for pair in pairs:
            walk = price * np.exp(rng.normal(0, 0.01, (length, 4)).ravel().cumsum()).reshape(length, 4)
            prices = walk.round(decimals)
            tables.append(
                pd.DataFrame(
                    {
                        "pair": pair,
                        "date": pd.date_range(START, periods=length, freq="h", unit="ms"),
                        "open": prices[:, 0],
                        "high": prices.max(axis=1),
                        "low": prices.min(axis=1),
                        "close": prices[:, 3],
                        "volume": 1.0,
                        "filled": False,
                    }
                )
            )
        return pd.concat(tables, ignore_index=True).astype({"pair": "category"})

    return draw


@pytest.fixture
def random_positions() -> Callable[..., pd.DataFrame]:
    """A function that draws a position for every candle, changed with some probability per candle."""

    def draw(candles: pd.DataFrame, *, seed: int = 1, change: float = 0.1) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        drawn = np.where(rng.random(len(candles)) < change, rng.integers(-1, 2, len(candles)), np.nan)
        held = pd.Series(drawn).groupby(candles["pair"].to_numpy()).ffill().fillna(0.0)
        return candles[["pair", "date"]].assign(position=held.to_numpy())

    return draw


@pytest.fixture
def written_candles() -> Callable[..., pd.DataFrame]:
    """A function that makes hourly candles of opens: each closes at the next open, the last at its own."""

    def write(**opens: list[float]) -> pd.DataFrame:
        tables = []
        for name, prices in sorted(opens.items()):
            opening = np.array(prices, dtype="float64")
            close = np.append(opening[1:], opening[-1])
            tables.append(
                pd.DataFrame(
                    {
                        "pair": name.replace("_", "/", 1).replace("_", ":"),
                        "date": pd.date_range(START, periods=len(opening), freq="h", unit="ms"),
                        "open": opening,
                        "high": np.maximum(opening, close),
                        "low": np.minimum(opening, close),
                        "close": close,
                        "volume": 1.0,
                        "filled": False,
                    }
                )
            )
        return pd.concat(tables, ignore_index=True).astype({"pair": "category"})

    return write


@pytest.fixture
def written_positions() -> Callable[..., pd.DataFrame]:
    """A function that makes a table of positions from one list per pair, an hour apart."""

    def write(**positions: list[float]) -> pd.DataFrame:
        tables = [
            pd.DataFrame(
                {
                    "pair": name.replace("_", "/", 1).replace("_", ":"),
                    "date": pd.date_range(START, periods=len(values), freq="h", unit="ms"),
                    "position": np.array(values, dtype="float64"),
                }
            )
            for name, values in sorted(positions.items())
        ]
        return pd.concat(tables, ignore_index=True).astype({"pair": "category"})

    return write
