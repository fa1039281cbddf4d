"""Factors: numbers computed from candles, written as expressions that cannot look ahead."""

from agent_market.factors.checks import Checked, check
from agent_market.factors.engine import compute_factors
from agent_market.factors.expression import canonical, look_back
from agent_market.factors.factor_set import factor_sets, load_factors
from agent_market.factors.files import (
    FactorFile,
    read_expressions_file,
    read_features_file,
    write_expressions_file,
    write_features_file,
)
from agent_market.factors.identity import key, rank_key, shape_key
from agent_market.factors.options import ExpressionOptions, FeatureOptions
from agent_market.factors.qlib_text import to_qlib

__all__ = [
    "Checked",
    "ExpressionOptions",
    "FactorFile",
    "FeatureOptions",
    "canonical",
    "check",
    "compute_factors",
    "factor_sets",
    "key",
    "load_factors",
    "look_back",
    "rank_key",
    "read_expressions_file",
    "read_features_file",
    "shape_key",
    "to_qlib",
    "write_expressions_file",
    "write_features_file",
]
