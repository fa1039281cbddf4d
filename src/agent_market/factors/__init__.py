"""Factors: numbers computed from candles, written as expressions that cannot look ahead."""

from agent_market.factors.engine import compute_factors
from agent_market.factors.expression import canonical, look_back
from agent_market.factors.factor_set import factor_sets, load_factors
from agent_market.factors.options import FeatureOptions

__all__ = ["FeatureOptions", "canonical", "compute_factors", "factor_sets", "load_factors", "look_back"]
