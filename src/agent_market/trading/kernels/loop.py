"""One backtest: the order of events, candle by candle, over all pairs with one account.

The order is that of freqtrade 2026.9, `optimize/backtesting.py`: `time_pair_generator`, `backtest`, `backtest_loop`.
Candles at which nothing can happen are passed over; what the account is worth at their closes is added up afterwards.
"""

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import ENTRY, INNER, SOURCES
from agent_market.trading.kernels.entries import open_position
from agent_market.trading.kernels.exits import close_at_end, leave
from agent_market.trading.kernels.layout import (
    CLOSE,
    COUNT,
    ENTER_LONG,
    ENTER_SHORT,
    EQUITY,
    EXIT_LONG,
    EXIT_SHORT,
    EXPOSURE,
    GROSS,
    HIGH,
    LOW,
    N_OPEN,
    OPEN,
    POSITION,
    PROFIT,
    VALUE,
)


def _compiled(version: int):
    """The loop; `version` is in it for the key of numba's cache, which does not see changes in other files."""

    @njit(**ENTRY)
    def run(market, rules, signals, next_entry, sizes, account, log, trace, daily):
        """Trade all candles; the account at the end, closed positions in `log`, equity in `trace` and `daily`.

        rules (1,) of RULES.
        signals (candles, pairs) uint8: bits to act on at the open of the candle, decided at the close before.
        next_entry (candles,) int64: the first candle from this one on at which some pair may enter.
        sizes (candles, pairs) float64: part of a full stake; (0, 0) where all are 1.
        account (1,) of ACCOUNT: zeros, filled.
        log: room for closed positions; those beyond it are not kept.
        trace (candles, 4) float64: zeros; equity, exposure and number of open positions at the close are written.
            (candles, 2): scratch, zeros before and after.
        daily (days,) float64: equity at the last close of each UTC day.
        """
        rules, account = rules[version * 0], account[0]
        n_pairs, n_candles = market.candles.shape[0], market.candles.shape[1]
        n_slots = min(rules["max_open"], n_pairs)
        positions = np.zeros(n_slots, dtype=POSITION)
        order = np.arange(n_slots)  # slots: those of open positions in order of opening, then the free ones
        queue = np.empty(n_slots, dtype=np.int64)
        seen = np.zeros(n_pairs, dtype=np.int64)  # the last candle at which a pair was looked at
        account["balance"] = account["equity"] = account["peak"] = rules["starting_balance"]
        now = np.int64(0)  # typed: of a literal number numba compiles every function once more
        valued = _value_account(account, market.day, trace, daily, now, now + 1)
        now += 1
        while now < n_candles and account["refused"] == 0:
            until = next_entry[now] if account["n_open"] < n_slots else n_candles
            if account["n_open"] == 0:
                now = _value_account(account, market.day, trace, daily, valued, now)
                now = valued = _stand_still(account, market.day, trace, daily, now, until)
            else:
                now = _next_event(market.candles, signals, positions, order, account["n_open"], now, until)
            if now == n_candles:
                break
            # Frozen before anything trades: pairs with a position first, then those that may enter.
            n_queued = account["n_open"]
            for place in range(n_queued):
                queue[place] = order[place]
            for place in range(n_queued):
                position = positions[queue[place]]
                pair = position["pair"]
                seen[pair] = now
                if _next_quiet(market.candles, signals, position, now, now + 1) == now:
                    signal = signals[now, pair]
                    _hold(market, rules, account, positions, order, queue[place], signal, sizes, log, trace, now)
            if next_entry[now] == now and account["n_open"] < n_slots:
                for pair in range(n_pairs):
                    signal = signals[now, pair]
                    side = _side(signal)
                    if side != 0 and seen[pair] != now and account["n_open"] < n_slots:
                        _enter(market, rules, account, positions, order, pair, side, signal, sizes, log, trace, now)
            now += 1
        for place in range(account["n_open"]):
            position = positions[order[place]]
            if position["is_ended"]:
                _book(account, position, log)
            else:
                _value_position(market.candles, market.terms, position, trace, n_candles)
        _value_account(account, market.day, trace, daily, valued, n_candles)

    return run


@njit(**INNER)
def _next_event(candles, signals, positions, order, n_open, now, until):
    """The first candle from `now` on, `until` at the latest, at which something may happen to an open position."""
    for place in range(n_open):
        until = _next_quiet(candles, signals, positions[order[place]], now, until)
    return until


@njit(**INNER)
def _next_quiet(candles, signals, position, now, until):
    """The first candle from `now` on that is not certain to pass by without an event; `until` if they all are."""
    now = max(now, position["quiet"])
    pair, floor, ceiling = position["pair"], position["floor"], position["ceiling"]
    watched, alarm = position["watched"], position["alarm"]
    stop = min(until, position["wake"])
    while (
        now < stop
        and candles[pair, now, LOW] > floor
        and candles[pair, now, HIGH] < ceiling
        and (signals[now, pair] & watched) != alarm
    ):
        now += 1
    position["quiet"] = max(now, position["quiet"])
    return min(now, until)


@njit(**INNER)
def _side(signal):
    """The side that a signal enters: 1 long, -1 short, 0 none, as when both are asked for."""
    if (signal & (ENTER_LONG | EXIT_LONG | ENTER_SHORT)) == ENTER_LONG:
        return 1
    if (signal & (ENTER_SHORT | EXIT_SHORT | ENTER_LONG)) == ENTER_SHORT:
        return -1
    return 0


@njit(**INNER)
def _hold(market, rules, account, positions, order, slot, signal, sizes, log, trace, now):
    """A pair with a position: leave it if a rule says so; the opposite side may then enter at the same open."""
    position = positions[slot]
    pair, side = position["pair"], position["side"]
    if position["next_funding"] < position["funding_stop"]:  # what is earned changes from here on
        _value_position(market.candles, market.terms, position, trace, now)
    _try_to_leave(market, rules, account, order, slot, position, signal, log, trace, now)
    wanted = _side(signal)
    if position["closed"] == now and not position["is_ended"] and wanted == -side:
        _enter(market, rules, account, positions, order, pair, wanted, signal, sizes, log, trace, now)


@njit(**INNER)
def _enter(market, rules, account, positions, order, pair, side, signal, sizes, log, trace, now):
    """A pair without a position: enter, and look at the exits of the same candle."""
    if now == market.candles.shape[1] - 1 or account["n_open"] >= rules["max_open"]:
        return
    slot = order[account["n_open"]]
    size = sizes[now, pair] if sizes.size > 0 else 1.0
    if open_position(market, rules, account, positions, order, slot, pair, side, size, now):
        _try_to_leave(market, rules, account, order, slot, positions[slot], signal, log, trace, now)


@njit(**INNER)
def _try_to_leave(market, rules, account, order, slot, position, signal, log, trace, now):
    """Leave a position if a rule says so. After its pair's last candle it waits, slot and stake taken, for the end."""
    pair = position["pair"]
    terms, candles = market.terms[pair], market.candles
    candle = (candles[pair, now, OPEN], candles[pair, now, HIGH], candles[pair, now, LOW], candles[pair, now, CLOSE])
    if leave(candle, terms, market.fundings, rules, position, signal, now):
        _book(account, position, log)
        _free(account, order, slot)
    elif now == terms["last"]:
        position["quiet"] = position["wake"] = candles.shape[1]
        if not close_at_end(candle, rules, position, now):
            return
        position["is_ended"] = 1
    else:
        return
    _value_position(candles, market.terms, position, trace, now)
    trace[now, PROFIT] += position["profit"]


@njit(**INNER)
def _book(account, position, log):
    account["profit"] += position["profit"]
    account["n_won"] += 1 if position["profit"] > 0.0 else 0
    if account["n_closed"] < log.size:
        log[account["n_closed"]] = position
    account["n_closed"] += 1


@njit(**INNER)
def _free(account, order, slot):
    """Take a slot out of the open ones, whose order stays."""
    place = 0
    while order[place] != slot:
        place += 1
    account["n_open"] -= 1
    while place < account["n_open"]:
        order[place] = order[place + 1]
        place += 1
    order[place] = slot


@njit(**INNER)
def _value_position(candles, terms, position, trace, until):
    """Add what a position has earned, if closed at no cost, to the closes before candle `until`."""
    pair, side = position["pair"], position["side"]
    amount, paid, funding = position["amount"], position["paid"], position["funding"]
    last = terms[pair]["last"]
    for now in range(position["marked"], until):
        worth = amount * candles[pair, min(now, last), CLOSE]
        trace[now, VALUE] += side * (worth - paid) + funding
        if trace.shape[1] > COUNT:
            trace[now, GROSS] += worth
            trace[now, COUNT] += 1.0
    position["marked"] = until


@njit(**INNER)
def _value_account(account, day, trace, daily, first, until):
    """Turn the trace of a stretch of candles into the account's equity at their closes; the candle to go on from."""
    balance, equity, peak, drawdown = account["balance"], account["equity"], account["peak"], account["drawdown"]
    trough = (1.0 - drawdown) * peak
    for now in range(first, until):
        balance += trace[now, PROFIT]
        value = balance + trace[now, VALUE]
        if trace.shape[1] > COUNT:
            gross, count = trace[now, GROSS], trace[now, COUNT]
            trace[now, EQUITY] = value
            trace[now, EXPOSURE] = gross / value if value > 0.0 else 0.0
            trace[now, N_OPEN] = count
        else:
            trace[now, VALUE] = trace[now, PROFIT] = 0.0
        equity = max(value, 0.0) if equity > 0.0 else 0.0  # ruin is final
        daily[day[now]] = equity
        if equity > peak:
            peak = equity
            trough = (1.0 - drawdown) * peak
        elif equity < trough:
            trough = equity
            drawdown = 1.0 - equity / peak
    account["balance"], account["equity"], account["peak"], account["drawdown"] = balance, equity, peak, drawdown
    return until


@njit(**INNER)
def _stand_still(account, day, trace, daily, now, until):
    """Nothing is open before candle `until`: equity stays what it is."""
    if trace.shape[1] > COUNT:
        for candle in range(now, until):
            trace[candle, EQUITY] = account["balance"]
    if now < until:
        for number in range(day[now], day[until - 1] + 1):
            daily[number] = account["equity"]
    return until


run = _compiled(SOURCES)
"""Compiled at the first call, or taken from numba's cache."""
