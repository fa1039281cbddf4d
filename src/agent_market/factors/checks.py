"""What can be said about a factor before it is computed: whether it is constant, and in which unit it is."""

from dataclasses import dataclass

from agent_market.factors.expression import Names, Reading, read
from agent_market.factors.identity import key, normal_form
from agent_market.factors.operators import GUARD
from agent_market.factors.options import LIMITS, ExpressionOptions
from agent_market.factors.signs import PRICES
from agent_market.factors.tokens import fail, pointing
from agent_market.factors.tree import Call, Field, Node, Number, candles_needed, is_recursive, to_text, walk

Unit = tuple[float, float]  # exponents of price and volume

PURE: Unit = (0.0, 0.0)


@dataclass(frozen=True)
class Checked:
    """A factor that can be computed, and what to know about it.

    `look_back` counts candles, the current one included. A factor of unit "" compares among pairs whatever their
    prices. `warnings` point at what depends on the unit of price or volume; `notes` say how the text was read.
    """

    canonical: str
    key: str
    look_back: int
    unit: str
    is_recursive: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def check(
    text: str,
    *,
    strict: bool = False,
    limits: ExpressionOptions = LIMITS,
    library: Names | None = None,
    columns: Names | None = None,
) -> Checked:
    """What is to be known about an expression; a FactorError if it cannot be read or says the same on all candles.

    `strict` makes an error of what depends on the unit of price or volume, too: a factor in units of price cannot be
    compared between a coin at 60,000 and one at 0.1.
    """
    reading = read(text, limits=limits, library=library, columns=columns)
    tree = reading.tree
    constant = normal_form(tree)
    if isinstance(constant, Number):
        fail(text, f"the result is constant ({constant.value:g}) wherever it is defined", 0)
    units = _Units(reading)
    unit = units.of(tree)
    if unit not in (None, PURE):
        units.find(tree, f"the result is in units of {unit_text(unit)}: it does not compare among pairs")
    if strict and units.findings:
        message, position = units.findings[0]
        fail(text, message, position)
    return Checked(
        canonical=to_text(tree),
        key=key(tree),
        look_back=candles_needed(tree),
        unit=unit_text(unit or PURE),
        is_recursive=is_recursive(tree),
        warnings=tuple(pointing(text, message, position) for message, position in units.findings),
        notes=reading.notes,
    )


def unit_text(unit: Unit) -> str:
    """A unit as text, such as `price^2 volume`; "" for a pure number."""
    exponents = zip(("price", "volume"), unit, strict=True)
    return " ".join(name if power == 1 else f"{name}^{power:g}" for name, power in exponents if power)


def unit_of(tree: Node) -> Unit | None:
    """Exponents of price and volume of a tree's value; None for a number."""
    return _Units(Reading("", tree, (), {})).of(tree)


# ---- units

SAME = frozenset(
    {
        *("neg", "abs", "delay", "delta", "ts_mean", "ts_sum", "ts_std", "ts_min", "ts_max", "ts_median", "ts_mad"),
        *("ts_quantile", "ts_resid", "ema", "decay_linear", "slope", "resi", "kama", "psar"),
        *("cs_demean", "cs_mean", "cs_std", "cs_median", "cs_min", "cs_max", "cs_resid"),
    }
)
"""Operators whose value has the unit of their first series."""

PURE_RESULT = frozenset(
    {
        *("sign", "log", "pct_change", "log_ret", "ts_skew", "ts_kurt", "ts_argmin", "ts_argmax", "ts_rank"),
        *("ts_zscore", "ts_count", "ts_known", "ts_corr", "rsquare", "cs_rank", "cs_zscore", "cs_scale", "adx", "mfi"),
        *("and", "or", "not", "hour", "weekday"),
    }
)
"""Operators whose value is a pure number whatever the unit of their series; of a logarithm, up to a constant."""

PURE_ARGUMENT = frozenset({"exp", "slog1p", "sin", "cos", "tanh", "sigmoid"})
"""Operators that have a meaning for pure numbers only."""

ALIKE = {
    **dict.fromkeys(("add", "sub", "maximum", "minimum", "clip"), 0),
    "where": 1,
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), 0),
}
"""Operators whose series must have one unit, from the argument with this number on."""

COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
COMPOSED = frozenset({"mul", "div", "pow", "signedpower", "sqrt", "ts_var", "ts_cov", "ts_beta", "ts_product"})
"""Operators whose unit is a product or power of those of their series."""


class _Units:
    """Finds the unit of each part of an expression, and where units do not fit."""

    def __init__(self, reading: Reading) -> None:
        self.places = reading.places
        self.findings: list[tuple[str, int]] = []

    def find(self, node: Node, message: str) -> None:
        position = next((self.places[part] for part in walk(node) if part in self.places), 0)
        if (message, position) not in self.findings:
            self.findings.append((message, position))

    def of(self, node: Node) -> Unit | None:
        """The unit of a part; None for a number, which goes with every unit if it is 0 or a factor."""
        if isinstance(node, Number):
            return None
        if isinstance(node, Field):
            return (1.0, 0.0) if node.name in PRICES else (0.0, 1.0)
        units = [self.of(argument) for argument in node.arguments]
        if node.operator in SAME:
            return units[0]
        if node.operator in ALIKE:
            common = self._alike(node, units)
            return PURE if node.operator in COMPARISONS else common
        if node.operator in PURE_ARGUMENT and units[0] not in (None, PURE):
            self.find(node, f"{node.operator} of a value in units of {unit_text(units[0])} depends on that unit")
        return self._composed(node, units) if node.operator in COMPOSED else PURE

    def _alike(self, node: Call, units: list[Unit | None]) -> Unit | None:
        """The common unit of the series of a sum or comparison."""
        first = ALIKE[node.operator]
        known = list(dict.fromkeys(unit for unit in units[first:] if unit is not None))
        if len(known) > 1:
            names = " and ".join(unit_text(unit) or "a pure number" for unit in known)
            self.find(node, f"{node.operator} mixes {names}")
        numbers = [n.value for n in node.arguments[first:] if isinstance(n, Number) and abs(n.value) > GUARD]
        if known and numbers and known[0] != PURE:
            self.find(
                node, f"{node.operator} of {unit_text(known[0])} and the number {numbers[0]:g} depends on the unit"
            )
        return known[0] if known else None

    def _composed(self, node: Call, units: list[Unit | None]) -> Unit | None:
        if all(unit is None for unit in units):
            return None
        x, y = (units[i] if i < len(units) and units[i] is not None else PURE for i in (0, 1))
        if node.operator in ("mul", "ts_cov"):
            return (x[0] + y[0], x[1] + y[1])
        if node.operator in ("div", "ts_beta"):
            return (x[0] - y[0], x[1] - y[1])
        last = node.arguments[-1]
        power = {"sqrt": 0.5, "ts_var": 2.0}.get(node.operator) or (last.value if isinstance(last, Number) else 1.0)
        return (x[0] * power, x[1] * power)
