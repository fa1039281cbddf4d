import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.market import MarketOptions, clean_candles, contiguous_segments, load_candles, simulate

HOUR = pd.Timedelta("1h")
PRICES = ["open", "high", "low", "close"]
COLUMNS = ["pair", "date", *PRICES, "volume", "filled"]
START = pd.Timestamp("2024-01-01", tz="UTC")


def raw(n_candles: int = 10, pair: str = "BTC/USDT", start: pd.Timestamp = START) -> pd.DataFrame:
    """Candles whose close at hour i is 100 + i; open is the close before; high and low are one off."""
    close = 100.0 + np.arange(n_candles)
    return pd.DataFrame(
        {
            "pair": pair,
            "date": pd.date_range(start, periods=n_candles, freq="h", unit="ms"),
            "open": close - 1,
            "high": close + 1,
            "low": close - 2,
            "close": close,
            "volume": 5.0,
        }
    )


def without(frame: pd.DataFrame, *rows: int) -> pd.DataFrame:
    return frame.drop(index=list(rows)).reset_index(drop=True)


def clean(frame: pd.DataFrame, **options) -> tuple[pd.DataFrame, pd.Series]:
    """Clean candles, and the quality of the first pair."""
    candles, quality = clean_candles(frame, MarketOptions(**options))
    return candles, quality.iloc[0]


def test_good_candles_pass_unchanged_and_nothing_is_counted():
    candles, quality = clean(raw())
    pd.testing.assert_frame_equal(
        candles, raw().assign(filled=False, pair=pd.Categorical(raw()["pair"])), check_exact=True
    )
    assert candles.columns.tolist() == COLUMNS
    assert quality["candles"] == 10
    assert quality["first"] == START
    assert quality["last"] == START + 9 * HOUR
    assert (quality.drop(["pair", "candles", "first", "last"]) == 0).all()


def test_pairs_are_sorted_and_each_has_its_row_of_quality():
    both = pd.concat([raw(5, "XRP/USDT"), without(raw(5, "ADA/USDT"), 2)], ignore_index=True)
    candles, quality = clean_candles(both, MarketOptions())
    assert candles["pair"].cat.categories.tolist() == ["ADA/USDT", "XRP/USDT"]
    assert not candles["pair"].cat.ordered
    assert candles["pair"].tolist() == ["ADA/USDT"] * 5 + ["XRP/USDT"] * 5
    assert quality["gaps"].tolist() == [1, 0]
    assert quality["first"].dtype == candles["date"].dtype == "datetime64[ms, UTC]"


def test_disorder_is_put_right_and_counted():
    frame = raw().iloc[[0, 1, 5, 2, 3, 4, 6, 7, 9, 8]].reset_index(drop=True)
    candles, quality = clean(frame)
    pd.testing.assert_frame_equal(candles, clean(raw())[0])
    assert quality["out_of_order"] == 2


def test_duplicates_are_refused_with_count_first_date_and_remedy():
    frame = pd.concat([raw(), raw().iloc[[3, 6]], raw(4, "ETH/USDT"), raw(1, "ETH/USDT")])
    with pytest.raises(DataError) as caught:
        clean_candles(frame.reset_index(drop=True), MarketOptions())
    message = str(caught.value)
    assert "3 candles" in message
    assert "BTC/USDT 2 (first 2024-01-01 03:00)" in message
    assert "ETH/USDT 1 (first 2024-01-01 00:00)" in message
    assert "market.on_duplicates" in message


@pytest.mark.parametrize(("keep", "close"), [("first", 103.0), ("last", 103.5)])
def test_duplicates_are_resolved_as_asked(keep, close):
    again = raw().iloc[[3]].assign(close=103.5)
    candles, quality = clean(pd.concat([raw(), again], ignore_index=True), on_duplicates=keep)
    assert candles["close"].iloc[3] == close
    assert len(candles) == 10
    assert quality["duplicates"] == quality["dropped"] == quality["out_of_order"] == 1


def test_an_unusable_duplicate_never_wins_over_a_usable_one():
    frame = pd.concat([raw().assign(close=raw()["close"].where(raw().index != 3)), raw().iloc[[3]]])
    candles, quality = clean(frame.reset_index(drop=True), on_duplicates="first")
    assert candles["close"].iloc[3] == 103.0
    assert not candles["filled"].any()
    assert quality["dropped"] == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("close", np.nan), ("open", np.inf), ("low", 0.0), ("high", -1.0), ("volume", -1.0), ("volume", np.nan)],
)
def test_unusable_rows_are_dropped_counted_and_filled_from_the_past(column, value):
    frame = raw()
    frame.loc[4, column] = value
    candles, quality = clean(frame)
    assert quality["non_positive_or_nan"] == quality["dropped"] == quality["filled"] == quality["missing"] == 1
    assert candles["filled"].tolist() == [False] * 4 + [True] + [False] * 5
    assert candles.loc[4, PRICES].tolist() == [103.0] * 4
    assert candles.loc[4, "volume"] == 0


def test_high_and_low_are_widened_to_hold_the_other_prices_and_counted():
    frame = raw()
    frame.loc[2, "high"], frame.loc[5, "low"] = 101.5, 105.0  # close is 102; open is 104
    candles, quality = clean(frame)
    assert candles.loc[2, "high"] == 102.0
    assert candles.loc[5, "low"] == 104.0
    assert quality["ohlc_violations"] == quality["repaired"] == 2


def test_float_noise_beyond_twelve_digits_is_removed():
    frame = raw()
    frame.loc[0, "open"] = 99.20000000000002
    frame.loc[1, ["open", "low"]] = [0.1 + 0.2, 1.2345678901234e-7]
    candles, quality = clean(frame)
    assert candles.loc[0, "open"] == 99.2
    assert candles.loc[1, "open"] == 0.3
    assert candles.loc[1, "low"] == 1.23456789012e-7
    assert quality["repaired"] == 0


def test_noise_that_made_the_high_lower_than_the_close_is_no_lasting_violation():
    frame = raw()
    frame.loc[0, ["high", "close"]] = [100.3, 100.30000000000001]
    candles, _ = clean(frame)
    assert candles.loc[0, "high"] == candles.loc[0, "close"] == 100.3


def test_short_gaps_are_filled_and_longer_ones_stay():
    frame = without(raw(20), 3, 4, 10, 11, 12)
    candles, quality = clean(frame, max_fill=2)
    assert quality["gaps"] == 2
    assert quality["missing"] == 5
    assert quality["longest_gap"] == 3
    assert quality["filled"] == 2
    assert quality["candles"] == len(candles) == 17
    filled = candles[candles["filled"]]
    assert filled["date"].tolist() == [START + 3 * HOUR, START + 4 * HOUR]
    assert (filled[PRICES] == 102.0).all().all()
    assert START + 10 * HOUR not in candles["date"].tolist()
    assert not clean(frame, max_fill=0)[0]["filled"].any()


def test_zero_volume_and_stale_candles_are_counted_but_kept():
    frame = raw()
    frame.loc[3, PRICES], frame.loc[3, "volume"] = 102.0, 0.0  # no movement from the close of row 2
    frame.loc[6, PRICES] = 106.0  # flat, but at a new price
    candles, quality = clean(frame)
    assert quality["stale"] == 1
    assert quality["zero_volume"] == 1
    assert len(candles) == 10


def test_dates_off_the_grid_are_refused_with_the_spacing_found():
    frame = raw(10).assign(date=pd.date_range(START, periods=10, freq="30min", unit="ms"))
    with pytest.raises(DataError, match=r"5 of 10 .*market.timeframe=1h.*BTC/USDT at 2024-01-01 00:30.* 30m apart"):
        clean_candles(frame, MarketOptions())


def test_candles_of_a_longer_timeframe_are_refused_with_the_spacing_found():
    frame = raw(30).assign(date=pd.date_range(START, periods=30, freq="4h", unit="ms"))
    with pytest.raises(DataError, match=r"market.timeframe=1h.* 4h apart"):
        clean_candles(frame, MarketOptions())


def test_weeks_may_begin_on_mondays():
    options = MarketOptions(source="freqtrade_datadir", datadir="x", timeframe="1w")
    frame = raw(4).assign(date=pd.date_range(START, periods=4, freq="7D", unit="ms"))
    assert frame["date"].iloc[0].day_name() == "Monday"
    assert len(clean_candles(frame, options)[0]) == 4
    with pytest.raises(DataError, match="1 of 4"):
        clean_candles(frame.assign(date=frame["date"].where(frame.index != 2, START + 9 * 24 * HOUR)), options)


def test_a_pair_without_any_usable_candle_is_refused():
    with pytest.raises(DataError, match=r"ETH/USDT: none of its 5 candles.*market.pairs"):
        clean_candles(pd.concat([raw(), raw(5, "ETH/USDT").assign(close=0.0)]), MarketOptions())


def test_a_missing_column_and_no_candles_at_all_are_refused():
    with pytest.raises(DataError, match="no column volume"):
        clean_candles(raw().drop(columns="volume"), MarketOptions())
    with pytest.raises(DataError, match="no raw candles"):
        clean_candles(raw().iloc[:0], MarketOptions())


def test_raw_candles_are_left_as_they_were():
    frame = without(raw(), 4)
    before = frame.copy(deep=True)
    clean(frame)
    pd.testing.assert_frame_equal(frame, before, check_exact=True)


def dirty_market() -> pd.DataFrame:
    """A simulated market with holes, bad rows, bad highs and disorder."""
    frame = simulate(MarketOptions(n_pairs=2, n_candles=400))
    random = np.random.default_rng(7)
    frame.loc[random.choice(800, 30, replace=False), "close"] = np.nan
    frame.loc[random.choice(800, 30, replace=False), "high"] *= 0.9
    hole = (frame["date"] >= START - 360 * 24 * HOUR) & (frame["date"] < START - 359 * 24 * HOUR)
    frame = frame[~hole].drop(index=random.choice(frame[~hole].index, 60, replace=False))
    return frame.sample(frac=1, random_state=3).reset_index(drop=True)


def past_rows_that_change(clean_market, change_future) -> int:
    """How many cleaned rows at or before a date change when the raw candles after it do, over 8 dates."""
    market = dirty_market()
    whole = clean_market(market)
    changed = 0
    for cut in whole["date"].drop_duplicates().sort_values().iloc[50::45]:
        other = clean_market(change_future(market, market["date"] > cut)).set_index(["pair", "date"])
        past = whole[whole["date"] <= cut].set_index(["pair", "date"])
        both = past.index.intersection(other.index)
        # a gap that is still open at the cut is filled only when its end is there to see
        assert past.drop(both)["filled"].all()
        changed += int((~past.loc[both].eq(other.loc[both]).all(axis=1)).sum())
    return changed


def cut_off(market: pd.DataFrame, future: pd.Series) -> pd.DataFrame:
    return market[~future].reset_index(drop=True)


def scramble(market: pd.DataFrame, future: pd.Series) -> pd.DataFrame:
    return market.assign(**{name: market[name].where(~future, market[name] * 3.7) for name in [*PRICES, "volume"]})


@pytest.mark.parametrize("change_future", [cut_off, scramble])
def test_candles_after_a_date_change_no_row_up_to_it(change_future):
    assert past_rows_that_change(lambda market: clean_candles(market, MarketOptions())[0], change_future) == 0


def test_a_cleaning_that_fills_from_the_future_is_caught():
    """The control: gaps filled with the next candle's prices are seen by the same comparison."""

    def fill_backward(market: pd.DataFrame) -> pd.DataFrame:
        candles = clean_candles(market, MarketOptions())[0]
        return candles.assign(**candles[PRICES].mask(candles["filled"]).bfill())

    assert past_rows_that_change(fill_backward, scramble) > 0


def test_segments_break_at_pairs_and_at_gaps():
    frame = pd.concat([without(raw(10), 4, 5, 8), raw(3, "ETH/USDT")], ignore_index=True)
    # BTC hours 0-3 | 6-7 | 9, then ETH
    assert contiguous_segments(frame, "1h").tolist() == [0, 4, 6, 7, 10]
    assert contiguous_segments(frame, "1h", max_gap=1).tolist() == [0, 4, 7, 10]
    assert contiguous_segments(frame, "1h", max_gap=2).tolist() == [0, 7, 10]
    assert contiguous_segments(frame, "1h").dtype == np.int64
    assert contiguous_segments(frame.iloc[:0], "1h").tolist() == [0]
    assert contiguous_segments(frame.iloc[:1], "1h").tolist() == [0, 1]


def test_segments_of_unsorted_candles_are_refused():
    for frame in [raw().iloc[::-1], pd.concat([raw(), raw(3, "A"), raw(2, start=START + 99 * HOUR)])]:
        with pytest.raises(DataError, match="not sorted"):
            contiguous_segments(frame, "1h")


def test_pairs_that_follow_one_another_in_time_are_still_apart():
    frame = pd.concat([raw(3, "A/USDT"), raw(3, "B/USDT", START + 3 * HOUR)], ignore_index=True)
    assert contiguous_segments(frame, "1h").tolist() == [0, 3, 6]


def test_both_sources_are_loaded_by_name(tmp_path):
    simulated = MarketOptions(n_pairs=2, n_candles=50)
    candles = load_candles(simulated)
    pd.testing.assert_frame_equal(candles, simulate(simulated))
    for pair, rows in candles.groupby("pair", observed=True):
        name = pair.replace("/", "_")
        rows.drop(columns="pair").reset_index(drop=True).to_feather(tmp_path / f"{name}-1h.feather")
    files = MarketOptions(source="freqtrade_datadir", datadir=str(tmp_path))
    pd.testing.assert_frame_equal(load_candles(files), candles)


def test_real_candles_have_the_known_gaps(shared_dir):
    options = MarketOptions(source="freqtrade_datadir", datadir=str(shared_dir / "market" / "binance"))
    candles, quality = clean_candles(load_candles(options), options)
    assert len(quality) == 8
    assert (quality["gaps"] == 14).all()
    assert (quality["missing"] == 31).all()
    assert (quality["longest_gap"] == 5).all()
    assert (quality["zero_volume"] == 1).all()
    assert (quality["filled"] == 31).all()
    assert contiguous_segments(candles, "1h").tolist() == list(range(0, 8 * 17_544 + 1, 17_544))
    shares = MarketOptions(
        source="freqtrade_datadir",
        datadir=str(shared_dir / "market" / "us_equities"),
        timeframe="1d",
        max_fill=0,
        trading_days=252,
    )
    days, _ = clean_candles(load_candles(shares), shares)
    assert not days["filled"].any()
    assert len(days) == 10 * 2517
