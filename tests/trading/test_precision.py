import numpy as np
import pandas as pd
import pytest

from agent_market.trading.precision import monthly_ticks, price_decimals, round_to_tick, truncate_to_step


def test_price_is_rounded_to_the_nearest_tick_and_halves_up():
    assert [round_to_tick(price, 0.05) for price in (1.02, 1.03, 1.025)] == [1.0, 1.05, 1.05]


@pytest.mark.parametrize(("amount", "step", "expected"), [(0.3, 0.1, 0.3), (0.39, 0.1, 0.3), (7.0, 10.0, 0.0)])
def test_amount_is_truncated_in_decimals_not_in_binary(amount, step, expected):
    assert truncate_to_step(amount, step) == expected


def test_decimals_are_those_of_the_written_price():
    prices = [100.0, 0.1, 12.5, 1.23e-5, 64000.01, 0.1 + 0.2, 9.835000000000002e-05]
    assert price_decimals(np.array(prices)).tolist() == [0, 1, 1, 7, 2, 1, 8]


def test_ticks_agree_with_those_of_freqtrade():
    from freqtrade.data.btanalysis.historic_precision import get_tick_size_over_time

    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-15", periods=150, freq="D", tz="UTC", unit="ms")
    decimals = dates.month.map({1: 0, 2: 3, 3: 0, 4: 5, 5: 11, 6: 2})
    prices = {
        name: [round(price, places) for price, places in zip(rng.uniform(1, 900, 150), decimals, strict=True)]
        for name in ("open", "high", "low", "close")
    }
    candles = pd.DataFrame({"date": dates, **prices})
    theirs = get_tick_size_over_time(candles.copy())
    expected = [tick if np.isfinite(tick := theirs.asof(date)) else 0.25 for date in dates]
    assert monthly_ticks(candles, default=0.25).tolist() == expected
    assert expected[0] == 0.25
    assert expected[50] == expected[60] == 0.001  # a month of whole numbers keeps the last tick
