"""Nodes of factor_mining: what a round gives, the next one hears."""

import json

import pytest

from agent_market.mining.bench import Bench
from agent_market.mining.candidates import rejects_table
from agent_market.mining.library import extend, names_of
from agent_market.mining.llm.secret import Secret
from agent_market.mining.report import describe_arms
from agent_market.mining.run import mine
from agent_market.pipelines.factor_mining.nodes import give_mining_feedback, propose_candidates
from mining.conftest import candles_of, market, small

MARKET = market(0.1)


@pytest.fixture(scope="module")
def candles():
    return candles_of(MARKET)


@pytest.fixture(scope="module")
def first(candles) -> tuple[dict, dict]:
    """Library and feedback of a first round."""
    mined = mine(candles, small(), timeframe="1h")
    trials, rejects, results = mined.scored.trials, rejects_table(mined.rejects), mined.judgement.results
    library = extend({}, results, trials, horizon=12, seen_until="2024-01-01T00:00:00+00:00")
    arms = describe_arms([], trials, rejects, results)
    return library, give_mining_feedback(trials, rejects, library, arms, {}, candles, [], small(), MARKET)


def proposed(candles, library, feedback=None) -> list[str]:
    rows, _, ledger = propose_candidates(candles, [], library, Secret(""), small(feedback=feedback), MARKET)
    assert ledger == []
    return [row["expression"] for row in rows if row["arm"] == "genetic"]


def test_a_round_hears_the_library_and_the_feedback_of_the_one_before(candles, first, tmp_path):
    library, feedback = first
    assert library["factors"]
    path = tmp_path / "mining_feedback.json"
    path.write_text(json.dumps(feedback))
    deaf, knowing = proposed(candles, None), proposed(candles, library)
    hearing = proposed(candles, library, str(path))
    assert deaf == proposed(candles, {})
    assert len({tuple(found) for found in (deaf, knowing, hearing)}) == 3
    assert hearing == proposed(candles, library, str(path))
    heard = Bench(candles, small(feedback=str(path)), MARKET).heard
    assert heard.accepted == tuple(names_of(library).values())
    near = {text for text, why in heard.rejected if why in ("quota", "costs", "turnover", "unstable", "search_t")}
    assert near & set(hearing[:10])
