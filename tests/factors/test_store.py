"""Features in pieces: the bits of one call on everything, whatever the pieces are and whatever was stored before."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, FactorError
from agent_market.factors import compute_factors, fingerprints, load_factors, store
from agent_market.factors.operators import OPERATORS
from agent_market.factors.panel_folder import StoredPanel, write_panel
from agent_market.factors.store import stream_features
from causality import assert_causal
from panels import random_candles

FACTORS = {
    "momentum": "log_ret(close, 5)",
    "ema": "close / ema(close, 8) - 1",
    "rank": "cs_rank(ts_mean(returns, 12))",
    "chain": "ts_mean(cs_demean(delta(cs_rank(volume), 4)), 6)",  # windows over cross-sections over windows
    "cross_ema": "cs_zscore(ema(volume, 5))",
    "hour": "sin(hour)",
    "mean": "ts_mean(close / open, 20)",
}


def panel(n_pairs: int = 4, n_candles: int = 900) -> pd.DataFrame:
    """Pairs listed one after the other, the last one taken off, with short and long gaps."""
    candles = random_candles(n_pairs, n_candles, seed=5)
    hour = candles.groupby("pair", observed=True).cumcount()
    code = candles["pair"].cat.codes
    missing = (hour < code * 90) | ((code == n_pairs - 1) & (hour > 700))
    missing |= (code == 1) & hour.isin([300, 301, 420, *range(500, 540)])
    missing |= (code == 2) & (hour % 97 == 5)
    return candles[~missing].reset_index(drop=True)


CANDLES = panel()


def whole(candles: pd.DataFrame, factors=FACTORS, **settings) -> pd.DataFrame:
    return compute_factors(candles, factors, check=False, **({"timeframe": "1h"} | settings))


def streamed(candles: pd.DataFrame, factors=FACTORS, **settings) -> pd.DataFrame:
    stream = stream_features(candles, factors, **({"timeframe": "1h", "check": False} | settings))
    return joined(part for _, part in stream)


def joined(parts) -> pd.DataFrame:
    table = pd.concat([part.astype({"pair": str}) for part in parts], ignore_index=True)
    return table.assign(pair=pd.Categorical(table["pair"]))


def assert_same_bits(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found[["pair", "date"]], expected[["pair", "date"]].astype({"pair": found["pair"].dtype})
    )
    assert list(found.columns) == list(expected.columns)
    assert found.dtypes[2:].eq(np.float32).all()
    for name in found.columns[2:]:
        np.testing.assert_array_equal(found[name].to_numpy(), expected[name].to_numpy(), err_msg=name)


# ---- slices


@pytest.mark.parametrize("max_gap", [0, 3])
@pytest.mark.parametrize("slice_rows", [60, 333, 100_000])
def test_slices_of_any_length_give_the_bits_of_one_call(slice_rows, max_gap):
    found = streamed(CANDLES, slice_rows=slice_rows, max_gap=max_gap)
    assert_same_bits(found, whole(CANDLES, max_gap=max_gap))


def test_the_default_set_comes_out_as_from_one_call():
    candles = random_candles(4, 1200, seed=2).drop(index=range(1700, 1800)).reset_index(drop=True)
    factors = load_factors("basic")
    assert_same_bits(streamed(candles, factors, slice_rows=400), whole(candles, factors))


def test_a_slice_needs_the_look_back_before_it(monkeypatch):
    monkeypatch.setattr("agent_market.factors.pieces.look_back", lambda text: 2)
    with pytest.raises(AssertionError):
        assert_same_bits(streamed(CANDLES, slice_rows=100), whole(CANDLES))


def _example(name: str) -> str:
    """The operator on series with NaN, with literals written out."""
    literals = {"lag": "3", "window": "7", "span": "5", "level": "0.3", "exponent": "2"}
    series = iter(("log(close - 100)", "delta(volume, 2)", "close", "volume"))
    parameters = OPERATORS[name].parameters
    fields = {"high", "low", "close", "volume"} if {"high", "low"} <= {*parameters} else set()
    arguments = [literals.get(p) or (p if p in fields else next(series)) for p in parameters]
    return f"{name}({', '.join(arguments)}) + 0 * close" if arguments else f"{name} + 0 * close"


def test_every_operator_gives_the_same_bits_in_slices():
    factors = {name: _example(name) for name, operator in OPERATORS.items() if not operator.symbol}
    assert_same_bits(streamed(CANDLES, factors, slice_rows=100), whole(CANDLES, factors))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_change_nothing(backend):
    found = streamed(CANDLES, slice_rows=250, n_jobs=2, backend=backend)
    assert_same_bits(found, whole(CANDLES))


def test_a_long_pair_comes_in_parts_in_order_and_a_stream_can_be_read_again():
    stream = stream_features(CANDLES, FACTORS, timeframe="1h", slice_rows=250)
    first, second = ([(pair, len(part)) for pair, part in stream] for _ in range(2))
    assert first == second
    assert [pair for pair, _ in first] == sorted(pair for pair, _ in first)
    assert max(size for _, size in first) == 250
    assert sum(size for _, size in first) == len(CANDLES)


def test_candles_may_lie_on_disk(tmp_path):
    write_panel(tmp_path / "candles", [(pair, rows) for pair, rows in CANDLES.groupby("pair", observed=True)])
    assert_same_bits(streamed(StoredPanel.open(tmp_path / "candles"), slice_rows=250), whole(CANDLES))


def test_features_in_slices_do_not_look_ahead():
    assert_causal(lambda candles: streamed(candles, slice_rows=200), CANDLES)


def test_a_dull_factor_is_refused_when_all_rows_were_seen():
    with pytest.raises(FactorError, match=r"factor 'flat' is constant \(1\) on all \d+ rows.*features.factors"):
        streamed(CANDLES, {"flat": "close / close"}, check=True)
    with pytest.raises(FactorError, match="factor 'f' is NaN on all"):
        streamed(CANDLES, {"f": "ts_mean(close, 1000)"}, check=True, slice_rows=200)
    streamed(CANDLES, {"calendar": "weekday * 0.00001 * hour", "f": "returns"}, check=True)


def test_qlib_rules_come_out_as_from_one_call(keep):
    factors = {"mean": "Mean($close, 20)/$close", "rank": "Rank($volume, 9)", "ema": "EMA($close, 5)"}
    expected = whole(CANDLES, factors, compat="qlib")
    assert_same_bits(streamed(CANDLES, factors, compat="qlib", slice_rows=200), expected)
    stored = keep(EARLIER, factors, compat="qlib")
    assert_same_bits(streamed(CANDLES, factors, compat="qlib", stored=stored, threads=2), expected)


def test_cross_sections_of_many_pairs_are_the_same_in_blocks():
    candles = random_candles(13, 300, seed=9)
    listed = candles.groupby("pair", observed=True).cumcount() > 20 * (12 - candles["pair"].cat.codes)
    factors = {"z": "cs_zscore(returns)", "noise": "cs_mean(cs_demean(returns))"}  # the last bits of a sum over pairs
    candles = candles[listed].reset_index(drop=True)
    assert_same_bits(streamed(candles, factors, slice_rows=40), whole(candles, factors))


def test_candles_that_are_not_sorted_by_pair_are_refused():
    with pytest.raises(DataError, match="several places"):
        streamed(CANDLES.sort_values("date", kind="stable"))


def test_values_wait_on_disk_no_longer_than_for_their_pair(tmp_path):
    waiting = {}
    for pair, _ in stream_features(CANDLES, FACTORS, timeframe="1h", slice_rows=100, scratch=tmp_path):
        waiting[pair] = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert sorted(waiting.values(), reverse=True) == list(waiting.values())
    assert 0 < waiting["DD/USDT"] < waiting["AA/USDT"] / 3


def test_nothing_is_left_in_the_scratch_folder(tmp_path):
    settings = {"timeframe": "1h", "slice_rows": 100, "scratch": tmp_path}
    parts = iter(stream_features(CANDLES, FACTORS, **settings))
    next(parts)
    assert list(tmp_path.iterdir())
    parts.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(FactorError):
        list(stream_features(CANDLES, FACTORS | {"flat": "close / close"}, **settings))
    assert not list(tmp_path.iterdir())


# ---- appending


@pytest.fixture
def small_hashes(monkeypatch):
    monkeypatch.setattr(fingerprints, "HASH_ROWS", 64)


@pytest.fixture
def keep(tmp_path, small_hashes):
    """Stores the features of some candles, and gives the handle."""

    def keep(candles: pd.DataFrame, factors=FACTORS, **settings) -> StoredPanel:
        stream = stream_features(candles, factors, **({"timeframe": "1h", "check": False} | settings))
        write_panel(tmp_path / "features", stream)
        return StoredPanel.open(tmp_path / "features")

    return keep


@pytest.fixture
def computed(monkeypatch):
    """What the engine is asked for: (factors, candles read) of each call."""
    calls = []
    original = store._compute_piece

    def spy(candles, factors, settings, wanted):
        calls.append((tuple(factors), len(candles)))
        return original(candles, factors, settings, wanted)

    monkeypatch.setattr(store, "_compute_piece", spy)
    return calls


CUT = CANDLES["date"].min() + pd.Timedelta("850h")
EARLIER = CANDLES[CANDLES["date"] < CUT].reset_index(drop=True)


def changed(rows, **values) -> pd.DataFrame:
    return CANDLES.assign(**{name: CANDLES[name].mask(rows, value) for name, value in values.items()})


IN_HISTORY = (CANDLES["pair"] == "BB/USDT") & (CANDLES["date"] == CUT - pd.Timedelta("200h"))
LAST_STORED = CANDLES["date"] == CUT - pd.Timedelta("1h")
CASES = {
    "new candles": CANDLES,
    "nothing new": EARLIER,
    "the last candle was not complete": changed(LAST_STORED, close=101.0),
    "a candle in the past is another one": changed(IN_HISTORY, volume=1.0),
    "a candle in the past is gone": CANDLES[~IN_HISTORY].reset_index(drop=True),
    "fewer candles": CANDLES[CANDLES["date"] < CUT - pd.Timedelta("100h")].reset_index(drop=True),
    "the first candles are gone": CANDLES[CANDLES["date"] >= CUT - pd.Timedelta("500h")].reset_index(drop=True),
    "a pair is gone": CANDLES[CANDLES["pair"] != "BB/USDT"].reset_index(drop=True),
    "a pair stopped earlier": CANDLES[(CANDLES["pair"] != "AA/USDT") | (CANDLES["date"] < CUT)].reset_index(drop=True),
}


@pytest.mark.parametrize("slice_rows", [200, 100_000])
@pytest.mark.parametrize("case", CASES)
def test_carried_on_features_are_those_of_a_full_computation(case, slice_rows, keep):
    candles = CASES[case]
    found = streamed(candles, stored=keep(EARLIER), slice_rows=slice_rows)
    assert_same_bits(found, whole(candles))


def test_a_new_pair_is_computed_and_changes_the_cross_sections(keep, caplog):
    stored = keep(EARLIER[EARLIER["pair"] != "BB/USDT"].reset_index(drop=True))
    with caplog.at_level(logging.INFO):
        assert_same_bits(streamed(CANDLES, stored=stored), whole(CANDLES))
    assert "other pairs than in the stored features (BB/USDT)" in caplog.text


def test_only_the_tail_is_computed(keep, computed):
    factors = {"a": "ts_mean(close, 20)", "c": "cs_rank(ts_mean(returns, 12))"}
    stored = keep(EARLIER, factors)
    computed.clear()
    streamed(CANDLES, factors, stored=stored, slice_rows=1000)
    n_new = len(CANDLES) - len(EARLIER)
    n_live = CANDLES.loc[CANDLES["date"] >= CUT, "pair"].nunique()
    assert sum(size for names, size in computed if names == ("a",)) == n_new + 19 * n_live
    assert sum(size for names, size in computed if names == ("c",)) <= n_new + 12 * n_live + 1


def test_nothing_is_computed_if_nothing_is_new(keep, computed, caplog):
    stored = keep(EARLIER)
    computed.clear()
    with caplog.at_level(logging.INFO):
        streamed(EARLIER, stored=stored)
    assert computed == []
    assert f"{len(EARLIER)} of {len(EARLIER)} rows of features are kept" in caplog.text


def test_a_change_in_the_past_is_told_and_computed_from_its_block_on(keep, computed, caplog):
    stored = keep(EARLIER, {"f": "returns"})
    candles = EARLIER.assign(volume=EARLIER["volume"].mask(IN_HISTORY[CANDLES["date"] < CUT].to_numpy(), 1.0))
    row = np.flatnonzero(candles.loc[candles["pair"] == "BB/USDT", "volume"] == 1.0)[0]
    computed.clear()
    with caplog.at_level(logging.INFO):
        streamed(candles, {"f": "returns"}, stored=stored)
    n_rows = (candles["pair"] == "BB/USDT").sum()
    assert computed == [(("f",), n_rows - row // 64 * 64 + 1)]
    assert f"BB/USDT from row {row // 64 * 64} of {n_rows}" in caplog.text


def test_of_other_factors_only_the_new_ones_are_computed_from_the_start(keep, computed, caplog):
    stored = keep(EARLIER)
    factors = {"hour": FACTORS["hour"], "mean": "ts_mean(close, 9)", "new": "cs_mean(returns)", "rank": FACTORS["rank"]}
    computed.clear()
    with caplog.at_level(logging.INFO):
        assert_same_bits(streamed(EARLIER, factors, stored=stored), whole(EARLIER, factors))
    assert {name for names, _ in computed for name in names} == {"mean", "new"}
    assert "2 factors are new or changed, they are computed from the start: mean, new" in caplog.text


def test_another_way_of_writing_a_factor_is_no_other_factor(keep, computed):
    stored = keep(EARLIER, {"f": "close / ts_mean(close, 5)"})
    computed.clear()
    streamed(EARLIER, {"f": "$close/Mean($close, 5)"}, stored=stored)
    assert computed == []


def test_under_another_setting_nothing_is_kept(keep, caplog):
    stored = keep(EARLIER)
    with caplog.at_level(logging.INFO):
        assert_same_bits(streamed(CANDLES, stored=stored, max_gap=3), whole(CANDLES, max_gap=3))
    assert "all features are computed anew: the stored ones have other settings" in caplog.text


def test_under_other_code_nothing_is_kept(keep, computed, caplog, monkeypatch):
    stored = keep(EARLIER, {"f": "returns"})
    monkeypatch.setattr(fingerprints, "code_fingerprint", lambda: "another")
    computed.clear()
    with caplog.at_level(logging.INFO):
        streamed(EARLIER, {"f": "returns"}, stored=stored)
    assert sum(size for _, size in computed) == len(EARLIER)
    assert "the stored ones have other code" in caplog.text


def test_a_stored_table_without_a_fingerprint_is_not_trusted(tmp_path, caplog):
    write_panel(tmp_path / "f", [(p, rows) for p, rows in whole(EARLIER).groupby("pair", observed=True)])
    with caplog.at_level(logging.INFO):
        found = streamed(CANDLES, stored=StoredPanel.open(tmp_path / "f"))
    assert_same_bits(found, whole(CANDLES))
    assert "the stored ones have no fingerprint" in caplog.text


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"rows": {"AA/USDT": 3}}, "not the rows that their fingerprint says"),
        ({"columns": ("pair", "date", "x")}, "not the columns that their fingerprint says"),
    ],
)
def test_a_stored_table_that_is_not_that_of_its_fingerprint_is_not_trusted(lie, message, keep, caplog):
    with caplog.at_level(logging.INFO):
        found = streamed(EARLIER, stored=replace(keep(EARLIER), **lie))
    assert_same_bits(found, whole(EARLIER))
    assert message in caplog.text


def test_a_fingerprint_that_keeps_too_much_is_seen_by_these_tests(keep, monkeypatch):
    stored, candles = keep(EARLIER), CASES["a candle in the past is another one"]
    all_stored = fingerprints.Kept(frozenset(FACTORS), stored.rows, stored.rows)
    monkeypatch.setattr(store, "still_holds", lambda *_: all_stored)
    with pytest.raises(AssertionError):
        assert_same_bits(streamed(candles, stored=stored), whole(candles))


def days(n: int) -> list[pd.DataFrame]:
    """The candles as they were on that many days, the newest last."""
    last = CANDLES["date"].max()
    return [CANDLES[CANDLES["date"] <= last - pd.Timedelta(days=day)].reset_index(drop=True) for day in range(n)][::-1]


def test_files_of_kept_rows_are_taken_over_day_by_day_until_they_are_many(tmp_path, small_hashes, monkeypatch):
    monkeypatch.setattr(store, "MOST_FILES", 3)
    stored, n_files, first_files = None, [], set()
    for day, candles in enumerate(days(5)):
        write_panel(tmp_path / str(day), stream_features(candles, FACTORS, timeframe="1h", stored=stored))
        stored = StoredPanel.open(tmp_path / str(day))
        assert_same_bits(stored.to_pandas(), whole(candles))
        n_files.append(len(stored.files["AA/USDT"]))
        first_files.add((tmp_path / str(day) / "AA_USDT.parquet").stat().st_ino)
    assert n_files == [1, 2, 3, 4, 1]
    assert len(first_files) == 2


def test_rows_that_are_only_linked_count_when_dull_factors_are_looked_for(tmp_path):
    early, late = days(2)
    late = late.assign(volume=late["volume"].mask(late["date"] > early["date"].max(), 5.0))
    factors = {"varied_once": "ts_max(volume, 2)", "flat": "volume / volume"}
    write_panel(tmp_path / "f", stream_features(early, factors, timeframe="1h", check=False))
    stored = StoredPanel.open(tmp_path / "f")
    stream = stream_features(late, factors, timeframe="1h", stored=stored)
    with pytest.raises(FactorError, match="factor 'flat' is constant"):
        write_panel(tmp_path / "g", stream)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_edits_the_carried_on_features_are_those_of_a_full_computation(seed, keep):
    rng = np.random.default_rng(seed)
    candles = CANDLES[CANDLES["date"] < CUT - pd.Timedelta(hours=int(rng.integers(0, 400)))].reset_index(drop=True)
    stored = keep(candles, slice_rows=int(rng.integers(100, 1000)))
    candles = CANDLES[rng.random(len(CANDLES)) > rng.choice([0, 0.002])].reset_index(drop=True)
    for row in rng.integers(0, len(candles), rng.integers(0, 3)):
        candles.loc[row, "close"] *= 1.01
    found = streamed(candles, stored=stored, slice_rows=int(rng.integers(100, 1000)))
    assert_same_bits(found, whole(candles))
