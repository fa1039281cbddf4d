"""Programs for the compiled machine: which kernel runs when, on which registers.

A register holds one series of a block. It is given to another series as soon as nothing needs the one in it, so that
a few dozen registers, which fit into a processor's cache, do for hundreds of factors.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agent_market.factors.kernels import elements, order, tasks
from agent_market.factors.plan import EMA_REACH, FAMILIES, FAMILY, Graph, Part, grow

_TASK = {name: code for code, name in enumerate(tasks.INSTRUCTIONS)}
_GROWN = ("moments", "comoments", "shapes", "products")


@dataclass(frozen=True)
class Program:
    """What the machine runs for one stage, and what comes out of it.

    `inputs` are the parts that are read, in the order of their rows; `kept` those that are given back whole.
    `reach` is how many rows before its own a row reads.
    """

    instructions: np.ndarray
    constants: np.ndarray
    literals: np.ndarray
    tables: np.ndarray
    inputs: tuple[int, ...]
    kept: tuple[int, ...]
    reach: int
    n_registers: int
    n_slots: int


@dataclass(frozen=True)
class _Unit:
    """One task of the machine: the parts that it makes of the parts that it needs."""

    task: str
    makes: tuple[int, ...]
    needs: tuple[int, ...]


def write_program(graph: Graph, stored: dict[int, list[int]], kept: Iterable[int]) -> Program:
    """The program that makes parts of a graph: `stored` says to which columns of the features a part goes."""
    kept = tuple(kept)
    needed = _needed(graph, [*stored, *kept])
    units = _units(graph, needed)
    writer = _Writer(graph, units, stored, kept)
    for unit in _order(units, set(writer.constants)):
        writer.write(unit)
    reach = graph.reach()
    return writer.program(max((reach[number] for number in (*stored, *kept)), default=0))


def _needed(graph: Graph, roots: list[int]) -> list[int]:
    """The parts that the machine must have for `roots`; what it does not compute is an input."""
    needed, waiting = set(), [*roots]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            if graph.is_native(number):
                waiting.extend(graph.parts[number].arguments)
    return sorted(needed)


def _units(graph: Graph, needed: list[int]) -> list[_Unit]:
    groups: dict[tuple, list[int]] = defaultdict(list)
    for number in needed:
        part = graph.parts[number]
        if part.is_number:
            continue
        family = FAMILY.get(part.operator)
        if family is None or family == "exponential":
            groups[number,].append(number)
        else:
            groups[family, part.arguments].append(number)
    units = []
    for numbers in groups.values():
        part = graph.parts[numbers[0]]
        if not graph.is_native(numbers[0]) or graph.is_field(numbers[0]):
            units.append(_Unit("load", tuple(numbers), ()))
        else:
            task = "lag" if part.operator == "delay" else FAMILY.get(part.operator, "element")
            units.append(_Unit(task, tuple(numbers), part.arguments))
    return units


def _order(units: list[_Unit], known: set[int]) -> list[_Unit]:
    """The units in an order that lets go of series early: of those that can run, the one that frees most."""
    users: dict[int, set[int]] = defaultdict(set)
    for index, unit in enumerate(units):
        for number in unit.needs:
            users[number].add(index)
    missing = [set(unit.needs) - known for unit in units]
    ready, ordered = {index for index, needs in enumerate(missing) if not needs}, []

    def gain(index: int) -> tuple[int, int]:
        unit = units[index]
        freed = sum(1 for number in set(unit.needs) if users[number] == {index} and number not in known)
        return freed - sum(1 for number in unit.makes if users[number]), -index

    while ready:
        index = max(ready, key=gain)
        ready.remove(index)
        ordered.append(units[index])
        for number in units[index].needs:
            users[number].discard(index)
        for number in units[index].makes:
            for user in users[number]:
                missing[user].discard(number)
                if not missing[user]:
                    ready.add(user)
    return ordered


class _Writer:
    def __init__(self, graph: Graph, units: list[_Unit], stored: dict[int, list[int]], kept: tuple[int, ...]) -> None:
        self.graph, self.stored, self.kept = graph, stored, kept
        self.kinds = graph.kinds if graph.rules == "qlib" else None
        used = {number for unit in units for number in unit.needs}
        self.constants = sorted(number for number in used if graph.parts[number].is_number)
        self.register = {number: place for place, number in enumerate(self.constants)}
        self.n_registers, self.free = max(len(self.constants), 1), []
        self.uses: dict[int, int] = defaultdict(int)
        for unit in units:
            for number in set(unit.needs):
                self.uses[number] += 1
        self.rows: list[tuple[int, ...]] = []
        self.literals: list[float] = [0.0]
        self.tables: list[int] = []
        self.inputs: list[int] = []
        self.n_slots = 1

    def write(self, unit: _Unit) -> None:
        """Write the instructions of one unit, and the stores of what it makes."""
        sources = [self.register[number] for number in unit.needs]
        for number in unit.makes:  # never a register of an argument: the compiler could not vectorise the loop
            self.register[number] = self._take()
        getattr(self, f"_{unit.task}", self._windows)(unit, sources)
        self._release(unit.needs)
        for number in unit.makes:
            for column in self.stored.get(number, ()):
                self._instruct("store", code=column, x=self.register[number])
            if number in self.kept:
                self._instruct("keep", code=self.kept.index(number), x=self.register[number])
            if not self.uses[number]:
                self.free.append(self.register[number])

    def program(self, reach: int) -> Program:
        """All that was written."""
        return Program(
            instructions=np.array(self.rows, dtype=np.int64).reshape(-1, 10),
            constants=np.array([self.graph.parts[number].literals[0] for number in self.constants]),
            literals=np.array(self.literals),
            tables=np.array(self.tables, dtype=np.int64),
            inputs=tuple(self.inputs),
            kept=self.kept,
            reach=reach,
            n_registers=self.n_registers,
            n_slots=self.n_slots,
        )

    # ---- registers

    def _take(self) -> int:
        if self.free:
            return self.free.pop()
        self.n_registers += 1
        return self.n_registers - 1

    def _release(self, numbers: Iterable[int]) -> None:
        for number in set(numbers):
            self.uses[number] -= 1
            if not self.uses[number] and not self.graph.parts[number].is_number:
                self.free.append(self.register[number])

    # ---- instructions

    def _instruct(
        self, task: str, *, code: int = 0, result: int = 0, x: int = 0, y: int = 0, z: int = 0,
        literals: Iterable[float] = (), steps: list[tuple[int, ...]] | None = None,
    ) -> None:  # fmt: skip
        place = len(self.literals) if literals else 0
        self.literals.extend(literals)
        columns = len(steps[0]) if steps else 0
        self.rows.append((_TASK[task], code, result, x, y, z, place, len(self.tables), len(steps or ()), columns))
        self.tables.extend(value for step in steps or () for value in step)

    def _load(self, unit: _Unit, sources: list[int]) -> None:
        (number,) = unit.makes
        self._instruct("load", code=len(self.inputs), result=self.register[number])
        self.inputs.append(number)
        self._round(number)

    def _lag(self, unit: _Unit, sources: list[int]) -> None:
        (number,) = unit.makes
        self._instruct("lag", code=self.graph.parts[number].window, result=self.register[number], x=sources[0])

    def _element(self, unit: _Unit, sources: list[int]) -> None:
        (number,) = unit.makes
        part = self.graph.parts[number]
        is_raw = self.graph.rules == "qlib" and part.operator in elements.RAW
        x, y, z = (*sources, *([sources[0]] * 3))[:3]
        self._instruct(
            "element",
            code=elements.OPCODES[f"raw_{part.operator}" if is_raw else part.operator],
            result=self.register[number],
            x=x,
            y=y,
            z=z,
            literals=part.literals,
        )
        self._round(number)

    def _round(self, number: int) -> None:
        if self.kinds and self.kinds[number] == "float32":
            self._instruct("float32", result=self.register[number])

    def _exponential(self, unit: _Unit, sources: list[int]) -> None:
        (number,) = unit.makes
        span = self.graph.parts[number].window
        steps = self._grown([EMA_REACH * span])
        self._instruct("exponential", code=span, result=self.register[number], x=sources[0], steps=steps)

    def _windows(self, unit: _Unit, sources: list[int]) -> None:
        """A family of windowed operators: one step per size, with the registers of what is wanted of it."""
        parts = {number: self.graph.parts[number] for number in unit.makes}
        levels = sorted({part.literals[1] for part in parts.values() if part.operator == "ts_quantile"})
        n_results = len(FAMILIES[unit.task]) + (len(levels) - 1 if unit.task == "order" else 0)
        wanted = {part.window: [-1] * n_results for part in parts.values()}
        for number, part in parts.items():
            wanted[part.window][_result(unit.task, part, levels)] = self.register[number]
        x, y = (*sources, 0)[:2]
        if unit.task in _GROWN:
            steps = [(*step, *wanted.get(step[0], [-1] * n_results)) for step in self._grown(wanted)]
            self._instruct(unit.task, x=x, y=y, steps=steps)
            return
        windows = sorted(wanted)
        n_short = bisect_right(windows, order.LONG) if unit.task == "order" else len(windows)
        for task, some in ((unit.task, windows[:n_short]), ("long_order", windows[n_short:])):
            if some:
                self._instruct(task, x=x, literals=levels, steps=[(window, *wanted[window]) for window in some])

    def _grown(self, windows: Iterable[int]) -> list[tuple[int, ...]]:
        steps = grow(tuple(sorted(windows)))
        self.n_slots = max(self.n_slots, 1 + max(step[4] for step in steps))
        return list(steps)


def _result(family: str, part: Part, levels: list[float]) -> int:
    """The place of what a part wants among the results of its family."""
    if part.operator == "ts_quantile":
        return 1 + levels.index(part.literals[1])
    return FAMILIES[family].index(part.operator)
