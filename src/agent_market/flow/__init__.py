"""The agent flow: rounds of research from one task file, and the runner, lock and archive that it stands on."""

from agent_market.flow.runner import CachedRunner

__all__ = ["CachedRunner"]
