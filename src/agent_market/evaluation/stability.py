"""Whether a result holds in all parts: of the time, and of the pairs."""

from typing import Any

import numpy as np
import pandas as pd

from agent_market.evaluation.metrics import daily_returns

PARTS = ("third", "month", "fold", "pair")


def profit_by_part(
    trades: pd.DataFrame, equity: pd.DataFrame, folds: pd.DataFrame, *, starting_balance: float
) -> pd.DataFrame:
    """The net return of one account in each part: part, name, start, net_return, return_without.

    Parts of time (thirds of the days, calendar months, test windows; UTC) have the compound return of their days, and
    `return_without` is the total return with those days left out. A pair has the profit of its closed trades over the
    starting balance, and the total return less it: the same trades of the other pairs, without what a freed stake would
    have earned. Fractions.
    """
    returns = daily_returns(equity, starting_balance=starting_balance)
    growth = np.log1p(np.maximum(returns, -1.0 + 1e-12))
    days = pd.DatetimeIndex(returns.index)
    begun = np.searchsorted(folds["test_start"].sort_values().to_numpy(), days.to_numpy(), side="right") - 1
    groups = {
        "third": (np.arange(len(days)) * 3 // max(len(days), 1) + 1).astype(str),
        "month": days.strftime("%Y-%m").to_numpy(),
        "fold": folds.sort_values("test_start")["fold"].astype(str).to_numpy()[np.maximum(begun, 0)],
    }
    total = float(growth.sum())
    rows = []
    for part, names in groups.items():
        for name, logs in growth.groupby(names, sort=False):
            own = float(logs.sum())
            rows.append((part, name, logs.index[0], np.expm1(own), np.expm1(total - own)))
    profit = trades.groupby("pair", observed=True)["profit_abs"].sum() / starting_balance
    opened = trades.groupby("pair", observed=True)["open_date"].min()
    for pair, own in profit.items():
        rows.append(("pair", str(pair), opened[pair].floor("D"), own, np.expm1(total) - own))
    return pd.DataFrame(rows, columns=["part", "name", "start", "net_return", "return_without"])


def stability_metrics(parts: pd.DataFrame) -> dict[str, Any]:
    """How evenly a result comes about, of the table of `profit_by_part`: for third, month, fold and pair

    `<part>s_positive` (share of parts with a gain), `best_<part>` (its name), `best_<part>_share` (its part of the
    total: log growth for times, profit for pairs; None where there was no gain in all), `return_without_best_<part>`.
    """
    metrics: dict[str, Any] = {}
    for part in PARTS:
        own = parts[parts["part"] == part]
        if own.empty:
            metrics |= {f"{part}s_positive": None, f"best_{part}": None}
            metrics |= {f"best_{part}_share": None, f"return_without_best_{part}": None}
            continue
        size = own["net_return"].to_numpy()
        size = size if part == "pair" else np.log1p(size)
        best, total = int(size.argmax()), float(size.sum())
        metrics[f"{part}s_positive"] = float((size > 0.0).mean())
        metrics[f"best_{part}"] = own["name"].iloc[best]
        metrics[f"best_{part}_share"] = float(size[best] / total) if total > 0.0 else None
        metrics[f"return_without_best_{part}"] = float(own["return_without"].iloc[best])
    return metrics
