"""One round of mining in memory, from candles to verdict: the pipeline's steps, for studies and notebooks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from agent_market.factors.expression import Names
from agent_market.mining.arena import Arena, build_arena
from agent_market.mining.candidates import Candidate, Reject, check_candidates, deduplicate, parse_candidates
from agent_market.mining.feedback import Heard
from agent_market.mining.gate import Judgement, judge
from agent_market.mining.genetic import Search
from agent_market.mining.hearing import recall
from agent_market.mining.ledger import Past
from agent_market.mining.options import MiningOptions
from agent_market.mining.scoring import Scored, score
from agent_market.mining.segments import Segments, cut
from agent_market.mining.zoo import from_sets

GENETIC, CONTROL = 1, 2
"""Numbers of the random streams of the two genetic arms."""

NO_PAST = Past(0, frozenset(), frozenset(), 0)
NOTHING_HEARD = Heard()

Proposer = Callable[[Arena, MiningOptions, int], list[Candidate]]
"""Takes the arena of the search segment, the options and the number of the round."""


@dataclass(frozen=True)
class Mined:
    """What came of a round."""

    segments: Segments
    search: Arena
    gate: Arena
    scored: Scored
    judgement: Judgement
    rejects: list[Reject]


def propose(
    arena: Arena,
    options: MiningOptions,
    *,
    round_number: int = 1,
    library: Names | None = None,
    heard: Heard = NOTHING_HEARD,
    language_model: Proposer | None = None,
) -> list[Candidate]:
    """The candidates of all arms: zoo, genetic, llm, and beside the llm a genetic arm of as many trials as control.

    `library` gives the expressions of accepted factors, `heard` what an earlier run's feedback says. Both genetic arms
    use them; the language model is told the same, so that the control differs from it in who proposes alone.
    """
    arms = options.arms
    recalled = recall(library or {}, heard, is_cross_section=arena.is_cross_section)
    candidates = from_sets(options) if arms.zoo else []
    if arms.genetic:
        seed = (options.seed, round_number, GENETIC)
        candidates += Search(arena, options, arms.genetic, seed, recalled=recalled).run()
    if arms.llm and language_model is not None:
        asked = language_model(arena, options, round_number)
        candidates += asked
        readable, _ = parse_candidates(asked, {})
        trials = len({candidate.rank_key for candidate in readable})
        if trials:
            seed = (options.seed, round_number, CONTROL)
            candidates += Search(arena, options, trials, seed, arm="control", recalled=recalled).run()
    return candidates


def mine(
    candles: pd.DataFrame,
    options: MiningOptions,
    *,
    timeframe: str,
    max_gap: int = 0,
    library: Names | None = None,
    heard: Heard = NOTHING_HEARD,
    past: Past = NO_PAST,
    candidates: Sequence[Candidate] | None = None,
    rotate: int = 0,
) -> Mined:
    """A round of mining, of `candidates` instead of the arms' own if they are given.

    `rotate` turns the outcomes of each segment by so many dates against the factors, so that nothing is to be found: a
    placebo on any candles.
    """
    library = library or {}
    segments = cut(candles, options, timeframe=timeframe)
    how = {"timeframe": timeframe, "max_gap": max_gap}
    search, gate = (build_arena(candles, part, options, **how) for part in (segments.search, segments.gate))
    if rotate:
        search, gate = rotated(search, rotate), rotated(gate, rotate)
    number = past.rounds + 1
    if candidates is None:
        candidates = propose(search, options, round_number=number, library=library, heard=heard)
    parsed, unread = parse_candidates(candidates, library)
    checked, unfit = check_candidates(parsed, options.gate, len(search.pairs), options.cross_section)
    distinct, known = deduplicate(checked, library, past.tested)
    scored, silent = score(distinct, search)
    judgement = judge(scored, search, gate, library, round_number=number, trials_before=len(past.trials))
    rejects = [*unread, *unfit, *known, *silent, *judgement.rejects]
    return Mined(segments, search, gate, scored, judgement, rejects)


def rotated(arena: Arena, dates: int) -> Arena:
    """The arena with its outcomes turned against the factors by so many dates, around the ends of the segment.

    Each pair's outcomes are centred on their median and scaled by their mean size: a pair that falls more often than
    another would do so at any other time as well, and a factor that ranks pairs always alike would not be a placebo.
    """
    shift = dates % len(arena.dates)
    centred = arena.outcome - np.nanmedian(arena.outcome, axis=0)
    outcome = centred / np.nanmean(np.abs(centred), axis=0)
    after = arena.next_return - arena.next_return.mean(axis=0)
    return replace(arena, outcome=np.roll(outcome, shift, axis=0), next_return=np.roll(after, shift, axis=0))
