import numpy as np
import pandas as pd
import pytest

from agent_market.evaluation.series import bucket_extremes


@pytest.mark.parametrize("n", [2001, 4999, 17_520, 1_000_003])
def test_a_long_series_keeps_its_extremes_and_ends_within_the_limit(n):
    series = pd.Series(np.random.default_rng(0).normal(size=n).cumsum())
    thin = bucket_extremes(series, 2000)
    assert len(thin) <= 2000
    assert (thin.min(), thin.max()) == (series.min(), series.max())
    assert thin.index.is_monotonic_increasing
    assert (thin.index[0], thin.index[-1]) == (0, n - 1)
    assert thin.equals(series.loc[thin.index])


def test_a_short_series_is_left_as_it_is():
    series = pd.Series([1.0, np.nan, 2.0])
    assert bucket_extremes(series, 2000) is series


def test_stretches_without_values_do_no_harm():
    series = pd.Series(np.arange(10_000.0))
    series.iloc[:5000] = np.nan
    thin = bucket_extremes(series, 100)
    assert len(thin) <= 100
    assert thin.max() == 9999.0
