"""Which parts of an expression are never negative, or always above 0, given that prices are."""

from agent_market.factors.operators import FIELDS
from agent_market.factors.tree import Call, Field, Node, Number

PRICES = frozenset({*FIELDS, "vwap"} - {"volume"})

_KEEP = frozenset(
    {
        *("delay", "ts_mean", "ts_sum", "ts_product", "ts_min", "ts_max", "ts_median", "ts_quantile", "ema"),
        *("decay_linear", "kama", "psar", "cs_mean", "cs_median", "cs_min", "cs_max"),
    }
)
"""Operators whose value has the sign of their series."""

_ABOVE_ZERO = frozenset({"exp", "sigmoid", "ts_rank", "cs_rank", "ts_argmin", "ts_argmax"})
_NOT_BELOW_ZERO = frozenset(
    {
        *("abs", "ts_std", "ts_var", "ts_mad", "ts_count", "ts_known", "cs_std", "rsquare", "adx", "mfi"),
        *("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not", "hour", "weekday"),
    }
)


def is_positive(node: Node) -> bool:
    """Whether the value is above 0 wherever it is defined."""
    return _has_sign(node, is_positive, _ABOVE_ZERO, PRICES, smallest=True)


def is_nonnegative(node: Node) -> bool:
    """Whether the value is never below 0."""
    is_even_power = isinstance(node, Call) and node.operator == "pow" and node.arguments[1].value % 2 == 0
    known = _ABOVE_ZERO | _NOT_BELOW_ZERO
    return is_even_power or _has_sign(node, is_nonnegative, known, PRICES | {"volume"}, smallest=False)


def _has_sign(node: Node, holds, operators: frozenset[str], fields: frozenset[str], *, smallest: bool) -> bool:
    if isinstance(node, Number):
        return node.value > 0 if smallest else node.value >= 0
    if isinstance(node, Field):
        return node.name in fields
    if node.operator in operators:
        return True
    if node.operator in _KEEP or node.operator in ("pow", "sqrt", "signedpower"):
        return holds(node.arguments[0])
    if node.operator in ("add", "mul", "div", "minimum"):
        return all(map(holds, node.arguments))
    if node.operator == "maximum":
        return any(map(holds, node.arguments))
    return node.operator == "where" and all(map(holds, node.arguments[1:]))
