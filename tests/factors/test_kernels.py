"""Windowed operators on series made to break them: ties, constants, huge and tiny values side by side, holes."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_market.factors import compute_factors
from agent_market.factors.kernels.order import LONG

SIZES = (LONG - 1, LONG, LONG + 1, 2 * LONG)
VALUES = st.sampled_from([0.0, 1.0, 1.0, 2.0, -1.0, 0.3, 0.1 + 0.2, 1e-8, 2e-8, 1e6, 1e6 + 1e-3, 1e12, -3e11, np.nan])


def known_or_flat(x: np.ndarray) -> bool:
    return bool((x == x[0]).all())


def deviation(x: np.ndarray) -> float:
    return 0.0 if known_or_flat(x) else np.std(x, ddof=1)


def slope(x: np.ndarray) -> float:
    time = np.arange(len(x)) - (len(x) - 1) / 2
    return float((time * (x - x.mean())).sum() / (time**2).sum())


REFERENCE = {
    "ts_mean(close, {w})": np.mean,
    "ts_sum(close, {w})": np.sum,
    "ts_std(close, {w})": deviation,
    "ts_max(close, {w})": np.max,
    "ts_min(close, {w})": np.min,
    "ts_argmax(close, {w})": lambda x: np.argmax(x) + 1,
    "ts_argmin(close, {w})": lambda x: np.argmin(x) + 1,
    "ts_median(close, {w})": np.median,
    "ts_quantile(close, {w}, 0.2)": lambda x: np.quantile(x, 0.2),
    "ts_rank(close, {w})": lambda x: scipy.stats.rankdata(x)[-1] / len(x),
    "ts_mad(close, {w})": lambda x: np.abs(x - x.mean()).mean(),
    "slope(close, {w})": slope,
    "decay_linear(close, {w})": lambda x: np.average(x, weights=np.arange(1, len(x) + 1)),
}


def series(values: list[float]) -> pd.DataFrame:
    dates = pd.date_range("2020-01-01", periods=len(values), freq="h", tz="UTC").as_unit("ms")
    table = pd.DataFrame({"pair": "A/B", "date": dates, "volume": 1.0})
    return table.assign(**dict.fromkeys(("open", "high", "low", "close"), np.array(values)))


@settings(max_examples=150, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=50), window=st.integers(2, 13))
def test_every_window_is_that_of_its_own_values_alone(values, window):
    factors = {text.split("(")[0]: text.format(w=window) for text in REFERENCE}
    found = compute_factors(series(values), factors, timeframe="1h", check=False)
    x = np.array(values)
    for text, function in REFERENCE.items():
        column = found[text.split("(")[0]].to_numpy()
        for end in range(len(x)):
            held = x[max(0, end + 1 - window) : end + 1]
            if len(held) < window or np.isnan(held).any():
                assert np.isnan(column[end]), text
            else:
                scale = np.abs(held).max()
                np.testing.assert_allclose(column[end], function(held), rtol=2e-6, atol=1e-14 * scale, err_msg=text)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(VALUES, min_size=5, max_size=60),
    cut=st.integers(1, 40),
    window=st.integers(2, 9),
    compat=st.sampled_from(["sane", "qlib"]),
)
def test_what_comes_later_changes_no_bit(values, cut, window, compat):
    names = [
        *REFERENCE,
        "ema(close, {w})",
        "ts_skew(close, {w} + 2)",
        "rsquare(close, {w})",
        "ts_corr(close, high, {w})",
    ]
    factors = {text.split("(")[0]: text.format(w=window).replace(f"{window} + 2", str(window + 2)) for text in names}
    whole = compute_factors(series(values), factors, timeframe="1h", compat=compat, check=False)
    part = compute_factors(series(values[:cut]), factors, timeframe="1h", compat=compat, check=False)
    pd.testing.assert_frame_equal(whole.head(cut), part, check_exact=True)


@pytest.mark.parametrize("compat", ["sane", "qlib"])
def test_long_windows_are_ranked_as_short_ones_are(compat):
    rng = np.random.default_rng(5)
    values = np.where(rng.random(2_600) < 0.5, rng.integers(1, 40, 2_600), rng.lognormal(0, 3, 2_600)).astype(float)
    values[700], values[2_300:2_303] = np.nan, np.nan
    values = values.astype(np.float32).astype(float)  # what Qlib's files hold
    windows = {size: pd.Series(values).rolling(size, min_periods=1 if compat == "qlib" else size) for size in SIZES}
    factors = {f"rank{size}": f"ts_rank(close, {size})" for size in SIZES}
    factors |= {f"quantile{size}": f"ts_quantile(close, {size}, 0.8)" for size in SIZES}
    found = compute_factors(series(list(values)), factors, timeframe="1h", compat=compat, check=False)
    cut = compute_factors(series(list(values[:1_500])), factors, timeframe="1h", compat=compat, check=False)
    pd.testing.assert_frame_equal(found.iloc[:1_500], cut, check_exact=True)
    for size, window in windows.items():
        np.testing.assert_allclose(found[f"rank{size}"], window.rank(pct=True), rtol=2e-7)
        np.testing.assert_allclose(found[f"quantile{size}"], window.quantile(0.8), rtol=2e-7)
