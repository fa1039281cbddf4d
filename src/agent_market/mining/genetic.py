"""Genetic search over expressions whose units fit; it needs no key and no network.

Parents are chosen in tournaments by |t| on the search segment less what their size costs, children get parts of
another parent in the same unit, other windows, or fresh parts. Of those that gain at the same times only the best
stays strong, so that the population does not become one idea (Koza 1992; Montana 1995 for the types). What earlier
rounds found turns it to something new (`hearing`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from agent_market.errors import FactorError
from agent_market.factors.checks import check
from agent_market.factors.expression import parse
from agent_market.factors.identity import rank_key, shape_key
from agent_market.factors.tree import Call, ConstantError, Node, Number, size, to_text
from agent_market.mining.arena import Arena
from agent_market.mining.candidates import Arm, Candidate, candidate_of
from agent_market.mining.grammar import Grammar, is_pure, is_tidy, places, put
from agent_market.mining.hearing import Recalled
from agent_market.mining.options import MiningOptions
from agent_market.mining.statistics import block_interval, block_means

CROWDED = 0.9
"""Correlation of gains from which two factors live in one niche."""

ALONE = 0.8
"""Least share of dates at which a factor that is to have children says something."""

RECALLED = 0.5
"""Largest share of the first generation that stems from earlier rounds."""

PATIENCE = 40
"""Generations in a row without a new expression after which the search ends early."""


@dataclass
class _Lived:
    """A factor that was evaluated, and how fit it is."""

    tree: Node
    text: str
    fitness: float
    blocks: np.ndarray  # its gains by block, scaled to size 1
    is_known: bool = False  # says what an earlier round has said


@dataclass
class Search:
    """One genetic search: `run` gives its trials, in the order in which they were evaluated."""

    arena: Arena
    options: MiningOptions
    trials: int
    seed: Sequence[int]
    arm: Arm = "genetic"
    recalled: Recalled = field(default_factory=Recalled)
    known: dict[str, _Lived] = field(default_factory=dict)  # by rank key
    taken: np.ndarray | None = None  # (n, n_blocks): gains of the library by block, scaled to size 1

    def run(self) -> list[Candidate]:
        """The distinct factors that were tried, `trials` of them unless no more are found."""
        genetic = self.options.genetic
        rng = np.random.default_rng(self.seed)
        grammar = Grammar(genetic.windows, genetic.lags, self.arena.is_cross_section)
        self.taken = self._gains(self.recalled.taken)
        first = self._from_earlier_rounds(rng, grammar)
        generation = first + self._make(
            genetic.population - len(first), lambda: grammar.draw(rng, depth=int(rng.integers(2, 5)))
        )
        idle = 0
        while len(self.known) < self.trials and idle < PATIENCE:
            before = len(self.known)
            living = self._live(generation)
            idle = idle + 1 if len(self.known) == before else 0
            ranked = self._niches(living)
            elite = [one.tree for one, _ in ranked[: genetic.elite]]
            born = self._make(genetic.population - len(elite), partial(self._child, rng, grammar, ranked))
            generation = elite + born
        candidates = []
        for number, lived in enumerate(self.known.values()):
            candidate = candidate_of(lived.tree, lived.text, id=f"{self.arm}-{number:05d}", arm=self.arm)
            candidates.append(candidate)
        return candidates

    def _from_earlier_rounds(self, rng: np.random.Generator, grammar: Grammar) -> list[Node]:
        """Near misses as they are, and variations of what was accepted, which is itself known."""
        room = int(RECALLED * self.options.genetic.population)
        sound = (self._sound(lambda tree=tree: tree) for tree in self.recalled.near)
        first = [tree for tree in sound if tree is not None][:room]
        for tree in self.recalled.accepted[: room - len(first)]:
            first += self._make(1, partial(self._mutated, rng, grammar, tree))
        return first

    def _make(self, n: int, draw: Callable[[], Node]) -> list[Node]:
        made: list[Node] = []
        for _ in range(200 * n):
            if len(made) == n:
                break
            tree = self._sound(draw)
            if tree is not None:
                made.append(tree)
        return made

    def _sound(self, draw: Callable[[], Node]) -> Node | None:
        """A drawn expression if it is one that the gate would look at, in canonical form."""
        gate = self.options.gate
        try:
            tree = draw()
            if not is_pure(tree) or size(tree) > gate.max_parts or not is_tidy(tree):
                return None
            checked = check(to_text(tree), strict=True)
        except (FactorError, ConstantError):  # constant, or units that do not fit: draw again
            return None
        if checked.look_back > gate.max_look_back:
            return None
        return parse(checked.canonical)

    def _live(self, generation: list[Node]) -> list[_Lived]:
        """The generation with its fitness; what ranks like a factor seen before is not evaluated again."""
        keys = [rank_key(tree) for tree in generation]
        new: dict[str, Node] = {}
        for name, tree in zip(keys, generation, strict=True):
            if name not in self.known and len(self.known) + len(new) < self.trials:
                new.setdefault(name, tree)
        if new:
            self._evaluate(new)
        return [self.known[name] for name in dict.fromkeys(keys) if name in self.known]

    def _evaluate(self, new: dict[str, Node]) -> None:
        gains = self.arena.gains(list(new.values()))
        means = block_means(gains.by_date, self.options.block)
        for (name, tree), blocks in zip(new.items(), means, strict=True):
            t = block_interval(blocks).t if np.isfinite(blocks).mean() >= ALONE else 0.0
            t = abs(t) if np.isfinite(t) else 0.0
            fitness = t - self.options.genetic.parsimony * size(tree)
            scaled = _scaled(blocks)
            self.known[name] = _Lived(tree, to_text(tree), fitness, scaled, self._is_known(tree, scaled))

    def _gains(self, trees: Sequence[Node]) -> np.ndarray | None:
        if not trees:
            return None
        means = block_means(self.arena.gains(trees).by_date, self.options.block)
        return np.array([_scaled(blocks) for blocks in means])

    def _is_known(self, tree: Node, blocks: np.ndarray) -> bool:
        """Whether it gains at the times of a factor of the library, or has a shape that was refused as known."""
        if self.taken is not None and np.abs(self.taken @ blocks).max() >= self.options.gate.max_library:
            return True
        return bool(self.recalled.avoided) and shape_key(tree) in self.recalled.avoided

    def _niches(self, living: list[_Lived]) -> list[tuple[_Lived, float]]:
        """Who may have children, best first, with their fitness in company: halved if their niche has a better one."""
        ordered = sorted((one for one in living if not one.is_known), key=lambda one: (-one.fitness, one.text))
        heads: list[_Lived] = []
        company = []
        for one in ordered:
            crowded = any(abs(float(one.blocks @ head.blocks)) > CROWDED for head in heads)
            if not crowded:
                heads.append(one)
            company.append((one, one.fitness / 2 if crowded and one.fitness > 0 else one.fitness))
        return sorted(company, key=lambda pair: (-pair[1], pair[0].text))

    def _child(self, rng: np.random.Generator, grammar: Grammar, ranked: list[tuple[_Lived, float]]) -> Node:
        genetic = self.options.genetic
        if not ranked:
            return grammar.draw(rng)

        def parent() -> Node:  # `ranked` is sorted: the smallest number wins the tournament
            return ranked[int(rng.integers(len(ranked), size=genetic.tournament).min())][0].tree

        child = parent()
        if rng.random() < genetic.crossover:
            child = self._crossed(rng, child, parent())
        if rng.random() < genetic.mutation:
            child = self._mutated(rng, grammar, child)
        return child

    def _crossed(self, rng: np.random.Generator, one: Node, other: Node) -> Node:
        """One parent with a part of the other in a place of the same unit."""
        mine, theirs = list(places(one)), list(places(other))
        path, _ = mine[int(rng.integers(len(mine)))]
        _, part = theirs[int(rng.integers(len(theirs)))]
        return put(one, path, part)  # where units do not fit, the child is not sound and another one is drawn

    def _mutated(self, rng: np.random.Generator, grammar: Grammar, tree: Node) -> Node:
        spots = list(places(tree))
        path, part = spots[int(rng.integers(len(spots)))]
        windowed = [(p, n) for p, n in spots if isinstance(n, Call) and isinstance(n.arguments[-1], Number)]
        windowed = [(p, n) for p, n in windowed if n.operator.startswith(("ts_", "ema", "del", "pct"))]
        if windowed and rng.random() < 0.5:
            path, part = windowed[int(rng.integers(len(windowed)))]
            return put(tree, path, grammar.window(rng, part))
        if path and rng.random() < 0.2 and is_pure(part):
            return part  # a part alone: simpler
        return put(tree, path, grammar.like(rng, part, int(rng.integers(1, 4))))


def _scaled(blocks: np.ndarray) -> np.ndarray:
    """Gains by block less their mean, of size 1; what is not known counts as the mean."""
    known = np.isfinite(blocks)
    centred = np.where(known, blocks - blocks[known].mean() if known.any() else 0.0, 0.0)
    length = np.sqrt(centred @ centred)
    return centred / length if length > 0 else centred
