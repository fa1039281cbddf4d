"""Computes a batch of factors on candles; what several factors have in common is computed once."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

import numpy as np
import pandas as pd

from agent_market.errors import FactorError
from agent_market.factors import memory
from agent_market.factors.expression import parse
from agent_market.factors.memory import RunEach
from agent_market.factors.operators import INTEGERS, LITERALS, MIN_LIVE_PAIRS, OPERATORS
from agent_market.factors.panel import Panel, build_panel, on_one_calendar
from agent_market.factors.plan import LOG_FLOAT32, Graph, Rules, build_graph
from agent_market.factors.tree import Call, Field, Node, candles_needed, to_text, walk

# Where the operators stand that the compiled machine does not know; they see all rows at once.
_MODULES = {
    "time-series": "agent_market.factors.indicators",
    "cross-section": "agent_market.factors.cross_section",
    "calendar": "agent_market.factors.calendar",
}

PART = 1 << 15
"""Rows of a whole column that numpy takes at once, so that threads share it and what is between stays in the cache."""


def compute_factors(
    candles: pd.DataFrame,
    factors: Mapping[str, str],
    *,
    timeframe: str,
    max_gap: int = 0,
    check: bool = True,
    compat: Rules = "sane",
    calendar: pd.DatetimeIndex | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """The value of each factor at the close of each candle: `pair`, `date` and one float32 column per factor.

    Rows are those of `candles` (sorted by pair and date), columns are in the order of `factors` (name to
    expression). A value reads candles up to its own date only, of its own pair except for `cs_` operators,
    and is NaN until its windows are full; a window reaches neither over two pairs nor over more than
    `max_gap` missing candles.

    `compat="qlib"` computes by Qlib's rules instead (docs/factor_engine.md): windows take what is there from the
    first candle on, a missing candle is a row without values, steps on candles are float32, and tolerances are
    absolute. Which candles are missing is said by `calendar`, the dates of the market; if there is none, by the
    dates of all `candles`. `threads` are used side by side; the numbers are the same for any number of them.

    A factor that is NaN or constant on all rows is a FactorError, unless it reads the calendar alone (the
    hour of daily candles is constant by nature). `check=False` skips this, for the few candles of a live
    update.
    """
    trees = {name: parse_named(name, text) for name, text in factors.items()}
    panel = build_panel(candles, timeframe, max_gap)
    if compat == "qlib":
        panel = on_one_calendar(panel, calendar)
    plan = make_plan(tuple(trees.items()), compat, "vwap" in candles.columns)
    values = evaluate(plan, panel, threads=threads)
    if check:
        _check_informative(trees, values, panel)
    table = pd.DataFrame(values.T, columns=list(trees), copy=False)
    for name in ("date", "pair"):  # not copied before one of both tables is changed
        table.insert(0, name, candles[name].set_axis(table.index))
    return table


@dataclass(frozen=True)
class Plan:
    """A batch of factors, ready to be computed: the graph, and a program for each of its stages."""

    graph: Graph
    programs: tuple
    whole: tuple[tuple[int, ...], ...]
    """For each stage the parts that are computed on all rows before its program runs."""


@lru_cache(maxsize=64)
def make_plan(trees: tuple[tuple[str, Node], ...], compat: Rules = "sane", has_vwap: bool = False) -> Plan:
    """The plan of a batch of factors, given as (name, tree)."""
    from agent_market.factors.kernels.elements import OPCODES
    from agent_market.factors.program import write_program

    if compat not in ("sane", "qlib"):
        raise FactorError(f"features.compat is 'sane' or 'qlib', found {compat!r}")
    columns = {"open", "high", "low", "close", "volume"} | ({"vwap"} if has_vwap else set())
    graph = build_graph(dict(trees), compat, frozenset(OPCODES), frozenset(columns))
    stages = graph.stages()
    whole = [number for number in range(len(graph.parts)) if not graph.is_native(number)]
    programs = []
    for stage in range(max(stages) + 1):
        stored: dict[int, list[int]] = {}
        for column, number in enumerate(graph.factors.values()):
            if stages[number] == stage:
                stored.setdefault(number, []).append(column)
        later = {argument for number in whole if stages[number] > stage for argument in graph.parts[number].arguments}
        kept = sorted(n for n in later if stages[n] == stage and not graph.parts[n].is_number)
        programs.append(write_program(graph, stored, kept))
    by_stage = tuple(tuple(n for n in whole if stages[n] == stage) for stage in range(len(programs)))
    return Plan(graph, tuple(programs), by_stage)


def evaluate(plan: Plan, panel: Panel, *, threads: int = 1, wanted: np.ndarray | None = None) -> np.ndarray:
    """The factors of a plan: float32 of shape (n_factors, n_candles).

    `wanted` says to which column of the result each candle goes, -1 to none; those that are wanted are the last ones
    of their segments. Without it, all candles are wanted, in order.
    """
    n_wanted = len(panel.candles) if wanted is None else int(wanted.max(initial=-1)) + 1
    with _side_by_side(threads) as run_each:
        values = memory.table((len(plan.graph.factors), n_wanted), threads, run_each)
        _evaluate(plan, panel, values, wanted, threads, run_each)
    return values


def _evaluate(
    plan: Plan, panel: Panel, values: np.ndarray, wanted: np.ndarray | None, threads: int, run_each: RunEach
) -> None:
    graph = plan.graph
    targets, fresh = (panel.runs, None) if wanted is None else _wanted_rows(panel, wanted)
    known: dict[int, np.ndarray] = {}
    for program, whole in zip(plan.programs, plan.whole, strict=True):
        for number in whole:
            known[number] = _compute_whole(panel, plan, number, known, run_each)
        inputs = [
            (panel.column(graph.field_name(number)), 1)
            if graph.is_field(number)
            else (np.ascontiguousarray(known[number], dtype=np.float64), 0)
            for number in program.inputs
        ]
        kept = np.empty((len(program.kept), panel.n_rows))
        blocks = _blocks(panel.segments, program.reach, None if program.kept else fresh)
        shares = _shares(blocks, threads)
        _run(program, inputs, panel.runs, targets, kept, values, shares, graph.rules, run_each)
        known.update(zip(program.kept, kept, strict=True))


def _wanted_rows(panel: Panel, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To which columns of the values rows go, as (first row, row to stop at, first column), and whether each does."""
    places = np.full(panel.n_rows, -1)
    places[panel.rows] = wanted
    rows = np.flatnonzero(places >= 0)
    is_new = np.append(True, (np.diff(rows) != 1) | (np.diff(places[rows]) != 1))[: rows.size]
    first, last = rows[is_new], rows[np.append(is_new[1:], True)[: rows.size]]
    return np.column_stack([first, last + 1, places[first]]), places >= 0


@contextmanager
def _side_by_side(threads: int) -> Iterator[RunEach]:
    """What calls a function with each of some items, on that many threads."""
    if threads == 1:
        yield lambda call, items: [call(item) for item in items]
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda call, items: list(pool.map(call, items))


def _run(program, inputs, runs, targets, kept, values, shares, rules: Rules, run_each: RunEach) -> None:
    from agent_market.factors.kernels import machine, tasks
    from agent_market.factors.kernels.compiling import QLIB, SANE

    if not len(program.instructions):
        return
    rules_code = QLIB if rules == "qlib" else SANE
    addresses = tasks.addresses(np.unique(program.instructions[:, 0]), rules_code)
    sources = [(series.ctypes.data, series.size, of_candles) for series, of_candles in inputs]
    sources = np.array(sources, dtype=np.int64).reshape(-1, 3)
    longest = max(int((blocks[:, 2] - blocks[:, 0]).max()) for blocks in shares)
    spare = []  # room to work in: as much as there are threads, since its memory is dear when it is fresh

    def run(blocks: np.ndarray) -> None:
        room = spare.pop() if spare else _room(program, longest)
        machine.run(
            addresses, tasks.DONE, rules_code, program.instructions, program.constants, program.literals,
            program.tables, sources, runs, targets, kept, values, blocks, *room,
        )  # fmt: skip
        spare.append(room)

    run_each(run, shares)


def _room(program, longest: int) -> tuple[np.ndarray, np.ndarray]:
    from agent_market.factors.kernels import machine

    return np.empty((program.n_registers, longest)), np.empty((machine.SCRATCH, program.n_slots, longest))


def block_rows(reach: int) -> int:
    """How many rows are computed at once: what is between input and output stays in the processor's cache."""
    return max(2048, 4 * reach)


def _blocks(segments: np.ndarray, reach: int, fresh: np.ndarray | None = None) -> np.ndarray:
    """Cut segments into blocks: rows of (first row to read, first row to write, row to stop at, is at the start)."""
    start, stop, first = segments[:-1], segments[1:], segments[:-1]
    if fresh is not None:
        first = np.append(np.flatnonzero(fresh), segments[-1])
        first = np.minimum(first[np.searchsorted(first, start)], stop)
    lengths = stop - first
    size = np.maximum(-(-lengths // np.maximum(-(-lengths // block_rows(reach)), 1)), 1)
    counts = -(-lengths // size)
    of_segment = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    start, stop, size, first = (np.repeat(of_each, counts) for of_each in (start, stop, size, first))
    first = first + of_segment * size
    begin = np.maximum(start, first - reach)
    return np.column_stack([begin, first, np.minimum(first + size, stop), begin == start])


def _shares(blocks: np.ndarray, threads: int) -> list[np.ndarray]:
    """Blocks to be taken one share after another: ever smaller ones, so that all threads end at about the same time."""
    if threads == 1:
        return [blocks]
    rows = np.cumsum(blocks[:, 2] - blocks[:, 0])
    taken = 1 - (1 - 0.5 / threads) ** np.arange(1, 9 * threads)
    cuts = np.unique(np.searchsorted(rows, taken * rows[-1]))
    return [share for share in np.split(blocks, cuts) if len(share)]


def _compute_whole(
    panel: Panel, plan: Plan, number: int, known: Mapping[int, np.ndarray], run_each: RunEach
) -> np.ndarray:
    """An operator that sees all rows at once; an overflow becomes NaN."""
    graph, part = plan.graph, plan.graph.parts[number]
    if part.operator == LOG_FLOAT32:
        x = known[part.arguments[0]]
        n_users = sum(part.arguments[0] in graph.parts[other].arguments for stage in plan.whole for other in stage)
        return _log_of_float32(x, x if n_users == 1 else np.empty_like(x), run_each)
    operator = OPERATORS[part.operator]
    kernel = getattr(import_module(_MODULES[operator.kind]), operator.kernel)
    series, literals = iter(part.arguments), iter(part.literals)
    arguments = []
    for parameter in operator.parameters:
        if parameter in LITERALS:
            value = next(literals)
            arguments.append(int(value) if parameter in INTEGERS else value)
        else:
            argument = next(series)
            of_argument = graph.parts[argument]
            arguments.append(of_argument.literals[0] if of_argument.is_number else known[argument])
    with np.errstate(over="ignore", invalid="ignore"):
        values = kernel(panel, *arguments)
    return np.where(np.isinf(values), np.nan, values)


def _log_of_float32(x: np.ndarray, out: np.ndarray, run_each: RunEach) -> np.ndarray:
    def compute(start: int) -> None:
        rows = slice(start, start + PART)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[rows] = np.log(x[rows].astype(np.float32))

    run_each(compute, range(0, x.size, PART))
    return out


def parse_named(name: str, text: str) -> Node:
    """The tree of a factor; an error names it."""
    try:
        return _parsed(parse, text)
    except FactorError as error:
        raise FactorError(f"factor {name!r}: {error}") from None


@lru_cache(maxsize=4096)
def _parsed(parse: Callable[[str], Node], text: str) -> Node:
    return parse(text)


def _check_informative(trees: Mapping[str, Node], values: np.ndarray, panel: Panel) -> None:
    """Raise if a factor that reads the market says the same, or nothing, on all rows."""
    from agent_market.factors.kernels.machine import is_informative

    for (name, tree), column in zip(trees.items(), values, strict=True):
        if is_informative(column) or not any(isinstance(node, Field) for node in walk(tree)):
            continue
        known = column[~np.isnan(column)]
        state = f"constant ({known[0]:g})" if known.size else "NaN"
        raise FactorError(
            f"factor {name!r} is {state} on all {column.size} rows: {to_text(tree)} looks back "
            f"{candles_needed(tree)} candles, and the longest unbroken stretch of the {panel.n_pairs} pair(s) "
            f"holds {panel.longest_segment}; {_remedy(tree, panel)}"
        )


def _remedy(tree: Node, panel: Panel) -> str:
    kinds = {OPERATORS[node.operator].kind for node in walk(tree) if isinstance(node, Call)}
    if "cross-section" in kinds and panel.n_pairs < MIN_LIVE_PAIRS:
        return (
            f"cs_ operators need {MIN_LIVE_PAIRS} pairs at a date: give more market.pairs, or choose "
            "features.factor_set=single_pair"
        )
    if candles_needed(tree) > panel.longest_segment:
        return "use more candles, shorter windows, or allow longer gaps with market.max_gap"
    return "change or drop the factor in features.factors or the file of features.factor_set"
