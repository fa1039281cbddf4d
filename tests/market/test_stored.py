"""Files that are replaced in one step, and notes on what has been asked for."""

import os
import time

import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.market.stored import (
    Series,
    merge,
    read_notes,
    read_series,
    replace_file,
    write_notes,
    write_series,
)
from exchanges import hourly


@pytest.mark.parametrize(
    ("pair", "kind", "name"),
    [
        ("BTC/USDT", "spot", "BTC_USDT-1h.feather"),
        ("BTC/USDT:USDT", "futures", "BTC_USDT_USDT-1h-futures.feather"),
        ("BTC/USDT:USDT", "funding_rate", "BTC_USDT_USDT-1h-funding_rate.feather"),
    ],
)
def test_files_are_named_as_freqtrade_names_them(tmp_path, pair, kind, name):
    from freqtrade.data.history.datahandlers.featherdatahandler import FeatherDataHandler
    from freqtrade.enums import CandleType

    assert Series(tmp_path, pair, "1h", kind).path.name == name
    theirs = FeatherDataHandler._pair_data_filename(tmp_path, pair, "1h", CandleType.from_string(kind))
    assert theirs.name == name


def test_what_is_written_is_read_back(tmp_path):
    series = Series(tmp_path / "new", "BTC/USDT", "1h", "spot")
    assert read_series(series) is None
    write_series(series, hourly(10))
    pd.testing.assert_frame_equal(read_series(series), hourly(10))


def test_of_a_date_that_both_have_the_fetched_row_stays():
    stored, fetched = hourly(5), hourly(5, seed=9).tail(2)
    merged = merge(stored, fetched)
    pd.testing.assert_frame_equal(merged.head(3), stored.head(3))
    pd.testing.assert_frame_equal(merged.tail(2), fetched)
    pd.testing.assert_frame_equal(merge(stored, fetched.head(0)), stored)
    pd.testing.assert_frame_equal(merge(None, fetched.iloc[::-1]), fetched.reset_index(drop=True))


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(part):
        part.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, half)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]
    replace_file(path, lambda part: part.write_text("new"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "new")]


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    old, young, foreign = (tmp_path / name for name in (".file.a.part", ".file.b.part", ".other.c.part"))
    for part in (old, young, foreign):
        part.touch()
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    os.utime(foreign, (hours_ago, hours_ago))
    replace_file(tmp_path / "file", lambda part: part.write_text("new"))
    assert {file.name for file in tmp_path.iterdir()} == {"file", ".file.b.part", ".other.c.part"}


def test_notes_are_kept_and_damaged_ones_are_named(tmp_path):
    assert read_notes(tmp_path) == {"markets": {}, "asked": {}}
    notes = {"markets": {"BTC/USDT": {"taker": 0.001}}, "asked": {}}
    write_notes(tmp_path, notes)
    assert read_notes(tmp_path) == notes
    (tmp_path / "agent_market.json").write_text("{")
    with pytest.raises(DataError, match=r"agent_market.json is damaged: .* Delete it"):
        read_notes(tmp_path)
