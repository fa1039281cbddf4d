"""Whether a source of candles may have others than when it was last read."""

import hashlib
from pathlib import Path
from typing import Any

from agent_market.market.options import MarketOptions


def state_of_source(market: MarketOptions, *_: Any) -> str | None:
    """A hash of what files the source has: "" for a simulated market, None where an exchange would have to be asked.

    Files are told apart by path, size and time of change. Asking an exchange loads only what is new.
    """
    if market.source == "simulated":
        return ""
    if market.source == "exchange" and not market.offline:
        return None
    folder = market.folder
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    lines = [f"{f.relative_to(folder)} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
