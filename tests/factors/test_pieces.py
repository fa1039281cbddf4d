"""How the work is cut: what is read for what, and how much at once."""

import pytest

from agent_market.factors.fingerprints import CandleTable, Kept
from agent_market.factors.pieces import Planner, look_back_in_bits, names_in
from panels import random_candles

CANDLES = random_candles(3, 5000)


def planner(factors, candles=CANDLES, kept=None, *, slice_rows=500, max_gap=0, compat="sane"):
    how = {"timeframe": "1h", "max_gap": max_gap, "compat": compat, "slice_rows": slice_rows}
    return Planner(CandleTable(candles), factors, kept or Kept(), **how)


@pytest.mark.parametrize(
    ("text", "candles"),
    [("close", 1), ("ts_mean(returns, 20)", 21), ("cs_rank(delay(close, 3))", 4), ("ts_mean(ema(close, 5), 20)", None)],
)
def test_how_many_candles_a_value_takes_its_bits_from(text, candles):
    assert look_back_in_bits(text) == candles


def test_the_names_in_an_expression_are_operators_and_fields():
    assert names_in("Mean($close, 5) / 1e-7 > hour") == {"ts_mean", "close", "hour"}


def test_no_piece_is_longer_than_a_few_slices_unless_a_state_runs_through_it():
    plan = planner({"f": "ts_mean(close, 50)", "c": "cs_rank(close)", "state": "ema(close, 5)"})
    before, slices = plan.of_pair("AA/USDT")
    assert [(piece.names, piece.size) for piece in before] == [(("state",), 5000)]
    assert [piece.gives["AA/USDT"] for piece in slices] == [(row, row + 500) for row in range(0, 5000, 500)]
    assert [piece.size for piece in slices] == [500] + [549] * 9
    assert {piece.names for piece in slices} == {("f",)}
    assert max(piece.size for piece in plan.of_cross_sections()) <= 4 * 500


def test_blocks_of_dates_give_every_row_once():
    given = [piece.gives["BB/USDT"] for piece in planner({"c": "cs_rank(ts_mean(close, 9))"}).of_cross_sections()]
    assert given[0][0] == 0
    assert given[-1][1] == 5000
    assert [stop for _, stop in given[:-1]] == [start for start, _ in given[1:]]


def test_where_segments_are_short_a_state_is_computed_within_slices():
    mornings = CANDLES[(CANDLES["date"].dt.hour < 8) & (CANDLES["pair"] == "AA/USDT")].reset_index(drop=True)
    before, slices = planner({"state": "ema(close, 5)"}, mornings, slice_rows=100).of_pair("AA/USDT")
    assert before == []
    assert [piece.reads["AA/USDT"][0] % 8 for piece in slices] == [0] * len(slices)
    assert max(piece.size for piece in slices) <= 107


def test_what_is_kept_is_not_computed():
    kept = Kept(frozenset({"f", "c"}), *(dict.fromkeys(("AA/USDT", "BB/USDT", "CC/USDT"), 4900) for _ in range(2)))
    plan = planner({"f": "ts_mean(close, 50)", "c": "cs_rank(close)", "new": "returns"}, kept=kept)
    _, slices = plan.of_pair("AA/USDT")
    assert [piece.names for piece in slices] == [("new",)] * 10 + [("f", "new")]
    [block] = plan.of_cross_sections()
    assert block.gives == dict.fromkeys(("AA/USDT", "BB/USDT", "CC/USDT"), (4900, 5000))
    assert block.size == 300


def test_by_qlibs_rules_nothing_is_cut():
    [piece] = planner({"f": "ts_mean(close, 50)"}, compat="qlib").of_cross_sections()
    assert piece.size == len(CANDLES)
