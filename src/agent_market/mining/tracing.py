"""How nominees gained over time, and what accepted factors would have traded, on segments that may be looked at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from agent_market.evaluation.metrics import trading_metrics
from agent_market.factors.expression import Names, parse
from agent_market.market.options import MarketOptions
from agent_market.mining.arena import Arena
from agent_market.mining.feedback import older_summary
from agent_market.mining.library import combined
from agent_market.mining.statistics import block_means
from agent_market.trading.engine import simulate
from agent_market.trading.options import BacktestOptions
from agent_market.trading.positions import decide_positions, wait_out_gaps
from agent_market.trading.signals import signals_of

MOST = 8
"""Nominees whose gains are traced."""


def trace_gains(results: pd.DataFrame, arenas: Mapping[str, Arena]) -> pd.DataFrame:
    """Gains by block of the first nominees, accepted ones first: id, expression, passed, segment, date, gain.

    `gain` is the block's mean rank correlation, turned so that the sign of the search segment is up.
    """
    shown = results.sort_values("passed", ascending=False, kind="stable").head(MOST)
    rows = [
        pd.DataFrame(
            {
                "segment": pd.Series(dtype="str"),
                "date": pd.Series(dtype="datetime64[ms, UTC]"),
                "gain": pd.Series(dtype=float),
            }
        ).assign(id="", expression="", passed=False)
    ]
    for name, arena in arenas.items():
        if not len(shown):
            break
        gains = arena.gains([parse(text) for text in shown["expression"]])
        means = block_means(gains.by_date, arena.options.block)
        dates = arena.dates[: means.shape[1] * arena.options.block : arena.options.block].as_unit("ms")
        for row, blocks in zip(shown.to_dict("records"), means, strict=True):
            own = pd.DataFrame({"segment": name, "date": dates, "gain": row["sign"] * blocks})
            rows.append(own.assign(id=row["id"], expression=row["expression"], passed=bool(row["passed"])))
    table = pd.concat(rows[1:] or rows, ignore_index=True)
    return table[["id", "expression", "passed", "segment", "date", "gain"]]


def trade(
    factors: Names,
    arena: Arena,
    markets: Mapping[str, Any],
    funding: pd.DataFrame,
    backtest: BacktestOptions,
    market: MarketOptions,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A backtest of the mean of all factors on the arena's segment, by the embedded engine and the configured rule.

    First its figures (`segment`, `until`, profit, trades, drawdown, Sharpe ratio after costs), then those under the
    keys of the older tool. Both are empty without factors. It is of the data the factors were found on: what it
    earns says how the factors trade, and nothing about whether they will.
    """
    if not factors:
        return {}, {}
    candles = arena.panel.candles
    table = _predictions(factors, arena)
    gaps = {"timeframe": market.timeframe, "max_gap": market.max_gap}
    decided = decide_positions(
        table,
        backtest.positions,
        allow_short=market.trading_mode == "futures",
        candles=candles,
        trading_days=market.trading_days,
        **gaps,
    )
    positions = wait_out_gaps(decided, **gaps)
    how = {"timeframe": market.timeframe, "trading_mode": market.trading_mode, "funding": funding}
    result = simulate(candles, signals_of(positions), dict(markets), backtest, **how)
    equity = result.equity[result.equity["date"].isin(candles["date"])].reset_index(drop=True)
    metrics = trading_metrics(
        equity, result.trades, starting_balance=backtest.starting_balance, trading_days=market.trading_days
    )
    value = np.append(backtest.starting_balance, equity["equity"].to_numpy())
    fall = float((np.maximum.accumulate(value) - value).max())
    older = older_summary(result.trades, starting_balance=backtest.starting_balance, max_drawdown=fall)
    return {
        "segment": arena.segment.name,
        "until": arena.segment.end.isoformat(),
        "factors": len(factors),
        **{name: older[name] for name in ("profit_total", "profit_total_abs", "profit_factor", "trades", "winrate")},
        "max_drawdown_abs": older["max_drawdown_abs"],
        "sharpe": metrics["sharpe"],
    }, older


def _predictions(factors: Names, arena: Arena) -> pd.DataFrame:
    """The factors as one score at each candle of the segment, in the contract of predictions."""
    candles = arena.panel.candles
    inside = (candles["date"] >= arena.segment.start).to_numpy()
    values = arena.values([parse(text) for text in factors.values()]).astype(float)[:, inside]
    table = candles.loc[inside, ["pair", "date"]].reset_index(drop=True)
    return table.assign(fold=0, prediction=combined(values), kind="score")
