"""What a language model is told: the language, the task, and what the search segment said so far.

No pair names, no dates, no exchange, and nothing of the gate but the reason code. A model that has read about a market
may remember what came next; one that knows only candles cannot.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent_market.factors.operators import DERIVED_FIELDS, FIELDS, OPERATORS
from agent_market.mining.candidates import CATEGORIES, REASONS
from agent_market.mining.options import MiningOptions

MAX_KNOWN = 10
MAX_TRIED = 20

SYSTEM = (
    "You propose formulas (factors) that foretell returns from candles. You answer with one JSON object and "
    "nothing else. Statistics decide about each formula on data that you never see, so propose different ideas rather "
    "than variants of one."
)


@dataclass(frozen=True)
class Told:
    """One factor with its figures on the search segment; `said` is a reason code, or "accepted"."""

    expression: str
    ic: float | None = None
    t: float | None = None
    turnover: float | None = None
    said: str = ""


@dataclass
class Memory:
    """What a prompt may tell: factors of the library, ideas tried, categories proposed, lines of an earlier run."""

    library: Sequence[Told] = ()
    tried: list[Told] = field(default_factory=list)
    categories: Counter = field(default_factory=Counter)
    heard: Sequence[str] = ()


def question(
    options: MiningOptions, memory: Memory, *, is_cross_section: bool, wanted: int, timeframe: str
) -> list[dict]:
    """The messages that ask for `wanted` factors."""
    parts = [
        _task(options, is_cross_section, timeframe),
        "FIELDS of a candle\n" + _table({**FIELDS, **DERIVED_FIELDS}),
        "FUNCTIONS\n" + _operators(is_cross_section),
        _rules(options),
    ]
    if memory.library:
        parts.append("IN THE LIBRARY (do not propose these again)\n" + _rows(memory.library[:MAX_KNOWN]))
    if memory.tried:
        parts.append(
            "TRIED, with the rank correlation (ic), its t value, and what became of it\n" + _tried(memory.tried)
        )
    if memory.heard:
        parts.append("FROM AN EARLIER RUN\n" + "\n".join(f"- {line}" for line in memory.heard))
    parts.append(_wanted(wanted, memory.categories))
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n\n".join(parts)}]


def repair(messages: list[dict], answer: str, unread: Iterable[tuple[str, str]]) -> list[dict]:
    """The messages that send unreadable expressions back, each with the parser's error; once per answer."""
    lines = [f"- {text[:300]}\n  {error}" for text, error in unread]
    ask = (
        "These expressions cannot be read:\n"
        + "\n".join(lines)
        + "\n\nWrite them again so that they can be read, in the same JSON form, only these."
    )
    return [*messages, {"role": "assistant", "content": answer[:4000]}, {"role": "user", "content": ask}]


def _task(options: MiningOptions, is_cross_section: bool, timeframe: str) -> str:
    judged = (
        "A formula is judged by the rank correlation across markets, at each candle, of its value and that return."
        if is_cross_section
        else "A formula is judged for each market by itself: its rank among its own last values, times that return in "
        "units of volatility. Being always high says nothing."
    )
    return (
        f"TASK\nCandles of {timeframe} of several markets. A formula is computed at the close of each candle from "
        f"this and earlier ones; it should foretell the return from the next open over {options.horizon} candles. "
        f"{judged} "
        "The sign does not matter."
    )


def _operators(is_cross_section: bool) -> str:
    kinds = {"element-wise", "time-series"} | ({"cross-section"} if is_cross_section else set())
    shown = {operator.call: operator.meaning for operator in OPERATORS.values() if operator.kind in kinds}
    return _table(shown)


def _rules(options: MiningOptions) -> str:
    gate = options.gate
    return (
        "RULES\n"
        "- Signs: + - * / ^, comparisons, & | !, condition ? a : b.\n"
        "- window, lag, span and level are written out as numbers and count candles; nothing may look ahead.\n"
        "- The result must not be in units of price or volume: divide by a price, a volume, a standard deviation.\n"
        f"- At most {gate.max_parts} parts, {gate.max_look_back} candles of history, 600 characters.\n"
        '- Example: {"expressions": [{"name": "short_name", "expression": "ts_mean(close, 24) / close - 1", '
        '"hypothesis": "one sentence why", "category": "trend"}]}'
    )


def _wanted(wanted: int, categories: Counter) -> str:
    fewest = sorted(CATEGORIES, key=lambda name: (categories[name], CATEGORIES.index(name)))[:3]
    return (
        f"Propose {wanted} formulas. Categories: {', '.join(CATEGORIES)}; so far the fewest are of {', '.join(fewest)}."
    )


def _rows(known: Iterable[Told]) -> str:
    return "\n".join(f"- {one.expression}{_figures(one)}" for one in known)


def _tried(tried: Sequence[Told]) -> str:
    """The best, and the last: what to build on, and what to leave."""
    best = sorted(tried, key=lambda one: -abs(one.t or 0.0))[: MAX_TRIED // 2]
    last = [one for one in tried[-MAX_TRIED:] if one not in best][-(MAX_TRIED // 2) :]
    return "\n".join(f"- {one.expression}{_figures(one)}: {_said(one.said)}" for one in [*best, *last])


def _said(code: str) -> str:
    return f"{code} ({REASONS[code]})" if code in REASONS else code or "tried"


def _figures(one: Told) -> str:
    parts = [f"{name} {value:+.4f}" if name == "ic" else f"{name} {value:.2f}" for name, value in _known(one).items()]
    return f"  [{', '.join(parts)}]" if parts else ""


def _known(one: Told) -> Mapping[str, float]:
    figures = {"ic": one.ic, "t": one.t, "turnover": one.turnover}
    return {name: value for name, value in figures.items() if value is not None and value == value}


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {meaning}" for name, meaning in rows.items())
