"""Candles for an exchange on this machine."""

import numpy as np
import pandas as pd

START = "2024-01-01"


def hourly(n_candles: int, *, start: str = START, seed: int = 1, price: float = 100.0) -> pd.DataFrame:
    """Hourly candles as an exchange has them: prices of two decimals, each open the close before."""
    random = np.random.default_rng(seed)
    path = np.round(price * np.cumprod(1 + random.normal(0, 0.002, n_candles + 1)), 2)
    opens, closes = path[:-1], path[1:]
    wicks = np.round(np.abs(random.normal(0, 0.1, (2, n_candles))), 2)
    return pd.DataFrame(
        {
            "date": pd.date_range(start, periods=n_candles, freq="h", tz="UTC", unit="ms"),
            "open": opens,
            "high": np.round(np.maximum(opens, closes) + wicks[0], 2),
            "low": np.round(np.minimum(opens, closes) - wicks[1], 2),
            "close": closes,
            "volume": np.round(random.gamma(2.0, 10.0, n_candles), 3),
        }
    )


def funding(n_rates: int, *, start: str = START, seed: int = 2) -> pd.DataFrame:
    """A rate every eight hours, noted some milliseconds late, as on Binance."""
    random = np.random.default_rng(seed)
    dates = pd.date_range(start, periods=n_rates, freq="8h", tz="UTC", unit="ms")
    late = pd.to_timedelta(random.integers(0, 20, n_rates), unit="ms")
    return pd.DataFrame(
        {"date": (dates + late).as_unit("ms"), "funding_rate": np.round(random.normal(1e-4, 5e-5, n_rates), 8)}
    )
