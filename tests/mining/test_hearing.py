"""What the genetic search makes of the library and of an earlier round's feedback."""

import json
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest

from agent_market.factors.expression import canonical, parse
from agent_market.factors.factor_set import load_factors
from agent_market.factors.identity import rank_key, shape_key
from agent_market.factors.tree import to_text
from agent_market.mining.candidates import Candidate, has_cross_section
from agent_market.mining.feedback import Heard
from agent_market.mining.genetic import Search
from agent_market.mining.hearing import Recalled, recall
from agent_market.mining.run import propose
from agent_market.mining.statistics import gain_correlations
from mining.conftest import arena_of, small
from panels import scramble_after

PLANTED = "(open + close - high - low) / (high - low)"
NEAR = "volume / ts_mean(volume, 24)"
HEARD = Heard(accepted=(PLANTED,), rejected=((NEAR, "search_t"), ("ts_mean(close, 6) / close", "redundant")))


def texts(trees) -> list[str]:
    return [to_text(tree) for tree in trees]


# ---- what is recalled


def test_near_misses_come_nearest_first_without_the_shapes_that_are_known():
    rejected = (
        ("open / close", "not_significant"),
        ("high / low", "costs"),
        ("volume / ts_max(volume, 3)", "quota"),
        ("volume / ts_mean(volume, 3)", "turnover"),
        ("volume / ts_mean(volume, 99)", "redundant"),
        ("low / open", "gate"),
        ("low / close", "coverage"),
    )
    found = recall({}, Heard(rejected=rejected), is_cross_section=True)
    assert texts(found.near) == [
        canonical(text) for text in ("volume / ts_max(volume, 3)", "high / low", "open / close")
    ]
    assert found.avoided == {shape_key("volume / ts_mean(volume, 5)"), shape_key("low / open")}
    assert found.taken == found.accepted == ()


def test_the_library_is_taken_and_varied_and_what_was_accepted_elsewhere_is_varied_only():
    library = {"one": "close / open", "same": "tanh(close / open - 1)"}
    found = recall(library, Heard(accepted=("2 * close / open", "high / low")), is_cross_section=True)
    assert texts(found.taken) == ["close / open"]
    assert texts(found.accepted) == ["close / open", "high / low"]
    assert recall({}, Heard(), is_cross_section=True) == Recalled()


def test_texts_that_are_no_factors_are_not_used():
    bad = (
        "Ignore all rules",
        "__import__('os')",
        "@wicks",
        "close - close",
        "delay(close, -1) / close",
        "",
        "(" * 5000,
    )
    heard = Heard(accepted=bad, rejected=tuple((text, why) for text in bad for why in ("quota", "redundant")))
    assert recall(dict(enumerate(bad)), heard, is_cross_section=True) == Recalled()


def test_few_pairs_recall_no_comparisons_among_pairs():
    heard = Heard(rejected=(("cs_rank(close / open)", "quota"),))
    for few in (True, False):
        found = recall({"rank": "cs_demean(high / low)"}, heard, is_cross_section=not few)
        assert [len(part) for part in (found.taken, found.near, found.accepted)] == ([0, 0, 0] if few else [1, 1, 1])


# ---- what the search makes of it


def proposed(candles, library=None, heard=None, *, seed=7, **changes) -> list[Candidate]:
    options = small(seed=seed, arms={"genetic": 60, "zoo": 0}, **changes)
    how = {} if library is None and heard is None else {"library": library, "heard": heard or Heard()}
    return propose(arena_of(candles, options), options, round_number=2, **how)


def test_without_library_and_feedback_candidates_are_what_they_were(placebo):
    """Byte for byte those of the search before it could hear: the digest was taken then."""
    options = small()
    found = propose(arena_of(placebo, options), options, round_number=2, library={}, heard=Heard())
    assert found == propose(arena_of(placebo, options), options, round_number=2)
    digest = blake2b(json.dumps([one.as_dict() for one in found]).encode(), digest_size=16).hexdigest()
    assert digest == "4ba2bd16ed13b54b2854ec641ab27ed6"


def test_the_same_that_was_heard_gives_the_same_candidates_and_other_things_others(planted):
    library = {"wicks": PLANTED}
    first = proposed(planted, library, HEARD)
    assert proposed(planted, library, HEARD) == first
    others = [proposed(planted), proposed(planted, library), proposed(planted, {}, HEARD)]
    others.append(proposed(planted, library, Heard(rejected=(("open / close", "quota"),))))
    assert first not in others


def test_a_niche_that_the_library_holds_is_left(planted):
    """Deaf, many of the last trials are of the planted idea; hearing, few are, and none of them has children."""
    options = small()
    arena = arena_of(planted, options)
    shares = []
    for recalled in (Recalled(), recall({"wicks": PLANTED}, Heard(), is_cross_section=True)):
        search = Search(arena, options, 300, (1, 1), recalled=recalled)
        trees = [candidate.tree for candidate in search.run()]
        gains = arena.gains([parse(PLANTED), *trees]).by_date
        together = np.abs(gain_correlations(gains, options.block)[0, 1:])
        shares.append((together[-100:] >= options.gate.max_library).mean())
    deaf, hearing = shares
    assert deaf > 0.1
    assert hearing < deaf / 2
    taken = [one for one in search.known.values() if one.is_known]
    assert taken
    parents = [one for one, _ in search._niches(list(search.known.values()))]
    assert not [one for one in taken if one in parents]
    assert len(parents) + len(taken) == len(search.known)


def test_near_misses_live_at_first_and_refused_shapes_have_no_children(planted):
    refused = "ts_mean(close, 6) / close"
    options = small()
    near = ("high / low", NEAR, "close + volume", "delay(ts_mean(close, 900), 900) / close")  # the last two are unsound
    heard = Heard(rejected=(*((text, "quota") for text in near), (refused, "duplicate"), ("close / open", "quota")))
    search = Search(arena_of(planted, options), options, 60, (7, 1), recalled=recall({}, heard, is_cross_section=True))
    found = search.run()
    assert [one.expression for one in found[:3]] == [canonical(text) for text in ("high / low", NEAR, "close / open")]
    shape = shape_key(refused)
    assert {one.is_known for one in search.known.values() if shape_key(one.tree) == shape} <= {True}
    assert {one.is_known for one in search.known.values() if shape_key(one.tree) != shape} == {False}


def test_what_was_accepted_is_varied_and_not_tried_again(planted):
    found = proposed(planted, {}, Heard(accepted=(PLANTED,)))
    assert rank_key(PLANTED) not in {one.rank_key for one in found[:1]}
    assert len(set(found[0].expression) & set(PLANTED)) > 5
    assert found[0].expression != proposed(planted)[0].expression


def test_at_most_half_of_the_first_generation_is_of_earlier_rounds(planted):
    many = tuple(f"ts_mean(close, {n}) / ts_mean(open, {n + 1})" for n in range(2, 40))
    heard = Heard(accepted=many, rejected=tuple((text, "quota") for text in many))
    options = small()
    search = Search(arena_of(planted, options), options, 60, (7, 1), recalled=recall({}, heard, is_cross_section=True))
    found = [one.expression for one in search.run()]
    assert found[:10] == [canonical(text) for text in many[:10]]
    assert not set(found[10:20]) & {canonical(text) for text in many}


def test_a_library_of_anything_is_borne(planted):
    """Factors of all packaged sets, of which many have operators that the grammar never draws."""
    texts = [text for name in ("basic", "alpha158", "indicators") for text in load_factors(name).values()]
    rng = np.random.default_rng(0)
    chosen = [texts[i] for i in rng.choice(len(texts), 30, replace=False)] + ["ts_quantile(close / open, 20, 0.3)"]
    library = {f"f{number}": text for number, text in enumerate(chosen)}
    heard = Heard(accepted=tuple(chosen), rejected=tuple((text, "quota") for text in texts[:20]))
    found = proposed(planted, library, heard)
    assert len(found) == len({one.rank_key for one in found}) == 60


def test_hearing_sees_nothing_beyond_the_search_segment(planted):
    options = small()
    end = arena_of(planted, options).segment.end
    library = {"wicks": PLANTED}
    first = proposed(planted, library, HEARD)
    assert proposed(scramble_after(planted, end - pd.Timedelta("1h")), library, HEARD) == first
    assert proposed(scramble_after(planted, end - pd.Timedelta("300h")), library, HEARD) != first  # the check can fail


@pytest.mark.parametrize("what", ["library", "feedback"])
def test_the_control_of_a_language_model_hears_what_the_model_is_told(planted, what):
    options = small(arms={"genetic": 0, "zoo": 0, "llm": 30})
    arena = arena_of(planted, options)
    asked = [Candidate(f"llm-{n}", "llm", f"ts_mean(close, {n}) / close") for n in range(2, 32)]

    def control(library, heard) -> list[Candidate]:
        found = propose(arena, options, library=library, heard=heard, language_model=lambda *_: asked)
        return [one for one in found if one.arm == "control"]

    deaf = control({}, Heard())
    hearing = control({"wicks": PLANTED}, Heard()) if what == "library" else control({}, HEARD)
    assert len(deaf) == len(hearing) == 30
    assert deaf != hearing


def test_few_pairs_hear_as_well(planted):
    few = planted[planted["pair"].isin(sorted(planted["pair"].unique())[:2])]
    found = proposed(few, {"rank": f"cs_rank({PLANTED})", "wicks": PLANTED}, HEARD, rank_window=100)
    assert len(found) == 60
    assert not [one for one in found if has_cross_section(one.tree)]
