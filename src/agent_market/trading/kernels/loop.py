"""One backtest: the order of events, candle by candle, over all pairs with one account.

The order is that of freqtrade 2026.9, `optimize/backtesting.py`: `time_pair_generator`, `backtest`, `backtest_loop`.
Candles at which nothing can happen are passed over; what the account is worth at their closes is added up afterwards.
"""

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import ALONE, INNER, PART, SOURCES
from agent_market.trading.kernels.entries import open_position
from agent_market.trading.kernels.exits import CLOSED, STAYS, leave
from agent_market.trading.kernels.layout import ASK, BOOKED, CLOSE, HIGH, LEAVE, LONG, LOW, OPEN, SHIFT, SHORT, STAND
from agent_market.trading.kernels.machine import claim, fetch
from agent_market.trading.kernels.signals import is_signal, next_signal, signals_of_scores
from agent_market.trading.kernels.valuing import (
    follow_position,
    trace_position,
    value_account,
    value_rest,
    write_figures,
)


def _compiled(version: int):
    """The loop; `version` is in it for the key of numba's cache, which does not see changes in other files."""

    @njit(**ALONE)
    def run(
        market, signals, scores, levels, rules, counter, periods, desk, positions, accounts, log, trace, daily,
        figures, full,
    ):  # fmt: skip
        """Trade all candles under each of many rules: accounts, and the equity of one or the figures of each.

        signals: of all runs, or room for those of one, if levels make them of scores.
        scores (pairs, words, WORD) float64 and levels (runs, 4) float64, or nothing: see `signals_of_scores`.
        rules (runs,) of RULES.
        counter (1,) int64: the next run that no thread has begun; it goes up.
        periods: daily returns in a year.
        desk (3, most slots or pairs) int64, positions (slots,) of POSITION: scratch.
        accounts (runs,) of ACCOUNT: filled.
        log of TRADE: room for closed positions and, behind them, those still open; others are not kept.
        trace (3 or 2, candles) float64: zeros. Equity is written where figures are not asked for; otherwise it is
            scratch, which an account of one slot does not use.
        daily (days,) float64: scratch, equity at the last close of each UTC day.
        figures (runs, 6) float64: filled, or None.
        full: None where no rule asks for ROI, a trailing stop or `exit_profit_only`, in spot; otherwise True.

        What is None is told apart by its type: numba compiles without what it is for, in half of the time.
        """
        n_pairs, n_candles = market.closes.shape
        order, queue, seen, planes = desk[0], desk[1], desk[2], signals.planes
        while True:
            number = claim(counter) + version * 0
            if number >= rules.size:
                break
            rule, account = rules[number], accounts[number]
            if figures is not None and levels.size > 0:
                signals_of_scores(scores, levels[number], market.alive, planes)
            n_slots = min(rule["max_open"], n_pairs)
            is_alone = n_slots == 1
            _start(account, rule, order, seen, n_candles)
            now = np.int64(1)  # typed: of a literal number numba compiles every function once more
            while now < n_candles and account["refused"] == 0:
                if account["n_open"] < n_slots:
                    until = next_signal(planes, LONG, ASK, n_pairs, now, n_candles)
                else:
                    until = n_candles
                now = _next_event(
                    market.candles, market.ranges, planes, rule, positions, order, account["n_open"], now, until
                )
                if now == n_candles:
                    break
                # Frozen before anything trades: pairs with a position first, then those that may enter.
                n_queued = account["n_open"]
                for place in range(n_queued):
                    queue[place] = order[place]
                    seen[positions[order[place]]["pair"]] = now
                place = 0
                while place < n_queued + n_pairs:
                    if place < n_queued:
                        slot, wanted = queue[place], 0
                        pair, side = positions[slot]["pair"], positions[slot]["side"]
                        place += 1
                        if positions[slot]["event"] != now:
                            continue
                    else:
                        if account["n_open"] == n_slots or not is_signal(planes, LONG, ASK, n_pairs, now):
                            break
                        pair = place - n_queued
                        place += 1
                        wanted = 0 if seen[pair] == now else _asked_side(planes, pair, now, full)
                        if wanted == 0:
                            continue
                    while True:  # once; after a reversal once more
                        if wanted != 0:
                            slot, side = order[account["n_open"]], wanted
                            _look_ahead(market, planes, pair, side, figures, now)
                            size = signals.sizes[now, pair] if signals.sizes.size > 0 else 1.0
                            if not open_position(market, rule, account, positions, order, pair, side, size, now, full):
                                break
                        candle = (
                            market.candles[pair, now, OPEN],
                            market.candles[pair, now, HIGH],
                            market.candles[pair, now, LOW],
                            market.candles[pair, now, CLOSE],
                        )
                        row, terms, position = (1 - side) // 2, market.terms[pair], positions[slot]
                        # Before it may earn otherwise from here on, by funding, or nothing.
                        if figures is None:
                            trace_position(market, position, account, trace, is_alone, now)
                        else:
                            follow_position(market, position, account, trace, daily, is_alone, now)
                        leaves = is_signal(planes, row, LEAVE, pair, now)
                        stands = is_signal(planes, row, STAND, pair, now)
                        outcome = leave(
                            candle, terms, market.fundings, rule, position, leaves, stands, now, n_candles, full
                        )
                        if outcome == STAYS:
                            break
                        if is_alone:
                            account["balance"] += position["profit"]
                        else:
                            trace[BOOKED, now] += position["profit"]
                        if outcome != CLOSED:
                            break
                        _book(account, position, log)
                        _free(account, order, slot)
                        if full is None or wanted != 0 or _asked_side(planes, pair, now, full) != -side:
                            break
                        wanted = -side
                now += 1
            n_waiting = account["n_open"]
            account["n_open"] = 0
            for place in range(n_waiting):
                position = positions[order[place]]
                if position["is_ended"]:  # what waited for the end of the run
                    _book(account, position, log)
            for place in range(n_waiting):
                position = positions[order[place]]
                if not position["is_ended"]:  # what freqtrade could not close
                    value_rest(market, position, account, trace, daily, is_alone, figures)
                    _keep(position, log, account["n_closed"] + account["n_open"])
                    account["n_open"] += 1
            value_account(market, account, trace, daily, is_alone, figures)
            if figures is not None:
                write_figures(account, rule["starting_balance"], daily, periods, figures[number])

    return run


@njit(**INNER)
def _start(account, rules, order, seen, n_candles):
    """Order has the slots, those of open positions first, in order of opening; seen the last candle of each pair."""
    for number in range(order.size):
        order[number], seen[number] = number, 0
    account["balance"] = account["equity"] = account["peak"] = rules["starting_balance"]
    account["profit"] = account["drawdown"] = 0.0
    account["ruined"] = n_candles
    account["valued"] = account["day"] = account["month"] = account["n_open"] = account["n_closed"] = account[
        "n_won"
    ] = 0
    account["refused"] = 0


@njit(**PART)
def _next_event(candles, ranges, planes, rules, positions, order, n_open, now, until):
    """The first candle from `now` on, `until` at the latest, at which something may happen to an open position."""
    for place in range(n_open):
        position = positions[order[place]]
        if position["event"] < now:
            stop = position["wake"]
            if rules["use_exit_signal"]:
                row = (1 - position["side"]) // 2
                stop = next_signal(planes, row, LEAVE, position["pair"], now, stop)
            position["event"] = _next_price(candles, ranges, position, now, stop)
        until = min(until, position["event"])
    return until


@njit(**PART)
def _next_price(candles, ranges, position, now, stop):
    """The first candle from `now` on, `stop` at the latest, whose prices are not all between floor and ceiling."""
    pair, floor, ceiling = position["pair"], position["floor"], position["ceiling"]
    while now < stop:
        word = now >> SHIFT
        end = min((word + 1) << SHIFT, stop)
        if ranges[pair, word, 0] <= floor or ranges[pair, word, 1] >= ceiling:
            while now < end and candles[pair, now, LOW] > floor and candles[pair, now, HIGH] < ceiling:
                now += 1
            if now < end:
                return now
        now = end
    return stop


@njit(**PART)
def _look_ahead(market, planes, pair, side, figures, now):
    """Have the prices of the candle at which a position will be left fetched while it is opened, and those of the next
    entry: the engine would wait longer for them than it takes to trade."""
    n_pairs, n_candles = market.closes.shape
    until = next_signal(planes, (1 - side) // 2, LEAVE, pair, now + 1, n_candles)
    if until == n_candles:
        return
    fetch(market.candles, (pair * n_candles + until) * 4)
    if figures is None:
        for place in range(now, min(until, now + 16 * 8), 8):
            fetch(market.closes, pair * n_candles + place)
    if n_pairs == 1:
        now = next_signal(planes, LONG, ASK, pair, until + 1, n_candles)
        if now < n_candles:
            fetch(market.candles, now * 4)


@njit(**INNER)
def _asked_side(planes, pair, now, full):
    """The side that is asked for: 1 long, -1 short, 0 none."""
    if is_signal(planes, LONG, ASK, pair, now):
        return 1
    if full is not None and planes.shape[0] > 1 and is_signal(planes, SHORT, ASK, pair, now):
        return -1
    return 0


@njit(**PART)
def _book(account, position, log):
    account["profit"] += position["profit"]
    account["n_won"] += 1 if position["profit"] > 0.0 else 0
    _keep(position, log, account["n_closed"])
    account["n_closed"] += 1


@njit(**PART)
def _keep(position, log, number):
    if number >= log.size:
        return
    trade = log[number]
    trade["pair"], trade["side"] = position["pair"], position["side"]
    trade["opened"], trade["closed"], trade["reason"] = position["opened"], position["closed"], position["reason"]
    trade["open_rate"], trade["close_rate"] = position["open_rate"], position["close_rate"]
    trade["amount"], trade["stake"], trade["leverage"] = position["amount"], position["stake"], position["leverage"]
    trade["profit"] = position["profit"]
    trade["profit_ratio"] = position["profit"] / position["invested"] * position["leverage"]
    trade["funding"] = position["funding"]


@njit(**PART)
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


run = _compiled(SOURCES)
"""Compiled at the first call, or taken from numba's cache."""
