"""Sums of products, the form in which factors are compared: `2 close / open - 1` is {close^1 open^-1: 2, 1: -1}."""

from functools import reduce

from agent_market.factors.tree import Call, Node, Number, to_text

Product = tuple[tuple[Node, int], ...]  # (factor, whole exponent), sorted by text; () is the number 1
Sum = dict[Product, float]  # coefficient of each product


def alone(factor: Node) -> Sum:
    """The sum that is one factor."""
    return {((factor, 1),): 1.0}


def plus(left: Sum, right: Sum, sign: float = 1.0) -> Sum:
    """The sum of two sums, the second times `sign`; what cancels but for rounding is gone."""
    total = dict(left)
    for product, coefficient in right.items():
        value = total.get(product, 0.0) + sign * coefficient
        if abs(value) <= 1e-12 * max(abs(total.get(product, 0.0)), abs(coefficient)):
            total.pop(product, None)
        else:
            total[product] = value
    return total


def scaled(total: Sum, factor: float) -> Sum:
    """A sum times a number."""
    return {product: coefficient * factor for product, coefficient in total.items()} if factor else {}


def ordered(powers: dict[Node, int]) -> Product:
    """A product from the exponents of its factors."""
    return tuple(sorted(((f, p) for f, p in powers.items() if p), key=lambda item: (to_text(item[0]), item[1])))


def primitive_part(total: Sum) -> tuple[float, Sum]:
    """A sum as its leading coefficient times a sum whose leading coefficient is 1."""
    lead = total[leading_product(total)]
    return lead, scaled(total, 1.0 / lead)


def leading_product(total: Sum) -> Product:
    """The product that stands first, the number 1 only if there is no other."""
    return min((product for product in total if product), key=_product_text, default=())


def _product_text(product: Product) -> str:
    return " ".join(f"{to_text(factor)}^{power}" for factor, power in product)


def to_tree(total: Sum) -> Node:
    """The tree of a sum: terms in the order of their text, the number last."""
    terms = [term_tree(product, total[product]) for product in sorted(total, key=lambda p: (not p, _product_text(p)))]
    return reduce(lambda x, y: Call("add", (x, y)), terms) if terms else Number(0.0)


def term_tree(product: Product, coefficient: float) -> Node:
    """The tree of a product times a number of twelve digits."""
    number = Number(float(f"{coefficient:.12g}"))
    above = [_power(factor, power) for factor, power in product if power > 0]
    below = [_power(factor, -power) for factor, power in product if power < 0]
    if number.value != 1 or not above:
        above = [number, *above]
    top = reduce(lambda x, y: Call("mul", (x, y)), above)
    return Call("div", (top, reduce(lambda x, y: Call("mul", (x, y)), below))) if below else top


def _power(factor: Node, power: int) -> Node:
    return factor if power == 1 else Call("pow", (factor, Number(float(power))))
