"""Small made-up candles for tests that need some, and do not care which."""

import numpy as np
import pandas as pd


def random_candles(n_pairs: int = 4, n_candles: int = 400, *, seed: int = 0, start: str = "2024-01-01") -> pd.DataFrame:
    """Hourly candles of a random walk, sorted by (pair, date), in the `candles` contract."""
    rng = np.random.default_rng(seed)
    pairs = [f"{chr(ord('A') + i)}{chr(ord('A') + i)}/USDT" for i in range(n_pairs)]
    dates = pd.date_range(start, periods=n_candles, freq="h", tz="UTC").as_unit("ms")
    tables = []
    for pair in pairs:
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n_candles)))
        opens = np.r_[100.0, close[:-1]]
        wick = rng.gamma(2.0, 0.002, (2, n_candles))
        tables.append(
            pd.DataFrame(
                {
                    "pair": pair,
                    "date": dates,
                    "open": opens,
                    "high": np.maximum(opens, close) * (1 + wick[0]),
                    "low": np.minimum(opens, close) * (1 - wick[1]),
                    "close": close,
                    "volume": rng.lognormal(5, 1, n_candles),
                    "filled": False,
                }
            )
        )
    candles = pd.concat(tables, ignore_index=True)
    return candles.assign(pair=pd.Categorical(candles["pair"], categories=pairs))


def random_features(candles: pd.DataFrame, n_features: int = 5, *, seed: int = 1) -> pd.DataFrame:
    """Random float32 features in the `features` contract, independent of the candles."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(candles), n_features)).astype(np.float32)
    names = [f"f{i}" for i in range(n_features)]
    return pd.concat([candles[["pair", "date"]], pd.DataFrame(values, columns=names)], axis=1)


def scramble_after(candles: pd.DataFrame, cut: pd.Timestamp, *, seed: int = 99) -> pd.DataFrame:
    """The same candles up to and including `cut`, and other prices and volumes after it."""
    rng = np.random.default_rng(seed)
    changed = candles.copy()
    later = (changed["date"] > cut).to_numpy()
    factor = np.exp(rng.normal(0, 0.5, later.sum()))
    for column in ("open", "high", "low", "close"):
        changed.loc[later, column] *= factor
    changed.loc[later, "volume"] *= rng.uniform(0.1, 10, later.sum())
    return changed
