"""Every packaged set sees no future, by both sets of rules, and knows no unit and no order of pairs."""

import numpy as np
import pandas as pd
import pytest

from agent_market.factors import compute_factors, factor_sets, load_factors
from causality import assert_causal
from panels import random_candles


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    """Four pairs with a hole, missing values, a candle without volume and a late listing."""
    table = random_candles(4, 420, seed=4)
    table.loc[[200, 650, 651], ["close", "volume"]] = np.nan
    table.loc[300, "volume"] = 0.0
    late = (table["pair"] == "DD/USDT") & (table.groupby("pair", observed=True).cumcount() < 150)
    return table[~late].drop(index=range(500, 503)).reset_index(drop=True)


def compute(candles: pd.DataFrame, name: str, compat: str = "sane") -> pd.DataFrame:
    with_vwap = candles.assign(vwap=(candles["high"] + candles["low"] + 2 * candles["close"]) / 4)
    return compute_factors(with_vwap, load_factors(name), timeframe="1h", compat=compat, check=False)


@pytest.mark.parametrize("compat", ["sane", "qlib"])
@pytest.mark.parametrize("name", factor_sets())
def test_no_factor_sees_the_future(candles, name, compat):
    assert_causal(lambda table: compute(table, name, compat), candles, cuts=(0.55, 0.85))


@pytest.mark.parametrize("name", factor_sets())
def test_no_factor_depends_on_the_unit_of_price_or_volume(candles, name):
    other = candles.copy()
    scale = candles["pair"].map({pair: 10.0 ** (3 * i - 6) for i, pair in enumerate(candles["pair"].cat.categories)})
    prices = ["open", "high", "low", "close"]
    other[prices] = candles[prices].mul(scale.astype(float), axis=0)
    other["volume"] = candles["volume"] * 1e4
    expected, found = compute(candles, name), compute(other, name)
    for factor in without_unit(name):
        slack = 1e-5 * float(np.nanmedian(np.abs(expected[factor])))
        np.testing.assert_allclose(found[factor], expected[factor], rtol=1e-4, atol=max(slack, 1e-6), err_msg=factor)


def without_unit(name: str) -> list[str]:
    """The factors of a set, but for those whose definition has a unit: the logarithm of (volume + 1)."""
    return [factor for factor in load_factors(name) if not (name == "alpha158" and factor.startswith("corr"))]


@pytest.mark.parametrize("name", factor_sets())
def test_no_factor_depends_on_the_order_of_the_pairs(candles, name):
    turned = pd.concat([rows for _, rows in reversed(list(candles.groupby("pair", observed=True)))])
    expected = compute(candles, name)
    found = compute(turned.reset_index(drop=True), name).sort_values(["pair", "date"], ignore_index=True)
    cross = [factor for factor, text in load_factors(name).items() if "cs_" in text]
    single = [factor for factor in load_factors(name) if factor not in cross]
    pd.testing.assert_frame_equal(found[single], expected[single], check_exact=True)
    np.testing.assert_allclose(found[cross], expected[cross], rtol=1e-6, atol=1e-6)
