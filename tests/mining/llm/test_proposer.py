"""The dialogue: what a prompt tells, what a repair asks, what answers become."""

import re

import pandas as pd
import pytest

from agent_market.errors import LanguageModelError
from agent_market.mining.arena import build_arena
from agent_market.mining.candidates import parse_candidates
from agent_market.mining.llm.client import open_client
from agent_market.mining.llm.prompts import Memory, Told, question
from agent_market.mining.llm.proposer import Asked, ask_for_factors
from agent_market.mining.llm.secret import Secret
from agent_market.mining.options import LLMOptions, MiningOptions
from agent_market.mining.segments import cut
from agent_market.testing.fake_openai import FakeOpenAI
from mining.conftest import small
from panels import scramble_after

LLM = {"model": "fake", "per_call": 4, "timeout": 2.0}


def options_for(server: FakeOpenAI, folder, *, trials: int = 8, **llm) -> MiningOptions:
    block = LLM | {"base_url": server.url, "cassettes": str(folder)} | llm
    return small(arms={"genetic": 10, "zoo": 0, "llm": trials}, llm=block)


@pytest.fixture(scope="module")
def arena(planted):
    return build_arena(planted, cut(planted, small(), timeframe="1h").search, small(), timeframe="1h")


def ask(arena, options, **more) -> Asked:
    client = open_client(options.llm, Secret(""), sleep=lambda seconds: None)
    return ask_for_factors(client, arena, options, timeframe="1h", **more)


def test_trials_are_made_until_there_are_enough(arena, tmp_path):
    with FakeOpenAI() as server:
        asked = ask(arena, options_for(server, tmp_path))
        assert 2 <= len(server.requests) <= 4
    parsed, unread = parse_candidates(asked.candidates, {})
    assert len({candidate.rank_key for candidate in parsed}) == 8
    assert unread == []
    assert asked.end == "all trials were made"
    assert asked.spent["calls"] == len(asked.calls) == len(server.requests)
    assert len({candidate.id for candidate in asked.candidates}) == len(asked.candidates)


def test_what_cannot_be_read_goes_back_once_with_the_parsers_error(arena, tmp_path):
    with FakeOpenAI(["typo"]) as server:
        asked = ask(arena, options_for(server, tmp_path, trials=4))
        first, second = server.requests[:2]
    assert len(first.body["messages"]) == 2
    sent_back = second.body["messages"][-1]["content"]
    assert "These expressions cannot be read" in sent_back
    assert re.search(r"unknown (function|field) '(tss_|hihg)", sent_back)
    _, unread = parse_candidates(asked.candidates, {})
    assert len(unread) == 1, "the unreadable one is kept as a reject"


def test_without_repair_nothing_goes_back(arena, tmp_path):
    with FakeOpenAI(["typo"]) as server:
        ask(arena, options_for(server, tmp_path, trials=3, repair=False))
        assert all(len(request.body["messages"]) == 2 for request in server.requests)


def test_a_model_that_repeats_itself_is_left(arena, tmp_path):
    with FakeOpenAI(["loop"] * 20) as server:
        asked = ask(arena, options_for(server, tmp_path))
        assert len(server.requests) == 4
    assert asked.end == "3 answers in a row held no new factor"


def test_hostile_answers_end_in_rejects_and_no_crash(arena, tmp_path):
    with FakeOpenAI(["hostile"] * 30) as server:
        asked = ask(arena, options_for(server, tmp_path, trials=12, budget={"calls": 12}))
    _, unread = parse_candidates(asked.candidates, {})
    assert len(unread) >= 3
    assert asked.end


def test_a_spent_budget_ends_the_arm_and_says_so(arena, tmp_path):
    with FakeOpenAI() as server:
        asked = ask(arena, options_for(server, tmp_path, trials=500, budget={"calls": 2}))
    assert asked.end == "budget.calls: 2 requests were sent"
    assert len(asked.candidates) == 8


def test_a_server_that_dies_midway_leaves_what_it_gave(arena, tmp_path):
    with FakeOpenAI(["good", *["503"] * 9]) as server:
        asked = ask(arena, options_for(server, tmp_path, trials=50))
    assert "status 503" in asked.end
    assert len(asked.candidates) == 4
    with FakeOpenAI(["503"] * 9) as server, pytest.raises(LanguageModelError):
        ask(arena, options_for(server, tmp_path / "other"))


def test_a_replay_is_the_same_bit_for_bit(arena, tmp_path):
    with FakeOpenAI(["good", "429+0", "typo", "fenced", "truncated"]) as server:
        options = options_for(server, tmp_path, trials=20)
        first = ask(arena, options)
        replay = options.model_copy(update={"llm": options.llm.model_copy(update={"mode": "replay"})})
    assert ask(arena, replay) == first  # the server is gone


# ---- what is told


def test_prompts_hold_no_pair_no_date_and_nothing_of_gate_or_vault(arena, planted, tmp_path):
    with FakeOpenAI() as server:
        options = options_for(server, tmp_path, trials=12)
        known = [Told("close / open - 1", 0.0123, 4.5, 0.2)]
        ask(
            arena,
            options,
            library={"a": "close / open - 1"},
            known=known,
            heard=["rejected, gate: ts_mean(close, 3) / open"],
        )
        told = [str(request.body["messages"]) for request in server.requests]
    pairs = {part for pair in arena.pairs for part in re.split(r"[/:]", pair)} | set(arena.pairs)
    for text in told:
        assert not re.findall(r"\b(?:19|20)\d\d\b", text)
        assert not [pair for pair in pairs if re.search(rf"\b{re.escape(pair)}\b", text)]
        assert "vault" not in text.lower()
        assert not re.search(r"gate_|binance|simulated", text.lower())
    assert "close / open - 1  [ic +0.0123, t 4.50, turnover 0.20]" in told[0]
    assert "rejected, gate: ts_mean(close, 3) / open" in told[0]


def test_scrambling_gate_and_vault_changes_no_prompt(planted, tmp_path):
    def prompts(candles, folder):
        options = small()
        search = cut(candles, options, timeframe="1h").search
        arena = build_arena(candles, search, options, timeframe="1h")
        with FakeOpenAI() as server:
            ask(arena, options_for(server, folder, trials=8))
            return [request.body["messages"] for request in server.requests]

    end = cut(planted, small(), timeframe="1h").search.end
    later = scramble_after(planted, end - pd.Timedelta("1h"))
    earlier = scramble_after(planted, end - pd.Timedelta("200h"))
    first = prompts(planted, tmp_path / "a")
    assert first == prompts(later, tmp_path / "b")
    assert first != prompts(earlier, tmp_path / "c")  # the check can fail


def test_results_of_the_search_segment_are_told(arena, tmp_path):
    with FakeOpenAI() as server:
        ask(arena, options_for(server, tmp_path, trials=12))
        later = server.requests[-1].body["messages"][-1]["content"]
    assert re.search(r"TRIED.*\n- .*\[ic [+-]0\.\d{4}, t -?\d+\.\d\d", later)


def test_few_pairs_are_not_offered_comparisons():
    options = MiningOptions()
    for across in (True, False):
        text = question(options, Memory(), is_cross_section=across, wanted=5, timeframe="1h")[1]["content"]
        assert ("cs_rank(x)" in text) == across
        assert "Propose 5 formulas" in text
        assert len(text) < 8000


def test_an_endpoint_on_another_machine_must_be_encrypted():
    with pytest.raises(ValueError, match="unencrypted"):
        LLMOptions(base_url="http://example.com/v1")
