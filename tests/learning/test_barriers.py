import numpy as np
import pandas as pd
import pytest

from agent_market.learning.barriers import first_touch
from agent_market.learning.folds import FoldOptions, make_folds, test_rows, training_rows
from agent_market.learning.labels import LabelOptions, build_labels, label_end_column, trailing_volatility
from panels import random_candles, scramble_after

NAN = np.nan


def _first(opens, high, low, *, close=None, horizon=3, take_profit=1.0, stop_loss=1.0, width=0.05, filled=()):
    """Outcome, return and known row of a decision at the close of candle 0; by closes where they are given."""
    on_close = close is not None
    opens, high, low, close = (np.array(prices, float) for prices in (opens, high, low, close if on_close else low))
    marked = np.isin(np.arange(len(opens)), filled)
    ends, widths = np.full(len(opens), len(opens)), np.full(len(opens), width)
    found = first_touch(opens, high, low, close, marked, ends, widths, horizon, take_profit, stop_loss, on_close)
    return tuple(values[0] for values in found)


def test_the_take_profit_is_touched_in_the_second_candle():
    # entered at 100: barriers at 105 and 95
    assert _first([90, 100, 101, 104, 103, 99], [92, 104, 106, 106, 104, 99], [90, 99, 96, 90, 90, 99]) == (
        1.0, pytest.approx(0.05), 3,
    )  # fmt: skip


def test_the_stop_is_touched_in_the_candle_of_the_entry_itself():
    assert _first([90, 100, 101, 104, 103], [92, 104, 110, 110, 104], [90, 94, 96, 90, 90]) == (
        -1.0, pytest.approx(-0.05), 2,
    )  # fmt: skip


def test_a_candle_that_touches_both_is_stopped():
    assert _first([90, 100, 101, 104, 103], [92, 106, 110, 110, 104], [90, 94, 96, 90, 90])[0] == -1.0


def test_an_open_beyond_a_barrier_is_where_the_exit_is():
    down = _first([90, 100, 93, 104, 103], [92, 104, 94, 110, 104], [90, 99, 92, 90, 90])
    assert down == (-1.0, pytest.approx(-0.07), 3)
    up = _first([90, 100, 108, 104, 103], [92, 104, 109, 110, 104], [90, 99, 107, 90, 90])
    assert up == (1.0, pytest.approx(0.08), 3)


def test_neither_touched_is_0_and_left_at_the_open_after_the_last_candle():
    quiet = ([90, 100, 101, 102, 103, 99], [92, 104, 104, 104, 120, 99], [90, 99, 96, 96, 60, 99])
    assert _first(*quiet) == (0.0, pytest.approx(0.03), 4)  # candle 4 touches both, too late


def test_each_barrier_has_its_own_width():
    path = ([90, 100, 101, 102, 103, 99], [92, 104, 109, 104, 120, 99], [90, 99, 93, 96, 60, 99])
    assert _first(*path)[0] == -1.0
    assert _first(*path, stop_loss=2.0) == (1.0, pytest.approx(0.05), 3)
    assert _first(*path, stop_loss=2.0, take_profit=2.0)[0] == 0.0


def test_by_closes_a_wick_touches_nothing_and_the_exit_is_the_next_open():
    path = ([90, 100, 101, 104, 107, 99], [92, 120, 120, 120, 104, 99], [90, 60, 60, 60, 90, 99])
    assert _first(*path, close=[90, 101, 104, 106, 99, 99]) == (1.0, pytest.approx(0.07), 4)
    assert _first(*path, close=[90, 101, 94, 106, 99, 99]) == (-1.0, pytest.approx(0.04), 3)
    assert _first(*path, close=[90, 101, 104, 104, 60, 99]) == (0.0, pytest.approx(0.07), 4)
    assert np.isnan(_first(*path, close=[90, 101, 104, 106, 99, 99], filled=[4])[0])  # no open to leave at


def test_nothing_is_said_where_the_exit_is_not_over_or_nobody_could_trade():
    up = ([90, 100, 101, 104, 103], [92, 104, 106, 106, 104], [90, 99, 96, 90, 90])
    for made_unknown in ({"filled": [0]}, {"filled": [1]}, {"width": NAN}, {"width": 0.0}):
        assert np.isnan(_first(*up, **made_unknown)[0])
        assert _first(*up, **made_unknown)[2] == -1
    assert np.isnan(_first(*(prices[:3] for prices in up))[0])  # the candle after the touch is not there yet
    assert _first(*(prices[:4] for prices in up))[0] == 1.0
    quiet = ([90, 100, 101, 102, 103], [92, 104, 104, 104, 104], [90, 99, 96, 96, 96])
    assert _first(*quiet)[0] == 0.0
    assert np.isnan(_first(*quiet, filled=[4])[0])  # no open to leave at
    assert np.isnan(_first(*(prices[:4] for prices in quiet))[0])


def _candles_with_faults():
    """Three pairs with a filled candle, a hole, and a stretch without movement."""
    candles = random_candles(3, 150, seed=5)
    at = 40
    candles.loc[at, ["open", "high", "low", "close"]] = candles["close"].iloc[at - 1]
    candles.loc[at, "filled"] = True
    candles.loc[200:220, ["open", "high", "low", "close"]] = 100.0
    return candles.drop(index=range(330, 334)).reset_index(drop=True)


def _by_hand(pair: pd.DataFrame, at: int, horizon: int, width: float, options: LabelOptions):
    """Outcome, return and date of knowledge by walking through the candles of one pair one by one."""
    hours = pair.set_index("date")
    step = pd.Timedelta("1h")
    now = pair["date"].iloc[at]
    path = [now + step * k for k in range(horizon + 2)]
    there = [date in hours.index for date in path]
    if not there[1] or hours.loc[now, "filled"] or hours.loc[path[1], "filled"] or not width > 0:
        return NAN, NAN, pd.NaT
    price = hours.loc[path[1], "open"]
    for k in range(1, horizon + 1):
        if not (there[k] and there[k + 1]):
            return NAN, NAN, pd.NaT
        candle = hours.loc[path[k]]
        if options.touch == "close":
            beyond = (
                candle["close"] <= price * (1 - options.stop_loss * width),
                candle["close"] >= price * (1 + options.take_profit * width),
            )
            if not any(beyond):
                continue
            after = hours.loc[path[k + 1]]
            if after["filled"]:
                return NAN, NAN, pd.NaT
            return (-1.0 if beyond[0] else 1.0), after["open"] / price - 1, path[k + 1]
        if candle["low"] <= price * (1 - options.stop_loss * width):
            leave = min(candle["open"], price * (1 - options.stop_loss * width))
            return -1.0, leave / price - 1, path[k + 1]
        if candle["high"] >= price * (1 + options.take_profit * width):
            leave = max(candle["open"], price * (1 + options.take_profit * width))
            return 1.0, leave / price - 1, path[k + 1]
    if hours.loc[path[-1], "filled"]:
        return NAN, NAN, pd.NaT
    return 0.0, hours.loc[path[-1], "open"] / price - 1, path[-1]


@pytest.mark.parametrize("touch", ["high_low", "close"])
@pytest.mark.parametrize("horizon", [1, 7])
def test_labels_equal_a_walk_through_the_candles_by_hand(horizon, touch):
    candles = _candles_with_faults()
    options = LabelOptions(
        horizons=(horizon,), kinds=("barrier",), volatility_window=5, take_profit=1.2, stop_loss=0.8, touch=touch
    )
    labels = build_labels(candles, options, timeframe="1h")
    seen = set()
    for _, rows in candles.groupby("pair", observed=True):
        width = trailing_volatility(rows, 5, timeframe="1h") * np.sqrt(horizon)
        for at, row in enumerate(rows.index):
            outcome, realised, end = _by_hand(rows, at, horizon, width[at], options)
            found = labels.loc[row]
            assert found[f"barrier_{horizon}"] == outcome or (
                np.isnan(outcome) and np.isnan(found[f"barrier_{horizon}"])
            )
            assert found[f"barrier_return_{horizon}"] == pytest.approx(realised, nan_ok=True)
            assert found[f"label_end_barrier_{horizon}"] == end or end is pd.NaT
            assert (end is pd.NaT) == pd.isna(found[f"label_end_barrier_{horizon}"])
            seen.add(outcome)
    assert {-1.0, 0.0, 1.0} < seen


def test_a_barrier_is_known_after_its_candle_and_at_most_when_the_return_is():
    candles = random_candles(3, 300)
    labels = build_labels(candles, LabelOptions(horizons=(8,), kinds=("barrier",)), timeframe="1h")
    both = labels.dropna()
    assert (both["label_end_barrier_8"] <= both["label_end_8"]).all()
    assert (both["label_end_barrier_8"] < both["label_end_8"]).mean() > 0.3
    assert (both["label_end_barrier_8"] - both["date"] >= pd.Timedelta("2h")).all()
    untouched = both["barrier_8"] == 0
    pd.testing.assert_series_equal(
        both.loc[untouched, "barrier_return_8"], both.loc[untouched, "return_8"], check_names=False
    )


def test_purging_goes_by_the_barriers_own_end():
    candles = random_candles(3, 24 * 20)
    labels = build_labels(candles, LabelOptions(horizons=(12,), kinds=("barrier",)), timeframe="1h")
    fold = make_folds(candles["date"], FoldOptions(train="10d", valid="2d", test="4d"), timeframe="1h").iloc[0]
    end = label_end_column("barrier_12")
    assert end == "label_end_barrier_12"
    window = labels["date"], labels[end], fold["train_start"], fold["train_end"]
    rows = training_rows(*window)
    assert labels[end].iloc[rows].max() == fold["train_end"]
    late = np.setdiff1d(test_rows(window[0], *window[2:]), rows)
    assert len(late) > 0
    known = labels.iloc[late].dropna(subset=end)
    assert (known[end] > fold["train_end"]).all()
    # what ends early within the last hours of the window may be trained on, unlike a return over 12 candles
    assert rows.max() > training_rows(window[0], labels["label_end_12"], *window[2:]).max()


@pytest.mark.parametrize("touch", ["high_low", "close"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_barrier_that_is_known_does_not_change_when_later_candles_do(share, touch):
    candles = random_candles(3, 250)
    options = LabelOptions(horizons=(3, 10), kinds=("barrier",), volatility_window=20, touch=touch)
    cut = candles["date"].iloc[int(250 * share)]
    before = build_labels(candles, options, timeframe="1h")
    for changed in (scramble_after(candles, cut), candles[candles["date"] <= cut].reset_index(drop=True)):
        after = build_labels(changed, options, timeframe="1h")
        for horizon in (3, 10):
            end = f"label_end_barrier_{horizon}"
            columns = ["pair", "date", f"barrier_{horizon}", f"barrier_return_{horizon}", end]
            known = before.loc[before[end] <= cut, columns].reset_index(drop=True)
            found = known[["pair", "date"]].merge(after[columns], on=["pair", "date"])
            assert len(known) > 50
            pd.testing.assert_frame_equal(found, known, check_exact=True, check_categorical=False)


def test_the_check_above_would_catch_an_end_that_is_one_candle_too_early():
    candles = random_candles(3, 250)
    cut = candles["date"].iloc[125]
    options = LabelOptions(horizons=(10,), kinds=("barrier",), volatility_window=20)
    before = build_labels(candles, options, timeframe="1h")
    cut_off = candles[candles["date"] < cut].reset_index(drop=True)
    after = before[["pair", "date"]].merge(
        build_labels(cut_off, options, timeframe="1h"), on=["pair", "date"], how="left"
    )
    too_early = before["label_end_barrier_10"] - pd.Timedelta("1h") < cut
    assert not before.loc[too_early, "barrier_10"].equals(after.loc[too_early, "barrier_10"])
