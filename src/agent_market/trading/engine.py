"""The embedded engine: an event loop over all pairs with one account, trade for trade as freqtrade.

The rules, in their order, are in docs/backtest.md.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext

import pandas as pd

from agent_market.trading.book import MarketBook, build_book
from agent_market.trading.equity import mark_to_market
from agent_market.trading.options import BacktestOptions
from agent_market.trading.precision import decimal, round_to_tick, truncate_to_step
from agent_market.trading.trades import as_trades
from agent_market.trading.window import select_window

STOP_LOSS = 0.99  # the widest stop: a position is closed once it has lost this part of its value
DIGITS = 60  # enough for an exact product of three floats


@dataclass(frozen=True)
class BacktestResult:
    """What a backtest leaves behind.

    trades: one row per closed trade, columns of `trades.TRADE_DTYPES`, sorted by open_date and pair.
    equity: date, equity (stake currency, marked to market at the close of the candle `date`), exposure (gross
    market value of the open positions / equity) and n_open (positions open at that close).
    """

    trades: pd.DataFrame
    equity: pd.DataFrame


def simulate(
    candles: pd.DataFrame,
    positions: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
) -> BacktestResult:
    """The trades and the equity that `positions` lead to, from the first to the last of their dates.

    A position decided at the close of one candle is executed at the next open, at leverage 1, with fee and
    slippage on both sides. Only the sign of a position counts; a missing one is flat, and so is a short in
    spot. All pairs share the account; where slots are scarce, pairs earlier in the alphabet come first.

    Parameters
    ----------
    candles
        pair, date (open time), open, high, low, close, volume; holes are filled with the last close.
    positions
        One model's pair, date, position, decided at the close of `date`.
    markets
        Precision and limits per pair, from `snapshot_markets`.
    timeframe, trading_mode
        Length of a candle (`1h`) and `spot` or `futures`.

    Raises
    ------
    ParameterError, DataError
        The tables, the markets and the options do not fit together.
    """
    window = select_window(candles, positions, markets, options, timeframe=timeframe, trading_mode=trading_mode)
    book = build_book(window, markets)
    with localcontext(prec=DIGITS):
        closed = _trade_through(book, options)
    return BacktestResult(_trade_table(closed, book, options), mark_to_market(closed, book, options.starting_balance))


@dataclass(slots=True)
class Position:
    """One position, open or closed; times are candle numbers."""

    pair: str
    side: int  # 1 long, -1 short
    tick: float
    opened: int
    rate: float  # paid; the candle's open
    amount: float
    stake: float
    open_value: float  # with the costs of the entry
    stop: float
    closed: int = -1
    close_rate: float = 0.0
    profit: float = 0.0
    reason: str = ""


class Account:
    """The balance that all pairs share: starting balance, closed profit, and the stakes of open positions."""

    def __init__(self, options: BacktestOptions) -> None:
        self.options = options
        self.cost = decimal(options.cost_per_side)
        self.profit = 0.0
        self.open: dict[str, Position] = {}  # in order of opening
        self.closed: list[Position] = []

    def stake(self, smallest: float, largest: float) -> float:
        """The stake of the next trade: an equal share of the tradable balance, or 0 if there is no room."""
        tied = sum(position.stake for position in self.open.values())
        free = self.options.starting_balance + self.profit - tied
        available = min((tied + free) * self.options.tradable_balance_ratio - tied, free)
        stake = min((available + tied) / self.options.max_open_trades, available)
        most = min(largest, available)
        if stake <= 0 or smallest > most or stake * 1.3 < smallest:  # raised to the minimum by at most 30 %
            return 0.0
        return min(max(stake, smallest), most)

    def value(self, amount: float, rate: float, sign: int) -> float:
        """Notional plus (sign 1) or minus (sign -1) the costs of one side."""
        notional = decimal(amount) * decimal(rate)
        return float(notional + sign * notional * self.cost)


def _trade_through(book: MarketBook, options: BacktestOptions) -> list[Position]:
    account = Account(options)
    for now in range(1, book.length):
        # Frozen before anything trades: pairs with a position first, then those that want one.
        for pair in dict.fromkeys([*account.open, *book.wanted[now]]):
            if now <= book.pairs[pair].last:
                _trade_candle(account, book, pair, now)
    for position in list(account.open.values()):
        last = book.pairs[position.pair].last
        rate = round_to_tick(book.pairs[position.pair].open[last], position.tick)
        _close(account, position, last, rate, "force_exit")
    return account.closed


def _trade_candle(account: Account, book: MarketBook, pair: str, now: int) -> None:
    target = book.pairs[pair].target[now]
    held = account.open.get(pair)
    if held is None:
        _enter(account, book, pair, target, now)
    _exit(account, book, pair, target, now)
    reversed_now = held is not None and pair not in account.open and target == -held.side
    if reversed_now:  # the slot that the exit freed is used at the same open
        _enter(account, book, pair, target, now)
        _exit(account, book, pair, target, now)


def _enter(account: Account, book: MarketBook, pair: str, target: int, now: int) -> None:
    if target == 0 or now == book.length - 1 or len(account.open) >= account.options.max_open_trades:
        return
    quotes = book.pairs[pair]
    rate, tick = quotes.open[now], quotes.tick[now]
    stake = account.stake(*quotes.limits(rate))
    contracts = truncate_to_step(stake / rate / quotes.contract, quotes.step)
    amount = float(decimal(contracts) * decimal(quotes.contract))
    if amount == 0:
        return
    account.open[pair] = Position(
        pair=pair,
        side=target,
        tick=tick,
        opened=now,
        rate=rate,
        amount=amount,
        stake=float(decimal(amount) * decimal(rate)),
        open_value=account.value(amount, rate, target),
        stop=_stop(round_to_tick(rate, tick), target, tick),
    )


def _stop(rate: float, side: int, tick: float) -> float:
    stop = decimal(rate * (1 - side * STOP_LOSS))
    excess = stop % decimal(tick)
    if excess == 0:
        return float(stop)
    return round(float(stop - excess + (decimal(tick) if side > 0 else Decimal(0))), 14)


def _exit(account: Account, book: MarketBook, pair: str, target: int, now: int) -> None:
    position = account.open.get(pair)
    if position is None:
        return
    quotes = book.pairs[pair]
    opening, low, high = quotes.open[now], quotes.low[now], quotes.high[now]
    if target != position.side:
        rate, reason = opening, "exit_signal"
    elif position.stop >= low if position.side > 0 else position.stop <= high:
        gapped = position.stop > high if position.side > 0 else position.stop < low
        rate, reason = opening if gapped else position.stop, "stop_loss"
    else:
        return
    rate = round_to_tick(rate, position.tick)
    if low <= rate <= high:  # else the order was not filled; the next candle tries again
        _close(account, position, now, rate, reason)


def _close(account: Account, position: Position, now: int, rate: float, reason: str) -> None:
    received = account.value(position.amount, rate, -position.side)
    position.profit = round((received - position.open_value) * position.side, 8)
    position.closed, position.close_rate, position.reason = now, rate, reason
    account.profit += position.profit
    account.closed.append(account.open.pop(position.pair))


def _trade_table(closed: list[Position], book: MarketBook, options: BacktestOptions) -> pd.DataFrame:
    minutes = int(book.step.total_seconds() // 60)
    return as_trades(
        [
            {
                "pair": position.pair,
                "stake_amount": round(position.stake, 8),
                "amount": position.amount,
                "open_date": book.dates[position.opened],
                "close_date": book.dates[position.closed],
                "open_rate": round_to_tick(position.rate, position.tick),
                "close_rate": position.close_rate,
                "fee_open": options.cost_per_side,
                "fee_close": options.cost_per_side,
                "trade_duration": (position.closed - position.opened) * minutes,
                "profit_ratio": position.profit / position.open_value,
                "profit_abs": position.profit,
                "exit_reason": position.reason,
                "enter_tag": "long" if position.side > 0 else "short",
                "is_short": position.side < 0,
                "leverage": 1.0,
                "funding_fees": 0.0,
            }
            for position in closed
        ]
    )
