"""The embedded engine: freqtrade's backtest as compiled code, trade for trade.

The rules, in their order, are in docs/backtest.md and in `kernels`.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from agent_market.errors import ParameterError
from agent_market.trading.book import MarketArrays, prepare_market
from agent_market.trading.kernels.layout import (
    ACCOUNT,
    ASK,
    EQUITY,
    EXIT_REASONS,
    GROSS,
    MOST_ROI_STEPS,
    POSITION,
    RULES,
    TRADE,
    Signals,
)
from agent_market.trading.options import BacktestOptions
from agent_market.trading.packing import prepare_signals
from agent_market.trading.precision import rounded
from agent_market.trading.trades import as_trades
from agent_market.trading.window import check_currency, select_window

SAME_NAME = (
    "starting_balance", "leverage", "liquidation_buffer", "use_exit_signal", "exit_profit_only", "exit_profit_offset",
    "ignore_roi_if_entry_signal",
)  # fmt: skip
"""Options that the kernel takes as they are."""


@dataclass(frozen=True)
class BacktestResult:
    """What a backtest leaves behind.

    trades: one row per closed trade, columns of `trades.TRADE_DTYPES`, sorted by open_date and pair.
    equity: date, equity (stake currency, marked to market at the close of the candle `date`), exposure (gross
    market value of the open positions / equity) and n_open (positions open at that close).
    """

    trades: pd.DataFrame
    equity: pd.DataFrame


@dataclass(frozen=True)
class ArrayResult:
    """What a backtest leaves behind, as arrays.

    trades: (trades,) structured array in the order of closing. pair, opened and closed are numbers of the market's
    pairs and dates, side is 1 or -1, reason a number of `kernels.layout.EXIT_REASONS`. Rates, leverage and profit_ratio
    are those of `trades.TRADE_DTYPES`; stake, profit and funding are in stake currency, and stake and amount are not
    rounded to 8 decimals as there.
    equity: (candles,) float64, stake currency, at the close of each candle.
    """

    trades: np.ndarray
    equity: np.ndarray


def simulate(
    candles: pd.DataFrame,
    signals: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
) -> BacktestResult:
    """The trades and the equity that `signals` lead to, from the first to the last of their dates.

    A signal given at the close of one candle is acted on at the next open, with fee and slippage on both sides. A
    missing one is flat, and so is a short in spot. All pairs share the account; where slots are scarce, pairs earlier
    in the alphabet come first.

    Parameters
    ----------
    candles
        pair, date (open time), open, high, low, close, volume; holes are filled with the last close.
    signals
        One model's pair, date, four signals and size, decided at the close of `date`: see `signals_of`.
    markets
        Precision, limits and, in futures, leverage tiers per pair, from `snapshot_markets`.
    timeframe, trading_mode
        Length of a candle (`1h`) and `spot` or `futures`.
    funding
        Futures: pair, date, funding_rate (fraction, paid by longs where positive), mark_price; None: no funding.

    Raises
    ------
    ParameterError, DataError
        The tables, the markets and the options do not fit together.
    """
    window = select_window(candles, signals, markets, options, timeframe=timeframe, trading_mode=trading_mode)
    market = prepare_market(window.candles, markets, step=window.step, trading_mode=trading_mode, funding=funding)
    return run_backtest(market, prepare_signals(window.signals, market), options)


def run_backtest(market: MarketArrays, signals: Signals, options: BacktestOptions) -> BacktestResult:
    """`simulate` on a market and signals that were prepared before."""
    log, n_closed, trace = _run(market, signals, options, GROSS + 1)
    value, gross = trace[EQUITY], trace[GROSS]
    exposure = np.divide(gross, value, out=np.zeros_like(value), where=value > 0.0)
    table = {"date": market.dates, "equity": value, "exposure": exposure, "n_open": _n_open(log, n_closed, len(value))}
    return BacktestResult(_trade_table(log[:n_closed], market, options), pd.DataFrame(table))


def run_arrays(market: MarketArrays, signals: Signals, options: BacktestOptions) -> ArrayResult:
    """`simulate` without tables: a market of `market_arrays`, signals of `pack_signals`.

    Raises ParameterError where the options do not fit the market.
    """
    check_currency(market.pairs, options, market.trading_mode)
    log, n_closed, trace = _run(market, signals, options, EQUITY + 1)
    return ArrayResult(log[:n_closed], trace[EQUITY])


def _run(
    market: MarketArrays, signals: Signals, options: BacktestOptions, n_rows: int
) -> tuple[np.ndarray, int, np.ndarray]:
    """Closed positions with those still open behind them, the number of the closed, and a trace of `n_rows` or more."""
    from agent_market.trading.kernels.loop import run

    n_slots = min(options.max_open_trades, len(market.pairs))
    log = np.empty(int(np.bitwise_count(signals.planes[:, ASK, :, :-1].view("uint64")).sum()), dtype=TRADE)
    n_rows = max(n_rows, 1 if n_slots == 1 else 2)
    trace = np.empty((1, len(market.dates))) if n_rows == 1 else np.zeros((n_rows, len(market.dates)))
    accounts, rules = np.zeros(1, dtype=ACCOUNT), rules_of(options, market)
    nothing = np.empty((0, 0))
    run(
        market.arrays,
        signals,
        np.empty((0, 0, 0)),
        nothing,
        rules,
        np.zeros(1, dtype="int64"),
        0.0,
        *scratch(market, n_slots),
        accounts,
        log,
        trace,
        nothing[0:0].ravel(),
        None,
        is_full(rules, market),
    )
    check_stakes(accounts[0], market, options)
    n_closed = int(accounts["n_closed"][0])
    return log[: n_closed + int(accounts["n_open"][0])], n_closed, trace


def is_full(rules: np.ndarray, market: MarketArrays) -> bool | None:
    """Whether a run needs more than the plain kernel has: True or None, see `kernels.loop.run`."""
    asks = [rules["trailing"] != 0, rules["n_roi"] > 0, rules["exit_profit_only"] != 0]
    return True if market.arrays.is_futures or np.any(asks) else None


def scratch(market: MarketArrays, n_slots: int) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's desk and positions, for accounts of `n_slots` at most."""
    return np.empty((3, len(market.pairs)), dtype="int64"), np.zeros(n_slots, dtype=POSITION)


def _n_open(log: np.ndarray, n_closed: int, n_candles: int) -> np.ndarray:
    """Positions open at each close."""
    change = np.bincount(log["opened"], minlength=n_candles)
    change -= np.bincount(log["closed"][:n_closed], minlength=n_candles)
    return np.cumsum(change)


def rules_of(options: BacktestOptions, market: MarketArrays) -> np.ndarray:
    """The options as the kernel takes them: one record of RULES.

    Raises ParameterError for a ROI table of more steps than the record has room for.
    """
    rules = np.zeros(1, dtype=RULES)
    for name in SAME_NAME:
        rules[name] = getattr(options, name)
    cost = Decimal(repr(options.cost_per_side))
    for name, factor in (("bought", 1 + cost), ("sold", 1 - cost)):
        rules[name], rules[f"{name}_tail"] = float(factor), float(factor - Decimal(float(factor)))
    positive = options.trailing_stop_positive
    rules["stake"] = 0.0 if options.stake_amount == "unlimited" else options.stake_amount
    rules["tradable_ratio"] = options.tradable_balance_ratio
    rules["max_open"] = options.max_open_trades
    rules["stoploss"] = abs(options.stoploss)
    rules["trailing"] = options.trailing_stop
    rules["trailing_positive"] = np.nan if positive is None else positive
    rules["trailing_offset"] = options.trailing_stop_positive_offset
    rules["trailing_waits"] = options.trailing_only_offset_is_reached
    roi, minutes = sorted(options.minimal_roi.items()), market.minutes
    if len(roi) > MOST_ROI_STEPS:
        raise ParameterError(f"backtest.minimal_roi has {len(roi)} steps; the engine takes at most {MOST_ROI_STEPS}")
    rules["n_roi"] = len(roi)
    for number, (after, profit) in enumerate(roi):
        rules["roi_after"][0, number] = -(-after // minutes)
        rules["roi_on_grid"][0, number] = after % minutes == 0
        rules["roi"][0, number] = profit
    return rules


def check_stakes(account: np.void, market: MarketArrays, options: BacktestOptions) -> None:
    """Raise ParameterError if a stake was beyond the last leverage tier, where freqtrade gives up, too."""
    if account["refused"]:
        pair = market.pairs[account["refused"] - 1]
        raise ParameterError(
            f"a stake of {pair} grew beyond the last of its leverageTiers, at which freqtrade stops as well; lower "
            f"backtest.stake_amount ({options.stake_amount}) or raise backtest.max_open_trades "
            f"({options.max_open_trades})"
        )


def _trade_table(closed: np.ndarray, market: MarketArrays, options: BacktestOptions) -> pd.DataFrame:
    is_short = closed["side"] < 0
    return as_trades(
        pd.DataFrame(
            {
                "pair": np.array(market.pairs)[closed["pair"]],
                "stake_amount": rounded(closed["stake"], 8),
                "amount": rounded(closed["amount"], 8),
                "open_date": market.dates[closed["opened"]],
                "close_date": market.dates[closed["closed"]],
                "open_rate": closed["open_rate"],
                "close_rate": closed["close_rate"],
                "fee_open": options.cost_per_side,
                "fee_close": options.cost_per_side,
                "trade_duration": (closed["closed"] - closed["opened"]) * market.minutes,
                "profit_ratio": closed["profit_ratio"],
                "profit_abs": closed["profit"],
                "exit_reason": np.array(EXIT_REASONS)[closed["reason"]],
                "enter_tag": np.where(is_short, "short", "long"),
                "is_short": is_short,
                "leverage": closed["leverage"],
                "funding_fees": closed["funding"],
            }
        )
    )
