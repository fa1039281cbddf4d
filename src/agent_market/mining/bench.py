"""What the steps of a round share: the segments of the candles, their arenas, and what the ledger knows of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from agent_market.market.options import MarketOptions
from agent_market.mining.arena import Arena, build_arena
from agent_market.mining.feedback import Heard, read_feedback
from agent_market.mining.gate import Judgement
from agent_market.mining.ledger import Look, Past, look_of, past_of, round_record
from agent_market.mining.library import names_of
from agent_market.mining.llm.prompts import Told
from agent_market.mining.llm.proposer import Asked, ask_for_factors
from agent_market.mining.llm.secret import Secret
from agent_market.mining.options import MiningOptions
from agent_market.mining.scoring import Scored
from agent_market.mining.segments import Segment, Segments, cut


@dataclass(frozen=True)
class Bench:
    """Candles, cut; each arena is built of the candles that its segment may see, and only when it is asked for."""

    candles: pd.DataFrame
    options: MiningOptions
    market: MarketOptions

    @cached_property
    def segments(self) -> Segments:
        """Search, gate and vault."""
        return cut(self.candles, self.options, timeframe=self.market.timeframe)

    @cached_property
    def search(self) -> Arena:
        """The arena on which everything may be tried."""
        return self._arena(self.segments.search)

    @cached_property
    def gate(self) -> Arena:
        """The arena on which nominees are tested."""
        return self._arena(self.segments.gate)

    @cached_property
    def heard(self) -> Heard:
        """What an earlier run's feedback may tell."""
        return read_feedback(self.options.feedback, self.segments.search)

    def look(self, segment: Segment) -> Look:
        """A look at one segment, as the ledger tells looks apart."""
        return look_of(segment, self.candles, source=source_of(self.market), timeframe=self.market.timeframe)

    def past(self, ledger: Iterable[Mapping[str, Any]]) -> Past:
        """What earlier rounds did on this gate segment."""
        return past_of(ledger, self.look(self.segments.gate), self.look(self.segments.vault))

    def record(self, scored: Scored, judgement: Judgement, past: Past) -> dict[str, Any]:
        """The line of the ledger for this round."""
        keys = {candidate.id: candidate.rank_key for candidate in scored.candidates}
        return round_record(
            self.look(self.segments.gate),
            number=past.rounds + 1,
            q=judgement.q,
            trials=list(keys.values()),
            tested=[keys[name] for name in judgement.results["id"]],
            accepted=[candidate.rank_key for candidate in judgement.accepted],
        )

    def ask(self, arena: Arena, key: Secret, library: Mapping[str, Any] | None, round_number: int) -> Asked:
        """What a language model proposes."""
        from agent_market.mining.llm.client import open_client  # what speaks HTTP takes time to import

        known = [
            Told(facts["expression"], facts["search"]["ic"], facts["search"]["t"], facts["search"]["turnover"])
            for facts in (library or {}).get("factors", {}).values()
        ]
        client = open_client(self.options.llm, key)
        return ask_for_factors(
            client,
            arena,
            self.options,
            timeframe=self.market.timeframe,
            library=names_of(library),
            known=known,
            heard=self.heard.lines,
            round_number=round_number,
        )

    def _arena(self, segment: Segment) -> Arena:
        how = {"timeframe": self.market.timeframe, "max_gap": self.market.max_gap}
        return build_arena(self.candles, segment, self.options, **how)


SIMULATED = ("seed", "start", "signal_strength", "signal_half_life", "signal_noise", "signal_kind")


def source_of(market: MarketOptions) -> str:
    """Whose candles they are: those of a simulated market, or real ones, from whatever place they were read."""
    if market.source != "simulated":
        return f"real {market.trading_mode}"
    return "simulated " + ", ".join(f"{name} {getattr(market, name)}" for name in SIMULATED)
