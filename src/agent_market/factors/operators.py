"""The operators of the expression language: one table that the parser, the engine and the documents read."""

from dataclasses import dataclass
from typing import Literal

from agent_market.factors import macros
from agent_market.factors.dialects import ALIASES, CONDITION_OR_VALUE, WINDOW_OR_VALUE
from agent_market.factors.macros import MACROS, Macro
from agent_market.factors.signature import Signature

Kind = Literal["element-wise", "time-series", "cross-section", "calendar"]

FIELDS = {
    "open": "price of the candle's first trade",
    "high": "highest price of the candle",
    "low": "lowest price of the candle",
    "close": "price of the candle's last trade",
    "volume": "amount traded in the candle, in the base currency",
}

DERIVED_FIELDS = {
    "vwap": "volume-weighted mean price of the candle; (high + low + close) / 3 where the candles do not have it",
}
"""Fields that candles may have; where they do not, other fields stand in for them."""

EMA_MEMORY = 8
"""Candles per unit of span that `ema` looks back: what is older weighs less than exp(-16), about 1e-7."""

GUARD = 1e-6
"""A positive constant up to this that is added to a divisor is a guard against 0, not a part of the formula."""

MIN_LIVE_PAIRS = 3
"""Cross-sections of fewer pairs than this are NaN."""

LITERALS = ("lag", "window", "span", "level", "exponent")
"""Parameters that are written out as numbers; every other parameter is a series."""

INTEGERS = ("lag", "window", "span")


@dataclass(frozen=True)
class Operator(Signature):
    """One operator: its canonical name, its parameters, and what it means.

    What is not in `plan.FAMILIES` or `kernels.elements` is computed by the function `kernel` of `indicators`,
    `cross_section` or `calendar`, which are imported only when factors are computed. `least` is the smallest lag,
    window or span that has a meaning. A `recursive` operator carries a state from the first candle of an unbroken
    stretch: it never forgets wholly, and its look-back says after how many candles what is older makes no difference
    in float32. `memory` + `memory_per_window` x window, where given, is that look-back.
    """

    kind: Kind
    meaning: str
    least: int = 1
    symbol: str = ""
    commutative: bool = False
    recursive: bool = False
    memory: int = 0
    memory_per_window: int = 0

    @property
    def kernel(self) -> str:
        """The name of the function that computes the operator."""
        return f"{self.name}_" if self.name in ("and", "or", "not") else self.name

    def candles_before(self, literals: dict[str, float]) -> int:
        """How many candles before the current one the operator itself reads, given its literal arguments."""
        lag, window, span = (int(literals.get(name, 0)) for name in INTEGERS)
        if self.memory or self.memory_per_window:
            return self.memory + self.memory_per_window * window - 1
        return lag + max(window - 1, 0) + max(EMA_MEMORY * span - 1, 0)


def _table(kind: Kind, *rows: tuple) -> dict[str, Operator]:
    return {row[0]: Operator(row[0], row[1], kind, row[2], **(row[3] if len(row) > 3 else {})) for row in rows}


_BOTH = {"commutative": True}

ELEMENT_WISE = _table(
    "element-wise",
    ("add", "x y", "sum; exactly 0 when x and -y differ by rounding only", {"symbol": "+", **_BOTH}),
    ("sub", "x y", "difference; exactly 0 when x and y differ by rounding only", {"symbol": "-"}),
    ("mul", "x y", "product", {"symbol": "*", **_BOTH}),
    ("div", "x y", "quotient; NaN where y is 0", {"symbol": "/"}),
    ("neg", "x", "minus x", {"symbol": "-"}),
    ("abs", "x", "absolute value"),
    ("sign", "x", "-1, 0 or 1"),
    ("log", "x", "natural logarithm; NaN where x <= 0"),
    ("slog1p", "x", "sign(x) * log(1 + |x|)"),
    ("exp", "x", "e to the x"),
    ("sqrt", "x", "square root; NaN where x < 0"),
    ("sin", "x", "sine of x radians"),
    ("cos", "x", "cosine of x radians"),
    ("tanh", "x", "hyperbolic tangent"),
    ("sigmoid", "x", "1 / (1 + exp(-x))"),
    (
        "pow",
        "x exponent",
        "x to a literal exponent of at most 4 in size; NaN where that is not a real number",
    ),
    ("signedpower", "x exponent", "sign(x) * |x| to a literal exponent"),
    ("maximum", "x y", "the larger of two values", _BOTH),
    ("minimum", "x y", "the smaller of two values", _BOTH),
    ("clip", "x low high", "x held between low and high"),
    ("where", "condition x y", "x where the condition is not 0, else y; NaN where the condition is NaN"),
    ("gt", "x y", "1 where x > y, else 0", {"symbol": ">"}),
    ("ge", "x y", "1 where x >= y, else 0", {"symbol": ">="}),
    ("lt", "x y", "1 where x < y, else 0", {"symbol": "<"}),
    ("le", "x y", "1 where x <= y, else 0", {"symbol": "<="}),
    ("eq", "x y", "1 where x = y, else 0", {"symbol": "==", **_BOTH}),
    ("ne", "x y", "1 where x differs from y, else 0", {"symbol": "!=", **_BOTH}),
    ("and", "x y", "1 where neither is 0, else 0", {"symbol": "&", **_BOTH}),
    ("or", "x y", "1 where one is not 0, else 0", {"symbol": "|", **_BOTH}),
    ("not", "x", "1 where x is 0, else 0", {"symbol": "!"}),
)

TIME_SERIES = _table(
    "time-series",
    ("delay", "x lag", "x, that many candles ago", {"least": 0}),
    ("delta", "x lag", "x - delay(x, lag)"),
    ("pct_change", "x lag", "x / delay(x, lag) - 1"),
    ("log_ret", "x lag", "log(x / delay(x, lag))"),
    ("ts_mean", "x window", "mean"),
    ("ts_sum", "x window", "sum"),
    ("ts_product", "x window", "product"),
    ("ts_std", "x window", "standard deviation (n - 1); exactly 0 in a flat window", {"least": 2}),
    ("ts_var", "x window", "variance (n - 1); exactly 0 in a flat window", {"least": 2}),
    ("ts_skew", "x window", "skewness, bias-corrected; NaN in a flat window", {"least": 3}),
    ("ts_kurt", "x window", "excess kurtosis, bias-corrected; NaN in a flat window", {"least": 4}),
    ("ts_min", "x window", "smallest value"),
    ("ts_max", "x window", "largest value"),
    (
        "ts_argmin",
        "x window",
        "place of the smallest value: 1 = oldest candle, window = newest; the oldest of equals",
    ),
    (
        "ts_argmax",
        "x window",
        "place of the largest value: 1 = oldest candle, window = newest; the oldest of equals",
    ),
    ("ts_median", "x window", "median"),
    ("ts_mad", "x window", "mean absolute deviation from the mean"),
    ("ts_quantile", "x window level", "quantile at level 0..1, interpolated linearly"),
    (
        "ts_rank",
        "x window",
        "rank of the newest value among the window, 1/window..1, equals share their mean rank",
    ),
    ("ts_zscore", "x window", "(x - ts_mean) / ts_std; NaN in a flat window", {"least": 2}),
    ("ts_count", "x window", "number of candles at which x is not 0"),
    ("ts_known", "x window", "number of candles at which x is not NaN"),
    ("ts_corr", "x y window", "Pearson correlation; NaN if x or y is flat", {"least": 2, **_BOTH}),
    ("ts_cov", "x y window", "covariance (n - 1)", {"least": 2, **_BOTH}),
    ("ts_beta", "y x window", "slope of the least-squares line of y on x; NaN if x is flat", {"least": 2}),
    ("ts_resid", "y x window", "newest residual of the least-squares line of y on x", {"least": 2}),
    (
        "ema",
        "x span",
        "exponential mean, weight 2 / (span + 1), from the first candle on (pandas adjust=True)",
        {"recursive": True},
    ),
    ("decay_linear", "x window", "mean with weights 1, 2, … window, newest heaviest"),
    ("slope", "x window", "slope of the least-squares line of x on time, per candle", {"least": 2}),
    ("rsquare", "x window", "R² of the least-squares line of x on time; NaN in a flat window", {"least": 2}),
    ("resi", "x window", "newest residual of the least-squares line of x on time", {"least": 2}),
    (
        "kama",
        "x window",
        "Kaufman's adaptive mean (TA-Lib)",
        {"least": 2, "recursive": True, "memory": 1500, "memory_per_window": 1},
    ),
    (
        "adx",
        "high low close window",
        "average directional index, 0..100 (TA-Lib)",
        {"least": 2, "recursive": True, "memory_per_window": 32},
    ),
    (
        "psar",
        "high low",
        "parabolic stop and reverse, acceleration 0.02 up to 0.2 (TA-Lib)",
        {"recursive": True, "memory": 500},
    ),
    (
        "mfi",
        "high low close volume window",
        "money flow index, 0..100; NaN if no money flowed",
        {"memory": 1, "memory_per_window": 1},
    ),
)

CROSS_SECTION = _table(
    "cross-section",
    ("cs_rank", "x", "rank among the pairs, 1/pairs..1, equals share their mean rank"),
    ("cs_zscore", "x", "(x - cs_mean) / cs_std; NaN where all pairs are equal"),
    ("cs_demean", "x", "x - cs_mean"),
    ("cs_scale", "x", "x over the sum of |x| of all pairs"),
    ("cs_mean", "x", "mean over the pairs"),
    ("cs_std", "x", "standard deviation (n - 1) over the pairs"),
    ("cs_median", "x", "median over the pairs"),
    ("cs_min", "x", "smallest value of any pair"),
    ("cs_max", "x", "largest value of any pair"),
    (
        "cs_resid",
        "y x",
        "residual of the least-squares line of y on x over the pairs; NaN where x is equal in all",
    ),
)

CALENDAR = _table(
    "calendar",
    ("hour", "", "hour of the candle's open time, UTC, 0..23"),
    ("weekday", "", "day of the week of the candle's open time, UTC, 0 = Monday..6"),
)

OPERATORS: dict[str, Operator] = {**ELEMENT_WISE, **TIME_SERIES, **CROSS_SECTION, **CALENDAR}


def resolve(name: str, arity: int) -> Operator | Macro | None:
    """The operator or macro of that name or alias (any case) with that many arguments, or None."""
    name = name.lower()
    operator = OPERATORS.get(name)
    if operator is not None and operator.arity == arity:
        return operator
    canonical = ALIASES.get((name, arity))
    return OPERATORS[canonical] if canonical else MACROS.get((name, arity))


def signatures(name: str) -> list[str]:
    """How the operators and macros that answer to this name or alias are called, such as `ts_mean(x, window)`."""
    name = name.lower()
    found = [OPERATORS[name]] if name in OPERATORS else []
    found += [OPERATORS[target] for (alias, _), target in ALIASES.items() if alias == name]
    found += [OPERATORS[target] for target in (*WINDOW_OR_VALUE.get(name, ()), *CONDITION_OR_VALUE.get(name, ()))]
    found += [macro for (other, arity), macro in MACROS.items() if other == name and arity]
    return [o.call for o in dict.fromkeys(found)]


def function_names() -> list[str]:
    """Every name that can stand before a parenthesis, for suggestions."""
    names = {name for name, operator in OPERATORS.items() if operator.arity}
    names |= {alias for alias, _ in ALIASES} | {name for name, arity in MACROS if arity}
    return sorted(names | set(WINDOW_OR_VALUE) | set(CONDITION_OR_VALUE))


def series_names() -> list[str]:
    """Every name that stands for a series of numbers without arguments."""
    return sorted({*FIELDS, *DERIVED_FIELDS, *CALENDAR, *macros.names()})
