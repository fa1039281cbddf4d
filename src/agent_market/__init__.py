"""From raw candles to a strategy that trades, with evidence that can be believed."""

__version__ = "0.1.0"
