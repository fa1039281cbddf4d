"""Reading what language models write: tolerant of form, deaf to content."""

import json
import os
import time
from pathlib import Path

import pytest

from agent_market.mining.candidates import CATEGORIES, Candidate, check_candidates, deduplicate, parse_candidates
from agent_market.mining.llm.salvage import MAX_PROPOSALS, read_answer
from agent_market.mining.options import GateOptions
from agent_market.testing.hostile import AHEAD, CODE, hostile_reply

WHOLE = json.dumps(
    {
        "expressions": [
            {"name": "Mom 12!", "expression": "close/delay(close,12)-1", "hypothesis": "h", "category": "Trend"}
        ]
    }
)


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        f"Sure!\n```json\n{WHOLE}\n```\nEnjoy.",
        f"<think>{{'a': 1}} maybe [1]</think>\n{WHOLE}",
        WHOLE[:-2] + ', {"name": "cut off", "expression": "close / op',
        WHOLE.replace("expressions", "factors"),
        '{"factors": {"Mom 12!": {"expression": "close/delay(close,12)-1", "hypothesis": "h", "category": "trend"}}}',
        '[{"name": "mom_12", "formula": "close/delay(close,12)-1", "description": "h", "category": "trend"}]',
    ],
)
def test_the_forms_in_which_models_answer(text):
    [proposal] = read_answer(text)
    assert (proposal.name, proposal.expression) == ("mom_12", "close/delay(close,12)-1")
    assert (proposal.hypothesis, proposal.category) == ("h", "trend")


def test_plain_lists_and_mappings_of_expressions():
    assert [p.expression for p in read_answer('["close / open", "high / low"]')] == ["close / open", "high / low"]
    assert [(p.name, p.expression) for p in read_answer('{"a": "close / open"}')] == [("a", "close / open")]


@pytest.mark.parametrize(
    "text", ["", "no", "{}", "[]", "null", "7", '{"expressions": 5}', "{" * 50_000, '{"a":' * 50_000]
)
def test_nothing_to_read(text):
    begun = time.process_time()
    assert read_answer(text) == []
    assert time.process_time() - begun < 1.0


def test_sizes_are_bounded():
    many = json.dumps([{"name": "x" * 999, "expression": "close" * 999, "hypothesis": "y\n\x00" * 9999}] * 999)
    found = read_answer(many)
    assert 0 < len(found) <= MAX_PROPOSALS
    assert all(len(p.name) <= 32 and len(p.expression) <= 700 and len(p.hypothesis) <= 600 for p in found)
    assert all(p.hypothesis.isprintable() and p.category in CATEGORIES for p in found)


def _through(number: int) -> tuple[list[Candidate], list]:
    proposals = read_answer(hostile_reply(number))
    candidates = [
        Candidate(f"llm-{i}", "llm", p.expression, p.name, p.hypothesis, p.category) for i, p in enumerate(proposals)
    ]
    parsed, unread = parse_candidates(candidates, {"lib": "close / open - 1"})
    checked, unfit = check_candidates(parsed, GateOptions(), 8, 5)
    distinct, known = deduplicate(checked, {"lib": "close / open - 1"}, ())
    assert len(distinct) + len(unread) + len(unfit) + len(known) == len(candidates)  # nobody is lost
    return distinct, [*unread, *unfit, *known]


def _survive(numbers: range, folder: Path, monkeypatch) -> tuple[int, int, float]:
    """How many proposals passed and failed, and the longest that one reply took."""
    monkeypatch.chdir(folder)
    passed = failed = 0
    longest = 0.0
    for number in numbers:
        begun = time.process_time()
        good, bad = _through(number)
        longest = max(longest, time.process_time() - begun)
        passed, failed = passed + len(good), failed + len(bad)
        for candidate in good:
            assert candidate.name == "" or candidate.name.isidentifier()
            assert "__" not in candidate.expression
            assert all(character.isascii() for character in candidate.expression)
    assert os.listdir(folder) == [], "a reply was run"
    return passed, failed, longest


def test_hostile_replies_become_rejects(tmp_path, monkeypatch):
    passed, failed, longest = _survive(range(300), tmp_path, monkeypatch)
    assert passed > 50
    assert failed > 1000
    assert longest < 2.0


@pytest.mark.slow
def test_ten_thousand_hostile_replies(tmp_path, monkeypatch):
    passed, failed, longest = _survive(range(10_000), tmp_path, monkeypatch)
    assert passed > 2000
    assert failed > 40_000
    assert longest < 2.0


@pytest.mark.parametrize("text", [*CODE, *AHEAD])
def test_code_and_looks_ahead_are_rejected(text):
    parsed, [reject] = parse_candidates([Candidate("llm-0", "llm", text)], {})
    assert parsed == []
    assert reject.code == "parse"
    assert reject.detail
