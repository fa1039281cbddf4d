"""The vault: the last segment, which nothing has seen; opening it leaves a line in the ledger."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from agent_market.factors.expression import Names, parse
from agent_market.mining.arena import build_arena
from agent_market.mining.options import MiningOptions
from agent_market.mining.segments import Segment
from agent_market.mining.statistics import measure, one_sided


def look_into(
    candles: pd.DataFrame,
    segment: Segment,
    factors: Names,
    options: MiningOptions,
    *,
    timeframe: str,
    max_gap: int = 0,
    before: Mapping[str, Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """What the vault says of factors whose high values should foretell rises: name, ic, t, p (one-sided), blocks.

    `before` gives the figures of an earlier segment by name (such as the gate's), whose ic stands beside as `gate_ic`.
    Whoever calls this must have written the ledger's line first.
    """
    arena = build_arena(candles, segment, options, timeframe=timeframe, max_gap=max_gap)
    figures = measure(arena, arena.gains([parse(text) for text in factors.values()]))
    p = [one_sided(t, two, 1.0) for t, two in zip(figures["t"], figures["p"], strict=True)]
    earlier = [(before or {}).get(name, {}).get("ic", np.nan) for name in factors]
    return pd.DataFrame(
        {
            "name": list(factors),
            "gate_ic": earlier,
            "ic": figures["ic"],
            "t": figures["t"],
            "p": p,
            "blocks": figures["blocks"],
        }
    )
