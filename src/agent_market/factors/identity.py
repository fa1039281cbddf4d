"""Which factors are the same: keys that are equal for expressions that say the same in other words.

The *normal form* of an expression goes further than its canonical text: sums and products are collected and
cancelled, derived operators are written out, constants are pulled out of windows, delays are pushed inwards. Its
values equal those of the expression where both are defined, up to rounding: `x / x` is 1 there also where x is
0, `sign(x)` of a quantity that is never negative is 1, and a guard such as `/ (y + 1e-8)` is taken for `/ y`. So it
serves to tell factors apart and is never computed.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from agent_market.factors.expression import parse
from agent_market.factors.operators import GUARD, OPERATORS
from agent_market.factors.signs import is_nonnegative, is_positive
from agent_market.factors.sums import (
    Product,
    Sum,
    alone,
    leading_product,
    ordered,
    plus,
    primitive_part,
    scaled,
    term_tree,
    to_tree,
)
from agent_market.factors.tree import Call, Field, Node, Number, flatten, to_text


def key(expression: str | Node) -> str:
    """32 hex digits, equal for expressions whose values are equal wherever both are defined."""
    return _digest(to_text(normal_form(_tree(expression))))


def rank_key(expression: str | Node) -> str:
    """32 hex digits, equal also for strictly monotone transforms and the sign: factors of the same |rank correlation|.

    Only what stands at the root is undone: tanh, exp, log, roots and odd powers, adding and multiplying by numbers.
    """
    return _digest(to_text(_without_monotone(normal_form(_tree(expression)))))


def shape_key(expression: str | Node) -> str:
    """32 hex digits, equal also for other constants and windows: variants of one idea."""
    return _digest(_shape(normal_form(_tree(expression))))


def normal_form(tree: Node) -> Node:
    """The tree in normal form; a Number if the factor is constant wherever it is defined."""
    return to_tree(_sum(tree))


def _tree(expression: str | Node) -> Node:
    return parse(expression) if isinstance(expression, str) else expression


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


# ---- sums of products


@lru_cache(maxsize=8192)
def _sum(node: Node) -> Sum:
    """The normal form of a tree as a sum of products; it is shared, and never changed by those who get it."""
    if isinstance(node, Number):
        return {(): node.value} if node.value else {}
    if isinstance(node, Field):
        return alone(node)
    if node.operator in ("add", "sub"):
        left, right = map(_sum, node.arguments)
        return plus(left, right, -1.0 if node.operator == "sub" else 1.0)
    if node.operator == "neg":
        return scaled(_sum(node.arguments[0]), -1.0)
    if node.operator in ("mul", "div", "pow", "sqrt"):
        try:
            return _product(_factors(node, 1))
        except (OverflowError, ZeroDivisionError):  # of numbers beyond all use
            return alone(node)
    return _rewritten(node)


def _factors(node: Node, exponent: int) -> list[tuple[Sum, int]]:
    """The factors of a product, quotient or whole power, each in normal form with its exponent."""
    if isinstance(node, Call):
        if node.operator == "mul":
            return [factor for argument in node.arguments for factor in _factors(argument, exponent)]
        if node.operator == "div":
            return _factors(node.arguments[0], exponent) + _factors(_unguarded(node.arguments[1]), -exponent)
        if node.operator == "neg":
            return [({(): -1.0}, exponent), *_factors(node.arguments[0], exponent)]
        if node.operator in ("pow", "sqrt"):
            power = 0.5 if node.operator == "sqrt" else node.arguments[1].value
            base = node.arguments[0]
            if float(power).is_integer():
                return _factors(base, exponent * int(power))
            return [(alone(Call("pow", (normal_form(base), Number(power)))), exponent)]
    return [(_sum(node), exponent)]


def _unguarded(denominator: Node) -> Node:
    """A denominator without the small constant that guards against 0."""
    if isinstance(denominator, Call) and denominator.operator == "add":
        series, last = denominator.arguments
        if isinstance(last, Number) and 0 < last.value <= GUARD:
            return series
    return denominator


def _product(factors: list[tuple[Sum, int]]) -> Sum:
    """The product of sums; one sum among single terms is multiplied out, several stay factors."""
    coefficient, powers, sums = 1.0, {}, []
    for total, exponent in factors:
        if not exponent:
            continue
        if not total:  # 0, or a quotient by 0, which is defined nowhere
            return {}
        if len(total) > 1:
            lead, primitive = primitive_part(total)
            coefficient *= lead**exponent
            sums.append((primitive, exponent))
            continue
        ((product, number),) = total.items()
        coefficient *= number**exponent
        for factor, power in product:
            powers[factor] = powers.get(factor, 0) + power * exponent
    for x in _signs_joined(powers):
        total = _sum(x)
        if len(total) > 1:
            sums.append((total, 1))
        else:
            for factor, power in next(iter(total), ()):
                powers[factor] = powers.get(factor, 0) + power
    multiplied_out: Sum = {(): 1.0}
    if len(sums) == 1 and sums[0][1] == 1:
        multiplied_out = sums[0][0]
    else:
        for total, exponent in sums:
            factor = to_tree(total)
            powers[factor] = powers.get(factor, 0) + exponent
    result: Sum = {}
    for product, number in multiplied_out.items():
        merged = dict(powers)
        for factor, power in product:
            merged[factor] = merged.get(factor, 0) + power
        result = plus(result, {ordered(merged): number * coefficient})
    return result


def _signs_joined(powers: dict[Node, int]) -> list[Node]:
    """Take each sign(x) times |x| out of the factors, and give the x that they are."""
    joined = []
    for factor in [f for f in powers if isinstance(f, Call) and f.operator == "sign"]:
        size = Call("abs", factor.arguments)
        while powers[factor] > 0 and powers.get(size, 0) > 0:
            powers[factor] -= 1
            powers[size] -= 1
            joined.append(factor.arguments[0])
    return joined


# ---- rules of single operators

_ODD = frozenset({"tanh", "sin", "slog1p", "signedpower"})  # f(-x) = -f(x)
_EVEN = frozenset({"cos"})  # f(-x) = f(x)
_LINEAR = frozenset({"ts_mean", "ts_median", "ema", "decay_linear", "cs_mean", "cs_median"})  # f(c x + d) = c f(x) + d
_FLAT = frozenset({"slope", "resi", "cs_demean"})  # f(c x + d) = c f(x)
_SPREAD = frozenset({"ts_std", "ts_mad", "cs_std"})  # f(c x + d) = |c| f(x)
_SCORE = frozenset({"ts_skew", "cs_zscore"})  # f(c x + d) = sign(c) f(x)
_PLACE = frozenset({"ts_rank", "cs_rank", "ts_argmax", "ts_argmin"})  # f(c x + d) = f(sign(c) x)
_FREE = frozenset({"ts_kurt", "rsquare"})  # f(c x + d) = f(x)
_EXTREME = {"ts_max": "ts_min", "ts_min": "ts_max", "cs_max": "cs_min", "cs_min": "cs_max"}  # max(-x) = -min(x)
_RULES = (_ODD, _EVEN, _LINEAR, _FLAT, _SPREAD, _SCORE, _PLACE, _FREE, frozenset(_EXTREME))

_SAME_AT_ONE = frozenset({"ts_mean", "ts_min", "ts_max", "ts_median", "ts_product", "decay_linear", "ema"})
_IDEMPOTENT = frozenset({"cs_rank", "cs_zscore", "cs_demean"})
_MIRRORED = {"gt": "lt", "ge": "le"}
_OPPOSITE = {"lt": "le", "le": "lt"}
_SYMMETRIC = frozenset({"maximum", "minimum", "and", "or", "eq", "ne"})


def _call(name: str, *arguments: Node) -> Node:
    return Call(name, arguments)


def _lagged(x: Node, lag: Node) -> Node:
    return _call("delay", x, lag)


_DERIVED: dict[str, Callable[..., Node]] = {
    "delta": lambda x, n: _call("sub", x, _lagged(x, n)),
    "pct_change": lambda x, n: _call("sub", _call("div", x, _lagged(x, n)), Number(1.0)),
    "log_ret": lambda x, n: _call("log", _call("div", x, _lagged(x, n))),
    "ts_sum": lambda x, n: _call("mul", n, _call("ts_mean", x, n)),
    "ts_var": lambda x, n: _call("pow", _call("ts_std", x, n), Number(2.0)),
    "ts_zscore": lambda x, n: _call("div", _call("sub", x, _call("ts_mean", x, n)), _call("ts_std", x, n)),
}
_LONG = 200
"""Characters of an argument from which on operators are not written out, which would repeat it."""


def _rewritten(node: Call) -> Sum:
    """One call in normal form: written out, if it derives from others, and with what can be pulled out outside."""
    name = node.operator
    if name == "delay":
        return _delayed(*node.arguments)
    arguments = tuple(a if isinstance(a, Number) else normal_form(a) for a in node.arguments)
    if name in _DERIVED and len(to_text(arguments[0])) < _LONG:
        return _sum(_DERIVED[name](*arguments))
    x, last = (arguments[0], arguments[-1]) if arguments else (None, None)
    if name in _SAME_AT_ONE and last == Number(1.0):
        return _sum(x)
    if name in _IDEMPOTENT and isinstance(x, Call) and x.operator == name:
        return alone(x)
    if name in ("maximum", "minimum", "where") and arguments[-2] == last:
        return _sum(last)
    if name in _MIRRORED:
        name, arguments = _MIRRORED[name], arguments[::-1]
    if name == "not" and isinstance(x, Call) and x.operator in _OPPOSITE:
        name, arguments = _OPPOSITE[x.operator], x.arguments[::-1]
    if name in _SYMMETRIC:
        arguments = tuple(sorted(arguments, key=to_text))
    if name in ("abs", "sign"):
        return _size(_sum(x)) if name == "abs" else _sign(_sum(x))
    if name == "log":
        return _logarithm(_sum(x))
    if name in ("ts_corr", "ts_cov", "ts_beta", "ts_resid"):
        return _of_two(name, *arguments)
    rule = next((rule for rule in _RULES if name in rule), None)
    return alone(_call(name, *arguments)) if rule is None else _pulled_out(name, rule, _sum(x), arguments[1:])


def _delayed(x: Node, lag: Number) -> Sum:
    """A delay, pushed inwards to the fields, or to what is not of one pair's own past."""
    if lag.value == 0 or isinstance(x, Number):
        return _sum(x)
    if isinstance(x, Call) and x.operator == "delay":
        return _delayed(x.arguments[0], Number(lag.value + x.arguments[1].value))
    if isinstance(x, Call) and OPERATORS[x.operator].kind in ("element-wise", "time-series"):
        inside = (a if isinstance(a, Number) else _lagged(a, lag) for a in x.arguments)
        return _sum(_call(x.operator, *inside))
    return alone(_lagged(x if isinstance(x, Field) else normal_form(x), lag))


def _pulled_out(name: str, rule: frozenset[str], total: Sum, rest: tuple[Node, ...]) -> Sum:
    """A call of one series, with the factor and the constant of the series outside."""
    if rule in (_ODD, _EVEN):
        sign = -1.0 if total and total[leading_product(total)] < 0 else 1.0
        return scaled(alone(_call(name, to_tree(scaled(total, sign)), *rest)), sign if rule is _ODD else 1.0)
    constant = {(): total[()]} if () in total else {}
    series = {product: number for product, number in total.items() if product}
    if not series:  # of a constant: itself, or 0, or undefined
        return constant if rule is _LINEAR or name in _EXTREME else {}
    lead, series = primitive_part(series)
    sign = -1.0 if lead < 0 else 1.0
    if rule is _PLACE:
        return alone(_call(name, to_tree(scaled(series, sign)), *rest))
    if name in _EXTREME and lead < 0:
        name = _EXTREME[name]
    call = alone(_call(name, to_tree(series), *rest))
    if rule is _LINEAR or name in _EXTREME:
        return plus(scaled(call, lead), constant)
    return scaled(call, {_FLAT: lead, _SPREAD: abs(lead), _SCORE: sign, _FREE: 1.0}[rule])


def _of_two(name: str, left: Node, right: Node, window: Node) -> Sum:
    """Correlation, covariance or regression, with the factors of both series outside and their constants dropped."""
    moving = [{product: number for product, number in _sum(x).items() if product} for x in (left, right)]
    if not all(moving):
        return {}
    (c, x), (d, y) = map(primitive_part, moving)
    series = [to_tree(x), to_tree(y)]
    if series[0] == series[1] and name == "ts_corr":
        return {(): 1.0 if c * d > 0 else -1.0}
    if name in ("ts_corr", "ts_cov"):
        series.sort(key=to_text)
    outside = {"ts_corr": 1.0 if c * d > 0 else -1.0, "ts_cov": c * d, "ts_beta": c / d, "ts_resid": c}
    return scaled(alone(_call(name, *series, window)), outside[name])


def _size(total: Sum) -> Sum:
    """The absolute value of a sum: of one product, the product of the absolute values."""
    if len(total) != 1:
        if all(number > 0 and is_nonnegative(term_tree(product, 1.0)) for product, number in total.items()):
            return total
        lead, primitive = primitive_part(total)
        return scaled(alone(_call("abs", to_tree(primitive))), abs(lead))
    ((product, number),) = total.items()
    sizes: dict[Node, int] = {}
    for factor, power in product:
        size = factor if power % 2 == 0 or is_nonnegative(factor) else _call("abs", factor)
        sizes[size] = sizes.get(size, 0) + power
    return {ordered(sizes): abs(number)}


def _sign(total: Sum) -> Sum:
    """The sign of a sum: of one product, the product of the signs; 1 for what is an absolute value."""
    if not total:
        return {}
    lead, primitive = primitive_part(total)
    sign = -1.0 if lead < 0 else 1.0
    if len(total) == 1:
        ((product, _),) = total.items()
        left = [factor for factor, power in product if power % 2 and not is_positive(factor) and not _is_size(factor)]
        if any(power % 2 == 0 for _, power in product) and not left:
            return {(): sign}
        signs = {f if isinstance(f, Call) and f.operator == "sign" else _call("sign", f): 1 for f in left}
        return {ordered(signs): sign}
    if all(number > 0 and is_positive(term_tree(product, 1.0)) for product, number in primitive.items()):
        return {(): sign}
    return {((_call("sign", to_tree(primitive)), 1),): sign}


def _is_size(node: Node) -> bool:
    return isinstance(node, Call) and (node.operator in _SPREAD or node.operator == "abs")


def _logarithm(total: Sum) -> Sum:
    """The logarithm of a sum: of one product of positive factors, the sum of the logarithms."""
    if len(total) == 1:
        ((product, number),) = total.items()
        if number > 0 and all(is_positive(factor) for factor, _ in product):
            logs: Sum = {(): math.log(number)} if number != 1 else {}
            for factor, power in product:
                is_exp = isinstance(factor, Call) and factor.operator == "exp"
                log = _sum(factor.arguments[0]) if is_exp else alone(_call("log", factor))
                logs = plus(logs, scaled(log, float(power)))
            return logs
    return alone(_call("log", to_tree(total)))


# ---- what a rank does not see

_MONOTONE = frozenset({"tanh", "sigmoid", "slog1p", "exp", "log", "signedpower", "pow"})


def _without_monotone(node: Node) -> Node:
    """The tree without strictly monotone transforms, numbers and the sign at its root."""
    total = {product: number for product, number in _sum(node).items() if product}
    if not total:
        return Number(0.0)
    if len(total) > 1:
        _, primitive = primitive_part(total)
        product = _product_of_logarithms(primitive)
        if product is None:
            return to_tree(primitive)
    else:
        ((product, _),) = total.items()
    if len(product) > 1:
        turned = -1 if product[0][1] < 0 and all(is_positive(factor) for factor, _ in product) else 1
        return term_tree(tuple((factor, power * turned) for factor, power in product), 1.0)
    ((factor, power),) = product
    if (power < 0 and not is_positive(factor)) or (power % 2 == 0 and not is_nonnegative(factor)):
        return term_tree(product, 1.0)
    if isinstance(factor, Call) and factor.operator in _MONOTONE:
        exponent = factor.arguments[1].value if len(factor.arguments) > 1 else 1.0
        if exponent > 0:
            return _without_monotone(factor.arguments[0])
    return factor if isinstance(factor, Field) or power == 1 else _without_monotone(factor)


def _product_of_logarithms(total: Sum) -> Product | None:
    """The product whose logarithm a sum is, if it is one with whole exponents."""
    powers: dict[Node, int] = {}
    for product, number in total.items():
        ((factor, power),) = product if len(product) == 1 else ((None, 0),)
        is_log = isinstance(factor, Call) and factor.operator == "log" and power == 1
        if not is_log or not is_positive(factor.arguments[0]) or not number.is_integer():
            return None
        powers[factor.arguments[0]] = int(number)
    return ordered(powers)


# ---- shape


def _shape(node: Node) -> str:
    """The text of a tree in normal form without its numbers."""
    if isinstance(node, Number):
        return "#"
    if isinstance(node, Field):
        return node.name
    if node.operator in ("add", "mul"):
        parts = [_shape(part) for part in flatten(node.operator, node) if not isinstance(part, Number)]
        return f"{node.operator}({', '.join(sorted(parts))})" if len(parts) > 1 else "".join(parts)
    return f"{node.operator}({', '.join(map(_shape, node.arguments))})"
