"""Writes factors in Qlib's language: the way out, for those who compute in Qlib what was found here.

Qlib's windows count what is there (`min_periods=1`) and its float32 steps round differently, so its first values
of each window, and last digits, are its own.
"""

from collections.abc import Callable

from agent_market.errors import FactorError
from agent_market.factors.expression import parse
from agent_market.factors.operators import OPERATORS
from agent_market.factors.tree import Field, Node, Number, number_text


def to_qlib(expression: str | Node) -> str:
    """The expression in Qlib's language; a FactorError if Qlib has no operator for a part of it."""
    return _text(parse(expression) if isinstance(expression, str) else expression)


_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}

_FUNCTIONS = {
    "abs": "Abs",
    "sign": "Sign",
    "log": "Log",
    "pow": "Power",
    "maximum": "Greater",
    "minimum": "Less",
    "gt": "Gt",
    "ge": "Ge",
    "lt": "Lt",
    "le": "Le",
    "eq": "Eq",
    "ne": "Ne",
    "and": "And",
    "or": "Or",
    "not": "Not",
    "where": "If",
    "delay": "Ref",
    "delta": "Delta",
    "ts_mean": "Mean",
    "ts_sum": "Sum",
    "ts_std": "Std",
    "ts_var": "Var",
    "ts_skew": "Skew",
    "ts_kurt": "Kurt",
    "ts_min": "Min",
    "ts_max": "Max",
    "ts_argmin": "IdxMin",
    "ts_argmax": "IdxMax",
    "ts_median": "Med",
    "ts_mad": "Mad",
    "ts_quantile": "Quantile",
    "ts_rank": "Rank",
    "ts_known": "Count",
    "ts_corr": "Corr",
    "ts_cov": "Cov",
    "ema": "EMA",
    "slope": "Slope",
    "rsquare": "Rsquare",
    "resi": "Resi",
}

_WRITTEN_OUT: dict[str, Callable[..., str]] = {
    "neg": lambda x: f"(-1*{x})",  # Qlib cannot put a sign before a field
    "sqrt": lambda x: f"Power({x},0.5)",
    "slog1p": lambda x: f"(Sign({x})*Log(Abs({x})+1))",
    "signedpower": lambda x, e: f"(Sign({x})*Power(Abs({x}),{e}))",
    "clip": lambda x, low, high: f"Less(Greater({x},{low}),{high})",
    "pct_change": lambda x, n: f"({x}/Ref({x},{n})-1)",
    "log_ret": lambda x, n: f"Log({x}/Ref({x},{n}))",
    "ts_zscore": lambda x, n: f"(({x}-Mean({x},{n}))/Std({x},{n}))",
    "ts_count": lambda x, n: f"Sum(If(Ne({x},0),1,0),{n})",
    "ts_beta": lambda y, x, n: f"(Cov({y},{x},{n})/Var({x},{n}))",
    "ts_resid": lambda y, x, n: f"({y}-Mean({y},{n})-Cov({y},{x},{n})/Var({x},{n})*({x}-Mean({x},{n})))",
    "decay_linear": lambda x, n: f"(WMA({x},{n})*{n})",  # Qlib's is divided by the window once more
}


def _text(node: Node) -> str:
    if isinstance(node, Number):
        return number_text(node.value)
    if isinstance(node, Field):
        return f"${node.name}"
    arguments = [_text(argument) for argument in node.arguments]
    name = node.operator
    if name in _INFIX:
        return f"({arguments[0]}{_INFIX[name]}{arguments[1]})"
    if name in _FUNCTIONS:
        return f"{_FUNCTIONS[name]}({','.join(arguments)})"
    if name in _WRITTEN_OUT:
        return _WRITTEN_OUT[name](*arguments)
    why = (
        "it works on one instrument at a time" if OPERATORS[name].kind == "cross-section" else "it has no such operator"
    )
    raise FactorError(f"Qlib cannot compute {OPERATORS[name].call}: {why}")
