"""What the account is worth at each close, and what a sweep keeps of it, as `evaluation.metrics` defines it.

An account of one slot is valued stretch by stretch as its positions end: equity at a close is the balance and what the
one position has earned. With more slots, what each position has earned is added up in a trace first.
"""

import math

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import INNER, PART
from agent_market.trading.kernels.layout import BOOKED, EQUITY, GROSS, SHIFT


@njit(**PART)
def trace_position(market, position, account, trace, is_alone, until):
    """Value a position, if closed at no cost, at the closes before candle `until` that it is not valued at yet."""
    first, position["marked"] = position["marked"], until
    if is_alone:
        _stand_still(market.day_ends, account, trace, None, first)
        account["valued"] = until
    if first < until:
        _trace(market.closes, position, account["balance"], trace, is_alone, first, until)


@njit(**PART)
def follow_position(market, position, account, trace, daily, is_alone, until):
    """The same where figures are asked for, not the trace.

    The caller chooses between the two, before either is put in there: what it does not need is not compiled then.
    """
    first, position["marked"] = position["marked"], until
    if is_alone:
        _stand_still(market.day_ends, account, trace, daily, first)
        account["valued"] = until
    if first < until:
        if is_alone:
            _follow(market.closes, market.ranges, market.day_ends, position, account, daily, first, until)
        else:
            _trace(market.closes, position, account["balance"], trace, is_alone, first, until)


@njit(**INNER)
def value_rest(market, position, account, trace, daily, is_alone, figures):
    """Value a position that is open at the end of the run."""
    if figures is None:
        trace_position(market, position, account, trace, is_alone, market.closes.shape[1])
    else:
        follow_position(market, position, account, trace, daily, is_alone, market.closes.shape[1])


@njit(**INNER)
def _trace(closes, position, balance, trace, is_alone, first, until):
    """Write equity, or add what the position has earned to it, and what the position is worth where that is kept."""
    side, amount, paid, funding = position["side"], position["amount"], position["paid"], position["funding"]
    closes, equity = closes[position["pair"], first:until], trace[EQUITY, first:until]
    if is_alone:
        for now in range(closes.size):
            equity[now] = balance + (side * (amount * closes[now] - paid) + funding)
    else:
        for now in range(closes.size):
            equity[now] += side * (amount * closes[now] - paid) + funding
    if trace.shape[0] > GROSS:
        gross = trace[GROSS, first:until]
        for now in range(closes.size):
            gross[now] += amount * closes[now]


@njit(**INNER)
def value_account(market, account, trace, daily, is_alone, figures):
    """Value the account at all closes that it is not valued at yet. A trace that is not kept is 0 again."""
    n_candles = market.closes.shape[1]
    if is_alone:
        if figures is None:
            _stand_still(market.day_ends, account, trace, None, n_candles)
        else:
            _stand_still(market.day_ends, account, trace, daily, n_candles)
        return
    balance, day = account["balance"], 0
    for now in range(n_candles):
        balance += trace[BOOKED, now]
        value = balance + trace[EQUITY, now]
        if figures is None:
            trace[EQUITY, now] = value
        else:
            trace[EQUITY, now] = trace[BOOKED, now] = 0.0
            _see(account, value, now)
            if now == market.day_ends[day]:
                daily[day] = account["equity"]
                day += 1


@njit(**INNER)
def _stand_still(day_ends, account, trace, daily, until):
    """Nothing is open before candle `until`: equity is the balance. It is traced where there are no daily values."""
    first, balance = account["valued"], account["balance"]
    if first >= until:
        return
    account["valued"] = until
    if daily is None:
        equity = trace[EQUITY, first:until]
        for now in range(equity.size):
            equity[now] = balance
    else:
        _see(account, balance, first)
        day = account["day"]
        while day < day_ends.size and day_ends[day] < until:
            daily[day] = account["equity"]
            day += 1
        account["day"] = day


@njit(**PART)
def _follow(closes, ranges, day_ends, position, account, daily, first, until):
    """Follow the equity of the one open position. Words of candles that cannot set a peak or a trough are passed over.

    Equity grows with the close, rounding included, so that it stays between its values at the lowest and highest price.
    """
    pair, side, amount = position["pair"], position["side"], position["amount"]
    paid, funding, balance = position["paid"], position["funding"], account["balance"]
    now = first
    while now < until:
        word = now >> SHIFT
        end = min((word + 1) << SHIFT, until)
        one = balance + (side * (amount * ranges[pair, word, 0] - paid) + funding)
        other = balance + (side * (amount * ranges[pair, word, 1] - paid) + funding)
        worst = min(one, other)
        if max(one, other) > account["peak"] or worst <= 0.0:
            while now < end:
                _see(account, balance + (side * (amount * closes[pair, now] - paid) + funding), now)
                now += 1
        elif worst < (1.0 - account["drawdown"]) * account["peak"]:
            price = closes[pair, now]
            for place in range(now + 1, end):
                price = min(price, closes[pair, place]) if side > 0 else max(price, closes[pair, place])
            _see(account, balance + (side * (amount * price - paid) + funding), end - 1)
        now = end
    day = account["day"]
    while day < day_ends.size and day_ends[day] < until:
        value = balance + (side * (amount * closes[pair, day_ends[day]] - paid) + funding)
        daily[day] = value if day_ends[day] < account["ruined"] else 0.0
        day += 1
    account["day"] = day
    value = balance + (side * (amount * closes[pair, until - 1] - paid) + funding)
    account["equity"] = value if until <= account["ruined"] else 0.0


@njit(**INNER)
def _see(account, value, now):
    """The account's value at a close: its equity, its highest and its largest drawdown."""
    if value <= 0.0 and now < account["ruined"]:
        account["ruined"] = now
    equity = value if now < account["ruined"] else 0.0
    account["equity"] = equity
    if equity > account["peak"]:
        account["peak"] = equity
    elif equity < (1.0 - account["drawdown"]) * account["peak"]:
        account["drawdown"] = 1.0 - equity / account["peak"]


@njit(**INNER)
def write_figures(account, starting_balance, daily, periods, figures):
    """Final balance, total return, trades, win rate, largest drawdown and Sharpe ratio into `figures` (6,)."""
    figures[0] = account["equity"]
    figures[1] = account["equity"] / starting_balance - 1.0
    figures[2] = account["n_closed"]
    figures[3] = account["n_won"] / account["n_closed"] if account["n_closed"] > 0 else np.nan
    figures[4] = -account["drawdown"]
    figures[5] = _sharpe(daily, starting_balance, periods)


@njit(**INNER)
def _sharpe(daily, starting_balance, periods):
    """Mean over deviation of simple daily returns, annualised; NaN without a deviation. Ruin returns -1, then 0."""
    n, total, squares, before = daily.size, 0.0, 0.0, starting_balance
    first = daily[0] / before - 1.0  # sums are of differences from it: equal returns have no deviation at all
    for day in range(n):
        change = (daily[day] / before - 1.0 if before > 0.0 else 0.0) - first
        before = daily[day]
        total += change
        squares += change * change
    deviation = math.sqrt(max(squares - total * total / n, 0.0) / (n - 1)) if n > 1 else 0.0
    return (first + total / n) * math.sqrt(periods) / deviation if deviation > 1e-15 else np.nan
