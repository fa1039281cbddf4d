"""Parsing, checks and duplicates, each reject with its reason code."""

import pytest

from agent_market.factors import canonical, rank_key
from agent_market.mining.candidates import (
    REASONS,
    Candidate,
    check_candidates,
    clean_name,
    deduplicate,
    from_dicts,
    parse_candidates,
    rejects_table,
)
from agent_market.mining.options import GateOptions, MiningOptions
from agent_market.mining.zoo import from_sets


def of(*texts: str) -> list[Candidate]:
    return [Candidate(f"llm-{number}", "llm", text) for number, text in enumerate(texts)]


def test_texts_are_read_in_any_dialect_and_kept_in_one():
    parsed, unread = parse_candidates(of("Ref($close, 5)/$close", "@mine * 2"), {"mine": "close / open"})
    assert [candidate.expression for candidate in parsed] == ["delay(close, 5) / close", "2 * (close / open)"]
    assert parsed[0].rank_key == rank_key("delay(close, 5) / close")
    assert unread == []


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("clse / open", "parse", "unknown field 'clse', did you mean 'close'?"),
        ("delay(close, -3) / close", "parse", "looks into the future"),
        ("", "empty", ""),
        ("close / close", "constant", "the result is constant"),
        ("5", "constant", "is a constant"),
        ("@other", "parse", "unknown factor '@other'"),
    ],
)
def test_what_cannot_be_read_has_a_reason(text, code, detail):
    _, [reject] = parse_candidates(of(text), {})
    assert (reject.step, reject.code) == ("parse", code)
    assert detail in reject.detail


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("close - open", "units"),
        ("ts_mean(volume, 5)", "units"),
        ("tanh(close)", "units"),
        ("+".join(f"ts_mean(returns, {n})" for n in range(2, 11)), "too_complex"),
        ("ts_mean(ts_mean(ts_mean(returns, 900), 90), 90)", "look_back"),
        ("cs_rank(returns)", "too_few_pairs"),
    ],
)
def test_what_does_not_fit_has_a_reason(text, code):
    parsed, _ = parse_candidates(of(text, "close / open - 1"), {})
    good, [reject] = check_candidates(parsed, GateOptions(), 3, 5)
    assert reject.code == code
    assert [candidate.text for candidate in good] == ["close / open - 1"]


def test_with_pairs_enough_they_may_be_compared():
    parsed, _ = parse_candidates(of("cs_rank(returns)"), {})
    good, _ = check_candidates(parsed, GateOptions(), 5, 5)
    assert len(good) == 1


def test_what_ranks_alike_is_one_candidate():
    parsed, _ = parse_candidates(
        of("close / open", "tanh(close / open - 1)", "-close / open", "high / low", "open / low", "low / high"), {}
    )
    good, rejects = deduplicate(parsed, {"mine": "low / open"}, [rank_key("high / low")])
    assert [candidate.text for candidate in good] == ["close / open"]
    assert [(reject.candidate.text, reject.code) for reject in rejects] == [
        ("tanh(close / open - 1)", "duplicate"),
        ("-close / open", "duplicate"),
        ("high / low", "tested_before"),
        ("open / low", "in_library"),
        ("low / high", "tested_before"),
    ]
    assert rejects[0].detail == "llm-0"
    assert rejects[3].detail == "@mine"


def test_candidates_survive_json_and_rejects_become_a_table():
    parsed, unread = parse_candidates(of("close / open", "clse"), {})
    assert from_dicts([candidate.as_dict() for candidate in parsed]) == parsed
    table = rejects_table(unread)
    assert table["code"].tolist() == ["parse"]
    assert rejects_table([]).columns.tolist() == table.columns.tolist()
    assert set(table["code"]) <= set(REASONS)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Mom 12!", "mom_12"),
        ("12up", "f_12up"),
        ("<script>", "script"),
        ("", ""),
        ("Größe", "gr_e"),
        ("a" * 99, "a" * 32),
    ],
)
def test_names_are_made_harmless(given, name):
    assert clean_name(given) == name


def test_each_set_of_the_zoo_has_a_share():
    options = MiningOptions(arms={"genetic": 0, "zoo": 6}, zoo=("basic", "indicators"))
    candidates = from_sets(options)
    assert len(candidates) == 6
    assert {candidate.hypothesis for candidate in candidates} == {
        "a factor of the set basic",
        "a factor of the set indicators",
    }
    assert all(canonical(candidate.text) for candidate in candidates)
