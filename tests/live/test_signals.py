import json

import numpy as np
import pandas as pd
import pytest

from agent_market.live import LiveSignals, load_traded_model, save_traded_model
from agent_market.live.signals import without_stand_ins
from causality import assert_causal
from panels import scramble_after
from traded_models import frames_until, pipeline_signals

HOUR = pd.Timedelta(hours=1)


def of_dates(signals, start, end):
    rows = signals[signals["date"].between(start, end)]
    return rows.astype({"pair": "str"}).sort_values(["pair", "date"], ignore_index=True)


def test_predictions_equal_the_pipelines_candle_for_candle(any_chain):
    traded, known = any_chain.traded, any_chain.predictions
    candles = traded.clean(any_chain.raw)
    pd.testing.assert_frame_equal(candles, any_chain.candles)
    found = traded.predict(traded.features(candles))
    both = known.merge(found, on=["pair", "date"], suffixes=("", "_live"))
    assert len(both) == len(known) > 1000
    np.testing.assert_allclose(both["prediction_live"], both["prediction"], rtol=1e-12)
    np.testing.assert_array_equal(both["fold"], both["fold_live"])
    assert found["date"].min() == traded.folds["test_start"].min()
    assert (found.loc[found["date"] >= traded.folds["test_end"].max(), "fold"] == traded.folds["fold"].max()).all()


def test_signals_equal_the_pipelines_within_the_test_windows(any_chain):
    end = any_chain.traded.folds["test_end"].max() - HOUR
    found, expected = any_chain.traded.signals(any_chain.raw), pipeline_signals(any_chain)
    assert expected["enter_long"].sum() > 50
    pd.testing.assert_frame_equal(
        of_dates(found, expected["date"].min(), end), of_dates(expected, expected["date"].min(), end)
    )


def test_a_stored_model_gives_the_same_signals(any_chain, tmp_path):
    save_traded_model(any_chain.traded, tmp_path / "one")
    again = load_traded_model(tmp_path / "one")
    assert again.fingerprint() == any_chain.traded.fingerprint()
    pd.testing.assert_frame_equal(again.signals(any_chain.raw), any_chain.traded.signals(any_chain.raw))


def test_a_model_of_another_version_of_the_code_is_warned_of(any_chain, tmp_path, caplog):
    save_traded_model(any_chain.traded, tmp_path / "one")
    load_traded_model(tmp_path / "one")
    assert not caplog.records
    facts = json.loads((tmp_path / "one" / "trading.json").read_text())
    (tmp_path / "one" / "trading.json").write_text(json.dumps(facts | {"code": "other"}))
    load_traded_model(tmp_path / "one")
    assert "has changed since" in caplog.text


def test_signals_do_not_depend_on_what_comes_later(any_chain):
    assert_causal(any_chain.traded.signals, any_chain.raw, cuts=(0.85, 0.95))


def test_signals_do_depend_on_what_came_before(any_chain):
    cut = any_chain.candles["date"].max() - 40 * HOUR
    before, after = (
        any_chain.traded.signals(any_chain.raw),
        any_chain.traded.signals(scramble_after(any_chain.raw, cut)),
    )
    later = before["date"] > cut
    assert (before[later]["enter_long"].to_numpy() != after[later]["enter_long"].to_numpy()).any()


@pytest.mark.parametrize("begin", [1095, 1185])
def test_candle_by_candle_gives_what_the_whole_computation_gives(any_chain, begin):
    dates = np.sort(any_chain.raw["date"].unique())
    live, last = LiveSignals(any_chain.traded, history=500), dates[begin + 30]
    for date in dates[begin : begin + 31]:
        assert live.update(frames_until(any_chain.raw, date), now=date + 2 * HOUR)
        assert live.decided == date
    found, expected = live.signals, any_chain.traded.signals(any_chain.raw[any_chain.raw["date"] <= last])
    assert expected["enter_long"].any()
    pd.testing.assert_frame_equal(of_dates(found, dates[begin], last), of_dates(expected, dates[begin], last))


def test_nothing_new_changes_nothing(any_chain):
    live = LiveSignals(any_chain.traded, history=500)
    date = any_chain.raw["date"].max()
    frames = frames_until(any_chain.raw, date)
    assert live.update(frames, now=date + HOUR)
    before = live.signals
    assert not live.update(frames, now=date + HOUR)
    assert live.signals is before


def test_a_pair_without_the_newest_candle_is_waited_for_and_then_left_behind(any_chain):
    live, date = LiveSignals(any_chain.traded, history=500), any_chain.raw["date"].max()
    whole, pair = frames_until(any_chain.raw, date), any_chain.traded.pairs[2]
    short = whole | {pair: whole[pair].iloc[:-1]}
    closed = date + HOUR
    assert not live.update(short, now=closed + pd.Timedelta(seconds=5))
    assert live.decided is None
    assert live.update(short, now=closed + pd.Timedelta(seconds=61))
    assert live.decided == date
    assert live.update(whole, now=closed + pd.Timedelta(seconds=70)), "a candle that comes late is taken in"
    expected = any_chain.traded.signals(any_chain.raw)
    pd.testing.assert_frame_equal(of_dates(live.signals, date, date), of_dates(expected, date, date))


def test_a_restart_with_enough_history_gives_the_same_signals(any_chain):
    from agent_market.live.history import history_needed

    date = any_chain.raw["date"].max()
    needed = history_needed(any_chain.traded)
    since = date - needed * HOUR
    assert since > any_chain.raw["date"].min()
    recent = any_chain.raw[any_chain.raw["date"] >= since]
    live = LiveSignals(any_chain.traded, history=needed)
    live.update(frames_until(recent, date), now=date + HOUR)
    expected = any_chain.traded.signals(any_chain.raw)
    start = date - 24 * HOUR
    pd.testing.assert_frame_equal(of_dates(live.signals, start, date), of_dates(expected, start, date))


def test_long_runs_without_trades_are_holes_and_short_ones_are_not():
    close = [1.0, 2.0, *[2.0] * 4, 3.0, 3.0, 3.0, 4.0, *[4.0] * 5]
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close))
    frame["open"] = frame["close"].shift(fill_value=1.0)
    moved = frame["open"] != frame["close"]
    frame["volume"] = moved.astype(float)
    kept = without_stand_ins(frame, max_fill=3)
    assert kept.index.tolist() == [0, 1, 6, 7, 8, 9, 14]
