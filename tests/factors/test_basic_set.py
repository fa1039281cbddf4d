"""The default factors: causal, free of units, and alive on every kind of market."""

import numpy as np
import pandas as pd
import pytest

from agent_market.factors import compute_factors, load_factors, look_back
from causality import assert_causal
from panels import random_candles


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return random_candles(4, 480, seed=2)


def basic(candles: pd.DataFrame) -> pd.DataFrame:
    return compute_factors(candles, load_factors("basic"), timeframe="1h")


def test_no_factor_looks_into_the_future(candles):
    assert_causal(basic, candles, cuts=(0.6, 0.8))


def test_no_factor_depends_on_the_unit_of_price_or_volume(candles):
    other = candles.copy()
    prices = ["open", "high", "low", "close"]
    scale = candles["pair"].map({pair: 10.0 ** (i - 4) for i, pair in enumerate(candles["pair"].cat.categories)})
    other[prices] = candles[prices].mul(scale.astype(float), axis=0)
    other["volume"] = candles["volume"] * 1e4
    expected, found = basic(candles), basic(other)
    for name in load_factors("basic"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_each_factor_is_known_on_every_candle_once_its_look_back_is_full(candles):
    features = basic(candles)
    for name, text in load_factors("basic").items():
        known = features.groupby("pair", observed=True)[name].apply(lambda x: x.notna().to_numpy())
        full = look_back(text) - 1
        assert all(mask[full:].all() for mask in known), name


def test_the_single_pair_set_works_with_one_pair_of_daily_candles():
    daily = random_candles(1, 400)
    daily["date"] = pd.date_range("2020-01-01", periods=400, freq="D", tz="UTC").as_unit("ms")
    features = compute_factors(daily, load_factors("single_pair"), timeframe="1d")
    assert features.iloc[-1].notna().all()


@pytest.fixture(scope="module")
def real_features(shared_dir) -> pd.DataFrame:
    tables = []
    for pair in ("BTC", "ETH", "DOGE"):
        table = pd.read_feather(shared_dir / "market" / "binance" / f"{pair}_USDT-1h.feather").head(6000)
        tables.append(table.assign(pair=f"{pair}/USDT"))
    candles = pd.concat(tables, ignore_index=True).sort_values(["pair", "date"], ignore_index=True)
    return basic(candles.astype({"pair": "category"})).drop(columns=["pair", "date"])


def test_every_factor_lives_on_real_candles(real_features):
    share = real_features.notna().mean()
    assert share.min() > 0.75, share.nsmallest(3)  # each outage of the exchange costs one length of the window


def test_no_factor_repeats_another_on_real_candles(real_features):
    correlation = real_features.rank().corr().abs()
    np.fill_diagonal(values := correlation.to_numpy().copy(), 0)
    first, second = np.unravel_index(np.nanargmax(values), values.shape)
    assert np.nanmax(values) < 0.985, f"{correlation.columns[first]} and {correlation.columns[second]}"
