"""How many candles of history a bot needs before its first signal is the one that a long history would give."""

from agent_market.factors.engine import make_plan, parse_named
from agent_market.factors.expression import parse
from agent_market.factors.tree import is_recursive
from agent_market.live.traded import TradedModel
from agent_market.options import timeframe_delta
from agent_market.trading.options import CustomRule, PositionRule

SETTLING = 200
"""Candles that a rule is given, at the least, to settle which positions are held."""


def history_needed(traded: TradedModel) -> int:
    """Candles before the first signal: of the factors, of the model's own window, and of the rule."""
    trees = tuple((name, parse_named(name, text)) for name, text in traded.factors.items())
    of_factors = (make_plan(trees, traded.model.compat).graph.look_back() - 1) * (traded.market.max_gap + 1) + 1
    of_model = traded.model.lookback
    decides = traded.model.kind == "position"  # the model does, and no rule ranks what it says
    of_rule, settling = _of_rule(traded.backtest.positions, traded.market.timeframe, ranks=not decides)
    return of_factors + of_model + of_rule + settling


def say_limits(traded: TradedModel, available: int) -> list[str]:
    """What a bot that starts with `available` candles of history cannot promise, one sentence each."""
    said, needed = [], history_needed(traded)
    rule = traded.backtest.positions
    if needed > available:
        recursive = [name for name, text in traded.factors.items() if is_recursive(parse(text))]
        also = (
            f" (among the factors, {', '.join(recursive)} carry a state from the first candle on)" if recursive else ""
        )
        said.append(
            f"the model and its rule look back {needed} candles of {traded.market.timeframe}, but the exchange gives a "
            f"starting bot {available}{also}: until it has run for the rest, signals may differ from the backtest's"
        )
    if traded.model.kind == "position":
        said.append(
            "what a policy holds follows from the candles before; where those that a bot has do not settle it, the bot "
            "begins flat, and may for a while hold something else than the backtest"
        )
    elif isinstance(rule, CustomRule):
        said.append(f"how far {rule.rule} looks back is not known; {available} candles are there when the bot starts")
    said.append(
        f"a position that has been held for more than the {available} candles before a restart, without a new signal "
        "to open it, counts as flat after it"
    )
    return said


def _of_rule(rule: PositionRule, timeframe: str, *, ranks: bool) -> tuple[int, int]:
    """Candles of predictions that a rule ranks or measures, and those in which its positions settle."""
    candle, window = timeframe_delta(timeframe), getattr(rule, "window", None) if ranks else None
    ranked = 1 if window is None else -(-timeframe_delta(window) // candle)
    measured = rule.volatility_window + 1 if rule.target_volatility is not None else 1
    return max(ranked, measured), max(ranked, rule.hold, SETTLING)
