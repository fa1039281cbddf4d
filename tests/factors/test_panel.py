"""The rows that Qlib's calendar puts in for missing candles."""

import numpy as np
import pandas as pd
import pytest

from agent_market.factors.panel import build_panel, on_one_calendar

HOURS = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(400), unit="h")
ODD = pd.DatetimeIndex(np.sort(np.random.default_rng(0).choice(10**12, 400, replace=False)).view("M8[ms]"), tz="UTC")


def _candles(dates_of_pairs: dict[str, pd.DatetimeIndex]) -> pd.DataFrame:
    parts = [pd.DataFrame({"pair": pair, "date": dates.as_unit("ms")}) for pair, dates in dates_of_pairs.items()]
    table = pd.concat(parts, ignore_index=True)
    table["close"] = np.arange(len(table)) + 1.0
    return table.assign(open=1.0, high=1.0, low=1.0, volume=1.0)


@pytest.mark.parametrize("dates", [HOURS, HOURS[HOURS.day_of_week < 5], ODD], ids=["hours", "workdays", "no step"])
def test_each_candle_stands_at_the_place_of_its_date_among_the_dates_of_all_pairs(dates):
    rng = np.random.default_rng(1)
    pairs = {
        f"P{n}": dates[np.sort(rng.choice(len(dates), size, replace=False))] for n, size in enumerate([90, 1, 200])
    }
    candles = _candles(pairs)
    panel = on_one_calendar(build_panel(candles, "1h", max_gap=0))

    market = pd.DatetimeIndex(candles["date"]).unique().sort_values()
    expected = []
    for _, own in candles.groupby("pair", sort=False):
        close = own.set_index("date")["close"]
        stretch = market[(market >= close.index[0]) & (market <= close.index[-1])]
        expected.append(close.reindex(stretch).to_numpy())
    assert np.diff(panel.segments).tolist() == [len(rows) for rows in expected]
    np.testing.assert_array_equal(panel.spread(panel.column("close")), np.concatenate(expected))


def test_pairs_that_begin_at_the_same_date_with_one_candle_each_have_one_row_each():
    candles = _candles({"A": HOURS[:1], "B": HOURS[:1], "C": HOURS[[0, 3]], "D": HOURS[:2]})
    panel = on_one_calendar(build_panel(candles, "1h", max_gap=0))
    assert panel.segments.tolist() == [0, 1, 2, 5, 7]
    np.testing.assert_array_equal(panel.spread(panel.column("close")), [1, 2, 3, np.nan, 4, 5, 6])
