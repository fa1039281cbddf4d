"""Search, gate and vault: three spans of time, one after the other, that different eyes may see.

    |------ search ------|purge|--- gate ---|purge|--- vault ---|

Everything may look at the search segment. The gate answers yes or no with a reason, once per round. The vault is
opened by a command that leaves a line in the ledger. A segment is enforced by what is handed out: `visible` gives
candles up to its end, so that neither a factor nor a label can know what comes after.
"""

from dataclasses import dataclass

import pandas as pd

from agent_market.errors import ParameterError
from agent_market.mining.options import MiningOptions
from agent_market.options import timeframe_delta


@dataclass(frozen=True)
class Segment:
    """Decisions are made at candles with `start <= date < end`, and labels are known by the last of these."""

    name: str
    start: pd.Timestamp
    end: pd.Timestamp

    def visible(self, candles: pd.DataFrame) -> pd.DataFrame:
        """The candles that those may see who see this segment: all that open before its end."""
        return candles[candles["date"] < self.end].reset_index(drop=True)

    @property
    def span(self) -> list[str]:
        """Start and end as text."""
        return [self.start.isoformat(), self.end.isoformat()]


@dataclass(frozen=True)
class Segments:
    """The three of them."""

    search: Segment
    gate: Segment
    vault: Segment


def cut(candles: pd.DataFrame, options: MiningOptions, *, timeframe: str) -> Segments:
    """The segments of the candles' span; `horizon + 1` candles lie between one segment and the next.

    Raises:
        ParameterError: The gate segment would hold fewer blocks than `gate.min_blocks`.
    """
    step = timeframe_delta(timeframe)
    first, end = candles["date"].min(), candles["date"].max() + step
    n = (end - first) // step
    purge = (options.horizon + 1) * step
    search_end = first + int(n * options.segments.search) * step
    gate_end = first + int(n * (options.segments.search + options.segments.gate)) * step
    segments = Segments(
        Segment("search", first, search_end),
        Segment("gate", search_end + purge, gate_end),
        Segment("vault", gate_end + purge, end),
    )
    blocks = (segments.gate.end - segments.gate.start) // (options.block * step)
    if blocks < options.gate.min_blocks:
        raise ParameterError(
            f"mining.segments: the gate would have {blocks} blocks of {options.block} candles, and "
            f"{options.gate.min_blocks} are needed to tell luck from skill (mining.gate.min_blocks); the candles go "
            f"from {first:%Y-%m-%d} to {end:%Y-%m-%d}: load more, or enlarge mining.segments.gate"
        )
    return segments
