"""The page of a round."""

import re

import pandas as pd
import pytest

from agent_market.mining.bench import Bench
from agent_market.mining.candidates import Candidate, rejects_table
from agent_market.mining.figures import gains_figure, trials_figure
from agent_market.mining.ledger import Past
from agent_market.mining.library import extend
from agent_market.mining.report import describe_arms, did_it_add, headline, render_page
from agent_market.mining.run import mine
from agent_market.mining.tracing import trace_gains
from mining.conftest import market, small

PLANTED = "(open + close - high - low) / (high - low)"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def page_of(planted, *candidates: Candidate, hypothesis: str = "") -> tuple[str, dict]:
    bench = Bench(planted, small(), market(0.1))
    mined = mine(planted, small(), timeframe="1h", candidates=candidates)
    library = extend(
        {}, mined.judgement.results, mined.scored.trials, horizon=12, seen_until="2024-01-01T00:00:00+00:00"
    )
    rejects = rejects_table(mined.rejects)
    results, trials = mined.judgement.results, mined.scored.trials
    figures = [
        gains_figure(trace_gains(results, {"search": bench.search, "gate": bench.gate})),
        trials_figure(trials, 3.0),
    ]
    files = render_page(
        results=results,
        trials=trials,
        rejects=rejects,
        arms=describe_arms([candidate.as_dict() for candidate in candidates], trials, rejects, results),
        library=library,
        dialogue={"end": EVIL, "spent": {"calls": 3}},
        backtest={"segment": EVIL},
        withheld=[EVIL],
        segments=bench.segments,
        past=Past(1, frozenset({"a", "b"}), frozenset(), 2),
        options=small(),
        costs=0.0012,
        figures={figure.layout.title.text: figure for figure in figures},
        cross_section=True,
    )
    return files["index.html"], files


def test_whatever_a_model_wrote_is_escaped(planted):
    candidate = Candidate("llm-0", "llm", PLANTED, "wicks", EVIL, "candle_shape")
    page, _ = page_of(planted, candidate, Candidate("llm-1", "llm", EVIL, "evil", EVIL))
    assert "@wicks" in page
    assert EVIL not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 4


def test_the_page_tells_what_was_accepted_and_what_was_tried(planted):
    page, files = page_of(
        planted, Candidate("genetic-0", "genetic", PLANTED), Candidate("zoo-0", "zoo", "close / open")
    )
    assert "1 of 1 nominees held on the gate segment" in page or "nominees held on the gate segment" in page
    assert "4 on this gate segment so far" in page  # two of earlier rounds
    assert "Round 2 on this gate segment" in page
    assert "The vault was opened 2 times" in page
    assert re.search(r"2023-01-01 00:00.*2023-04-11 00:00", page, re.DOTALL)
    assert page.count('data-figure="') == 2
    assert set(files) == {"index.html", "plotly.js"}
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)


def test_nothing_accepted_is_a_result(planted):
    page, _ = page_of(planted, Candidate("zoo-0", "zoo", "volume / delay(volume, 24)"))
    assert "No factor was accepted: none of 0 nominees held" in page
    assert "foretold too little on the search segment" in page


RESULTS = pd.DataFrame(
    {
        "arm": ["llm", "llm", "genetic"],
        "arms": ["llm", "control, llm", "genetic"],
        "passed": [True, True, True],
        "round": [1, 1, 1],
    }
)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([0, 1, 2], "added 1 accepted idea that no genetic search had; 1 were found by both, 1 without it"),
        ([1, 2], "added nothing that a genetic search did not find as well; 1 were found by both"),
    ],
)
def test_whether_the_model_added_anything_is_said(rows, sentence):
    arms = pd.DataFrame(
        {"arm": ["llm", "control"], "trials": [20, 20], "accepted": [2, 0], "best_t": [4.5, 3.25]}
    )  # fmt: skip
    said = did_it_add(arms, RESULTS.iloc[rows])
    assert sentence in said
    assert "Of 20 trials its best |t| was 4.50; the control arm had 3.25 in 20 trials" in said
    assert did_it_add(arms.head(0), RESULTS) == "The language model was not asked."


def test_the_headline_counts():
    assert headline(RESULTS, 40, 100).startswith("3 of 3 nominees held")
