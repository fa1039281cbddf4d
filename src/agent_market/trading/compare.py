"""How far two engines agree on the same backtest, trade by trade."""

from typing import Any

import pandas as pd

KEY = ["pair", "open_date", "close_date", "is_short"]
MEASURED = [
    "open_rate",
    "close_rate",
    "amount",
    "stake_amount",
    "leverage",
    "funding_fees",
    "profit_abs",
    "profit_ratio",
]
MONEY = ["stake_amount", "funding_fees", "profit_abs"]
MONEY_TOLERANCE = 1e-6  # stake currency; freqtrade rounds the profit of a trade to 1e-8


def compare_trades(embedded: pd.DataFrame, freqtrade: pd.DataFrame, *, starting_balance: float) -> dict[str, Any]:
    """The differences between the trades of the embedded engine and of freqtrade, JSON-serialisable.

    Trades match where pair, open_date, close_date and side are the same. `max_abs_difference` is over matched
    trades, per column, in the column's own unit (None without matches). `exit_reasons` has, for each reason, how
    many trades it closed in the embedded engine and in freqtrade. Final balances are `starting_balance` plus all
    profits, in stake currency. `verdict` is `equal` only if every trade is matched, has the same exit reason and
    leverage, and no amount of money differs by more than 1e-6; else it says in words how many trades differ.
    """
    both = embedded.merge(freqtrade, on=KEY, suffixes=("_embedded", "_freqtrade"), validate="one_to_one")
    difference = {
        column: float((both[f"{column}_embedded"] - both[f"{column}_freqtrade"]).abs().max()) if len(both) else None
        for column in MEASURED
    }
    only_embedded, only_freqtrade = len(embedded) - len(both), len(freqtrade) - len(both)
    unlike = _unlike(both)
    differing = only_embedded + only_freqtrade + int(unlike.sum())
    profit_embedded, profit_freqtrade = (float(trades["profit_abs"].sum()) for trades in (embedded, freqtrade))
    return {
        "trades_embedded": len(embedded),
        "trades_freqtrade": len(freqtrade),
        "matched": len(both),
        "only_embedded": only_embedded,
        "only_freqtrade": only_freqtrade,
        "matched_but_unlike": int(unlike.sum()),
        "exit_reasons": _exit_reasons(embedded, freqtrade),
        "max_abs_difference": difference,
        "profit_embedded": profit_embedded,
        "profit_freqtrade": profit_freqtrade,
        "final_balance_embedded": starting_balance + profit_embedded,
        "final_balance_freqtrade": starting_balance + profit_freqtrade,
        "verdict": "equal"
        if differing == 0
        else f"{differing} of {len(both) + only_embedded + only_freqtrade} trades differ",
    }


def _exit_reasons(embedded: pd.DataFrame, freqtrade: pd.DataFrame) -> dict[str, list[int]]:
    counts = [trades["exit_reason"].value_counts() for trades in (embedded, freqtrade)]
    reasons = sorted(set(counts[0].index) | set(counts[1].index))
    return {str(reason): [int(count.get(reason, 0)) for count in counts] for reason in reasons}


def _unlike(both: pd.DataFrame) -> pd.Series:
    unlike = both["exit_reason_embedded"] != both["exit_reason_freqtrade"]
    for column in MONEY:
        unlike |= (both[f"{column}_embedded"] - both[f"{column}_freqtrade"]).abs() > MONEY_TOLERANCE
    for column in ("open_rate", "close_rate", "amount", "leverage"):
        relative = (both[f"{column}_embedded"] / both[f"{column}_freqtrade"] - 1).abs()
        unlike |= relative > 1e-9
    return unlike
