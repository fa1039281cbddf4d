"""The choice of a model's options by trial, on candles before all test windows; every trial is counted."""

from agent_market.learning.tuning.options import Range, TuningOptions
from agent_market.learning.tuning.search import Tuned, tune

__all__ = ["Range", "Tuned", "TuningOptions", "tune"]
