"""The dialogue with a language model: ask, read, send back what cannot be read, score, ask again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agent_market.factors.expression import Names
from agent_market.mining.arena import Arena
from agent_market.mining.candidates import Candidate, check_candidates, deduplicate, parse_candidates
from agent_market.mining.llm.budget import AskingEndedError
from agent_market.mining.llm.prompts import Memory, Told, question, repair
from agent_market.mining.llm.salvage import SCHEMA, read_answer
from agent_market.mining.options import MiningOptions
from agent_market.mining.scoring import score

if TYPE_CHECKING:
    from agent_market.mining.llm.client import ChatClient

PATIENCE = 3
"""Answers in a row without a new factor after which asking ends."""


@dataclass
class Asked:
    """What came of asking: all proposals (also those that cannot be read), how it ended, and what was spent."""

    candidates: list[Candidate] = field(default_factory=list)
    end: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)


def ask_for_factors(
    client: "ChatClient",
    arena: Arena,
    options: MiningOptions,
    *,
    timeframe: str,
    library: Names | None = None,
    known: Sequence[Told] = (),
    heard: Sequence[str] = (),
    round_number: int = 1,
) -> Asked:
    """Ask until `arms.llm` distinct factors were evaluated, or a budget is spent, or nothing new comes.

    `library` gives the expressions of accepted factors, `known` what a prompt may say of them, `heard` lines of an
    earlier run's feedback. Only the arena of the search segment is seen here.
    """
    talk = _Talk(client, arena, options, timeframe, library or {}, Memory(known, heard=heard), round_number)
    asked = Asked()
    try:
        asked.end = talk.go_on()
    except AskingEndedError as error:
        asked.end = str(error)
    budget = client.budget
    asked.candidates, asked.calls = talk.candidates, client.log
    asked.spent = {
        "calls": budget.calls,
        "tokens_in": budget.tokens_in,
        "tokens_out": budget.tokens_out,
        "money": budget.money,
    }
    return asked


@dataclass
class _Talk:
    client: "ChatClient"
    arena: Arena
    options: MiningOptions
    timeframe: str
    library: Names
    memory: Memory
    round_number: int
    candidates: list[Candidate] = field(default_factory=list)
    distinct: dict[str, Candidate] = field(default_factory=dict)  # by rank key
    requests: int = 0

    def go_on(self) -> str:
        idle = 0
        while len(self.distinct) < self.options.arms.llm:
            before = len(self.distinct)
            self._ask_once()
            idle = idle + 1 if len(self.distinct) == before else 0
            if idle == PATIENCE:
                return f"{PATIENCE} answers in a row held no new factor"
        return "all trials were made"

    def _ask_once(self) -> None:
        wanted = min(self.options.llm.per_call, self.options.arms.llm - len(self.distinct))
        messages = question(
            self.options,
            self.memory,
            is_cross_section=self.arena.is_cross_section,
            wanted=wanted,
            timeframe=self.timeframe,
        )
        answer = self._complete(messages)
        unread = self._take(answer)
        if unread and self.options.llm.repair:
            self._take(self._complete(repair(messages, answer, unread)))

    def _complete(self, messages: list[dict[str, str]]) -> str:
        self.requests += 1
        seed = (self.options.seed + 1_000 * self.round_number + self.requests) % 2**31
        return self.client.complete(messages, SCHEMA, seed=seed)

    def _take(self, answer: str) -> list[tuple[str, str]]:
        """Take in the proposals of an answer; gives the texts that cannot be read, with the errors."""
        fresh = []
        for proposal in read_answer(answer):
            number = len(self.candidates) + len(fresh)
            self.memory.categories[proposal.category] += 1
            fresh.append(
                Candidate(
                    f"llm-{number:05d}",
                    "llm",
                    proposal.expression,
                    proposal.name,
                    proposal.hypothesis,
                    proposal.category,
                )
            )
        parsed, unread = parse_candidates(fresh, self.library)
        checked, unfit = check_candidates(parsed, self.options.gate, len(self.arena.pairs), self.options.cross_section)
        new = [candidate for candidate in checked if candidate.rank_key not in self.distinct]
        new, double = deduplicate(new, self.library, ())
        left = self.options.arms.llm - len(self.distinct)
        new, late = new[:left], {candidate.id for candidate in new[left:]}
        self.candidates += [candidate for candidate in fresh if candidate.id not in late]
        self.memory.tried += [Told(reject.candidate.expression, said=reject.code) for reject in (*unfit, *double)]
        self._score(new)
        return [(reject.candidate.text, reject.detail) for reject in unread]

    def _score(self, new: list[Candidate]) -> None:
        scored, silent = score(new, self.arena)
        least = self.options.gate.nominate_t
        for candidate, row in zip(scored.candidates, scored.trials.to_dict("records"), strict=True):
            said = "not_significant" if abs(row["t"]) < least else "promising"
            turnover = float(row["turnover"]) if np.isfinite(row["turnover"]) else None
            self.memory.tried.append(Told(candidate.expression, float(row["ic"]), float(row["t"]), turnover, said))
        self.memory.tried += [Told(reject.candidate.expression, said=reject.code) for reject in silent]
        self.distinct |= {candidate.rank_key: candidate for candidate in new}
