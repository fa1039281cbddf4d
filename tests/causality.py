"""Checks that a computation looks at no candle after the one that it speaks of."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd


def assert_causal(
    compute: Callable[[pd.DataFrame], pd.DataFrame],
    candles: pd.DataFrame,
    cuts: Sequence[float] = (0.5, 0.8),
    key: Sequence[str] = ("pair", "date"),
    *,
    seed: int = 0,
) -> None:
    """Assert that what `compute` says up to a date is the same whatever the candles after that date are.

    `compute` takes candles and gives a table with one row per `key`; `cuts` are shares of the range of dates. At
    each cut the future is cut off, then replaced by other candles; the rows up to the cut must stay equal, value
    by value, NaN by NaN, and none may come or go. The AssertionError names column, date and both values.
    """
    key = list(key)
    whole = compute(candles)
    assert set(key) <= set(whole.columns), f"compute must return the columns {key}, got {list(whole.columns)}"
    assert len(whole.columns) > len(key), "compute returned no column besides the key: there is nothing to check"
    dates = np.sort(candles["date"].unique())
    for share in cuts:
        cut = pd.Series(dates).iloc[int(share * (len(dates) - 1))]
        past = _upto(whole, cut, key)
        assert len(past), f"compute returned no row up to {cut}: there is nothing to check"
        _assert_same(past, _upto(compute(_cut_off(candles, cut)), cut, key), f"cut off after {cut}")
        _assert_same(past, _upto(compute(_scramble(candles, cut, seed)), cut, key), f"scrambled after {cut}")


def _cut_off(candles: pd.DataFrame, cut: pd.Timestamp) -> pd.DataFrame:
    kept = candles[candles["date"] <= cut].reset_index(drop=True)
    if isinstance(kept["pair"].dtype, pd.CategoricalDtype):
        kept["pair"] = kept["pair"].cat.remove_unused_categories()
    return kept


def _scramble(candles: pd.DataFrame, cut: pd.Timestamp, seed: int) -> pd.DataFrame:
    """The same rows, with other positive prices (low <= open, close <= high) and volumes after the cut."""
    rng = np.random.default_rng(seed)
    scrambled = candles.copy()
    future = (candles["date"] > cut).to_numpy()
    level = candles["close"].median() * rng.lognormal(0, 2, future.sum())
    prices = np.sort(level[:, None] * rng.lognormal(0, 0.1, (future.sum(), 4)), axis=1)
    for column, values in zip(("low", "open", "close", "high"), prices.T, strict=True):
        scrambled.loc[future, column] = values
    scrambled.loc[future, "volume"] = rng.lognormal(0, 3, future.sum())
    return scrambled


def _upto(table: pd.DataFrame, cut: pd.Timestamp, key: list[str]) -> pd.DataFrame:
    past = table[table["date"] <= cut]
    return past.astype({name: str for name in key if name != "date"}).set_index(key).sort_index()


def _assert_same(expected: pd.DataFrame, found: pd.DataFrame, what: str) -> None:
    assert list(expected.columns) == list(found.columns), f"other columns with the future {what}"
    assert expected.index.equals(found.index), (
        f"with the future {what}, {len(expected.index.symmetric_difference(found.index))} earlier rows come or go"
    )
    for column in expected.columns:
        old, new = expected[column].to_numpy(), found[column].to_numpy()
        moved = np.flatnonzero((old != new) & ~(pd.isna(old) & pd.isna(new)))
        assert not moved.size, (
            f"{column} looks into the future: with the future {what}, {moved.size} earlier values change; the first "
            f"at {dict(zip(expected.index.names, expected.index[moved[0]], strict=True))} from {old[moved[0]]} "
            f"to {new[moved[0]]}"
        )
