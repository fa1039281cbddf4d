"""The parameters under `features`, and the limits of the expression language."""

from typing import Literal

from pydantic import Field

from agent_market.options import Options


class FeatureOptions(Options):
    """Which factors become features."""

    factor_set: str = Field(
        "basic",
        description="a packaged set, or the path of a YAML or JSON file: {name: expression}, or a "
        "freqai_features.json or freqai_expressions.json",
    )
    factors: dict[str, str] = Field({}, description="further factors, name to expression")
    mined: bool = Field(False, description="add all factors of the library of mined ones, under their names there")
    on_rejected: Literal["error", "warn"] = Field(
        "error",
        description="rows of a freqai_*.json that cannot be read: error = stop and name them; warn = log each with "
        "its reason and go on with the rest",
    )
    compat: Literal["sane", "qlib"] = Field(
        "sane", description="rules of windows and numbers: this project's, or Qlib's as shipped (docs/factor_engine.md)"
    )
    append: bool = Field(
        True, description="take over what is stored of an earlier run where it still holds, bit for bit"
    )
    threads: int = Field(1, ge=1, description="threads that compute factors; the numbers do not depend on it")


class ExpressionOptions(Options):
    """How large an expression may be, and what is assumed where a dialect leaves something open."""

    max_length: int = Field(600, ge=1, le=10_000, description="characters of an expression, also in canonical form")
    max_tokens: int = Field(300, ge=1, le=5_000, description="words and signs of an expression, also written out")
    max_nesting: int = Field(40, ge=1, le=60, description="levels of brackets, calls and signs")
    max_parts: int = Field(
        64,
        ge=1,
        le=1_000,
        description="different fields, numbers and operators, macros written out; what stands twice counts once",
    )
    max_levels: int = Field(12, ge=1, le=60, description="levels of operators, macros written out")
    max_window: int = Field(50_000, ge=1, description="candles in a window, lag or span")
    max_look_back: int = Field(100_000, ge=1, description="candles of history that one value reads")
    max_exponent: float = Field(4, gt=0, le=16, description="largest size of an exponent")
    z_window: int = Field(
        200, ge=2, description="candles of the window that z(x) gets, which in the older tool saw the whole sample"
    )


LIMITS = ExpressionOptions()
"""The defaults."""
