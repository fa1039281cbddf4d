import numpy as np
import pandas as pd
import pytest

from agent_market.evaluation import ic_series, slice_performance


def regimes_of(equity):
    dates = pd.DatetimeIndex(equity["date"].unique())
    half = np.where(np.arange(len(dates)) < len(dates) // 2, "calm", "turbulent")
    return pd.DataFrame(
        {
            "date": dates,
            "volatility": pd.Categorical(half, ["calm", "normal", "turbulent"]),
            "trend": pd.Categorical(["rising"] * len(dates), ["rising", "falling", "crash"]),
        }
    )


@pytest.fixture
def slices(small_run):
    accounts = dict(list(small_run.equity.groupby("model")))
    return slice_performance(
        small_run.predictions["ridge"],
        small_run.labels,
        accounts["ridge"],
        accounts["buy_and_hold"],
        regimes_of(small_run.equity),
        horizon=1,
    ).set_index(["slice", "name"])


def test_pairs_and_hours_add_up_to_the_rank_ic_of_all(slices, small_run):
    whole = small_run.leaderboard.set_index("model").loc["ridge", "rank_ic"]
    assert slices.loc["pair", "rank_ic"].mean() == pytest.approx(whole)
    hours = slices.loc["hour"]
    assert len(hours) == 24
    assert np.average(hours["rank_ic"], weights=hours["share"]) == pytest.approx(whole, rel=1e-6)
    assert (slices.loc["pair", "rank_ic_low"] > 0.0).all()


def test_an_hour_is_that_of_its_own_dates(slices, small_run):
    series = ic_series(small_run.predictions["ridge"], small_run.labels, 1)
    at_five = series.loc[series["date"].dt.hour == 5, "rank_ic"].mean()
    assert slices.loc[("hour", "05"), "rank_ic"] == pytest.approx(at_five)


def test_returns_belong_to_the_regime_that_was_known_before(slices, small_run):
    account = small_run.equity[small_run.equity["model"] == "ridge"]
    equity = account["equity"].to_numpy()
    half = len(equity) // 2
    # The candle after the last calm close is still decided in calm.
    assert slices.loc[("volatility", "calm"), "net_return"] == pytest.approx(equity[half] / equity[0] - 1.0)
    assert slices.loc[("volatility", "turbulent"), "net_return"] == pytest.approx(equity[-1] / equity[half] - 1.0)
    assert slices.loc[("trend", "rising"), "net_return"] == pytest.approx(equity[-1] / equity[0] - 1.0)
    assert slices.loc[("trend", "crash"), "share"] == 0.0
    assert np.isnan(slices.loc[("trend", "crash"), "rank_ic"])


def test_two_pairs_are_sliced_over_time(small_run):
    two = small_run.predictions["ridge"]
    two = two[two["pair"].isin(["P0/USDT", "P1/USDT"])]
    accounts = dict(list(small_run.equity.groupby("model")))
    regimes = regimes_of(small_run.equity)
    table = slice_performance(two, small_run.labels, accounts["ridge"], accounts["buy_and_hold"], regimes, horizon=1)
    pairs = table[table["slice"] == "pair"]
    assert pairs["name"].tolist() == ["P0/USDT", "P1/USDT"]
    assert pairs["rank_ic"].gt(0.05).all()
