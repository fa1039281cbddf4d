"""Known factors as candidates: packaged sets and files."""

from agent_market.factors.factor_set import load_factors
from agent_market.mining.candidates import Candidate
from agent_market.mining.options import MiningOptions


def from_sets(options: MiningOptions) -> list[Candidate]:
    """The first `arms.zoo` factors of the sets, a factor of each set in turn, so that each has a share."""
    sets = {name: list(load_factors(name, on_rejected="warn").items()) for name in options.zoo}
    longest = max(len(factors) for factors in sets.values())
    in_turn = [
        (name, *factors[place]) for place in range(longest) for name, factors in sets.items() if place < len(factors)
    ]
    return [
        Candidate(f"zoo-{number:05d}", "zoo", text, name, f"a factor of the set {source}")
        for number, (source, name, text) in enumerate(in_turn[: options.arms.zoo])
    ]
