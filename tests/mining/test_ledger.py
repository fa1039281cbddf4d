"""The ledger: append-only, and what it says of the past."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent_market.errors import DataError
from agent_market.market import MarketOptions
from agent_market.mining.bench import source_of
from agent_market.mining.ledger import Look, append, past_of, read_ledger, round_record, vault_record

GATE = ("2024-01-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00")
LATER = ("2024-03-01T00:00:00+00:00", "2024-05-01T00:00:00+00:00")


def look(span=GATE, pairs=("A", "B"), source="real spot", timeframe="1h") -> Look:
    return Look(source, timeframe, pairs, span)


def entry(number=1, trials=("a", "b"), tested=("a",), where=None) -> dict:
    return round_record(where or look(), number=number, q=0.06, trials=trials, tested=tested, accepted=())


def test_lines_are_added_and_read_again(tmp_path):
    path = tmp_path / "folder" / "ledger.jsonl"
    assert read_ledger(path) == []
    append(path, entry(1))
    append(path, entry(2))
    records = read_ledger(path)
    assert [record["round"] for record in records] == [1, 2]
    assert records[0]["trials"] == ["a", "b"]
    assert len(path.read_text().splitlines()) == 2


def test_a_record_that_stands_there_is_not_written_again(tmp_path):
    """As when a run was killed right after its line was written, also if another run has added one since."""
    path = tmp_path / "ledger.jsonl"
    append(path, entry(1))
    append(path, entry(2))
    before = path.read_bytes()
    append(path, entry(1))
    append(path, dict(reversed(entry(2).items())))  # the order of the fields is no difference
    assert path.read_bytes() == before
    append(path, entry(2, trials=("a", "c")))  # one field differs: another round
    assert [record["round"] for record in read_ledger(path)] == [1, 2, 2]


@pytest.mark.parametrize("harm", ["change", "remove", "cut", "swap", "insert"])
def test_a_ledger_that_was_edited_is_an_error(tmp_path, harm):
    path = tmp_path / "ledger.jsonl"
    for number in range(1, 5):
        append(path, entry(number))
    lines = path.read_text().splitlines()
    changed = {
        "change": [lines[0], lines[1].replace('"a"', '"c"'), *lines[2:]],
        "remove": [lines[0], *lines[2:]],
        "cut": [*lines[:3], lines[3][:50]],
        "swap": [lines[0], lines[2], lines[1], lines[3]],
        "insert": [*lines, json.dumps({"kind": "round"})],
    }[harm]
    path.write_text("\n".join(changed) + "\n")
    with pytest.raises(DataError, match=r"line \d does not follow from the lines before it"):
        read_ledger(path)
    with pytest.raises(DataError):
        append(path, entry(9))


def test_runs_at_the_same_time_lose_no_line(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append(path, entry(number)), range(40)))
    assert sorted(record["round"] for record in read_ledger(path)) == list(range(40))


def test_each_trial_is_counted_once_over_rounds():
    past = past_of([entry(1), entry(2, trials=("b", "c"), tested=("c",))], look())
    assert past.rounds == 2
    assert past.trials == {"a", "b", "c"}
    assert past.tested == {"a", "c"}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (look(), True),
        (look(pairs=("B", "C")), True),
        (look(span=("2024-02-20T00:00:00+00:00", "2024-06-01T00:00:00+00:00")), True),
        (look(span=LATER), False),
        (look(pairs=("C",)), False),
        (look(timeframe="1d"), False),
        (look(source="simulated seed 1"), False),
    ],
)
def test_only_looks_at_the_same_candles_count(other, same):
    assert past_of([entry(where=other)], look()).rounds == int(same)


def test_openings_of_the_vault_are_counted():
    record = vault_record(look(span=LATER), factors={"f": "key"}, code="abc")
    assert set(record) >= {"kind", "when", "who", "code", "factors", "span"}
    assert past_of([entry(), record], look(), look(span=LATER)).openings == 1
    assert past_of([entry(), record], look(), look()).openings == 0


def test_simulated_markets_differ_and_real_ones_are_one():
    assert source_of(MarketOptions(seed=1)) != source_of(MarketOptions(seed=2))
    assert source_of(MarketOptions(signal_strength=0)) != source_of(MarketOptions())
    folder = MarketOptions(source="freqtrade_datadir", datadir="x")
    exchange = MarketOptions(source="exchange", pairs="A/B")
    assert source_of(folder) == source_of(exchange) == "real spot"
