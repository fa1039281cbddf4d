"""How a position is left: exit signal, then stop or liquidation, then ROI, then trailing stop, at one candle.

Files and functions named here are those of freqtrade 2026.9; the order of exits is that of `should_exit` in
`strategy/interface.py`. A candle is a tuple (open, high, low, close).
"""

import math

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import INNER, PART
from agent_market.trading.kernels.decimals import MONEY_DIGITS, NEAREST, decimal_tail, rounded, to_multiple, value_of
from agent_market.trading.kernels.entries import add, stop_from
from agent_market.trading.kernels.layout import (
    CLOSE,
    EXIT_SIGNAL,
    FEE,
    FORCE_EXIT,
    HIGH,
    LIQUIDATION,
    LOW,
    NONE,
    OPEN,
    ROI,
    STOP_LOSS,
    TRAILING_STOP_LOSS,
    WHEN,
)

STAYS, CLOSED, ENDED = range(3)
"""What becomes of a position at a candle."""

ROUNDING = 1e-7
"""More than the rounding of a profit ratio to 8 decimals can move the price at which it is reached, relatively."""


@njit(**PART)
def leave(candle, terms, fundings, rules, position, leaves, stands, now, n_candles, full):
    """What becomes of the position at this candle: it STAYS, is CLOSED, or waits for the end of the run (ENDED).

    leaves, stands: whether a signal says to leave, and whether the one to enter stands.
    """
    best = 0.0
    if full is not None:
        paid_funding = position["next_funding"] < position["funding_stop"] and _add_funding(fundings, position, now)
        if rules["trailing"] or rules["n_roi"] > 0:
            best = _profit_ratio(rules, position, candle[HIGH] if position["side"] > 0 else candle[LOW])
        if rules["trailing"]:
            _trail(rules, position, candle, best, paid_funding)
    reason, rate = _choose(rules, position, candle, leaves, stands, best, now, full)
    if reason == NONE:
        _set_envelope(rules, position, terms, fundings, now, full)
    else:
        position["wake"] = now + 1  # if it is not filled, it is asked for anew at the next candle
        if _fill(candle, rules, position, rate, reason, now):
            return CLOSED
    if now < terms["last"]:
        return STAYS
    position["event"] = n_candles  # slot and stake stay taken after the pair's last candle
    if not _fill(candle, rules, position, candle[OPEN], FORCE_EXIT, now):
        return STAYS  # freqtrade never fills this order, and loses the trade
    position["is_ended"] = 1
    return ENDED


@njit(**INNER)
def _fill(candle, rules, position, rate, reason, now):
    """Close the position at a rate, rounded to a tick, if that is inside the candle; whether it is."""
    rate = to_multiple(rate, position["tick_unit"], position["tick_places"], NEAREST)
    if not candle[LOW] <= rate <= candle[HIGH]:
        return False
    _close(rules, position, rate, reason, now)
    return True


@njit(**INNER)
def _close(rules, position, rate, reason, now):
    """Write the end of a position into it (`trade_model.py`, `recalc_trade_from_orders`)."""
    value = _close_value(rules, position, rate)
    profit = rounded(value - position["paid"] if position["side"] > 0 else position["paid"] - value, MONEY_DIGITS)
    position["closed"], position["close_rate"], position["reason"] = now, rate, reason
    position["profit"] = profit


@njit(**INNER)
def _profit_ratio(rules, position, rate):
    """Profit of closing at a rate as part of the stake, rounded to 8 decimals."""
    if position["open_value"] == 0.0:
        return 0.0
    growth = _close_value(rules, position, rate) / position["open_value"]
    return rounded((growth - 1 if position["side"] > 0 else 1 - growth) * position["leverage"], MONEY_DIGITS)


@njit(**INNER)
def _close_value(rules, position, rate):
    amount, amount_tail, tail = position["amount"], position["amount_tail"], decimal_tail(rate)
    if position["side"] > 0:
        return value_of(amount, amount_tail, rate, tail, rules["sold"], rules["sold_tail"]) + position["funding"]
    return value_of(amount, amount_tail, rate, tail, rules["bought"], rules["bought_tail"]) - position["funding"]


@njit(**INNER)
def _add_funding(fundings, position, now):
    """Take what was paid for the position up to and at this candle; whether there was any."""
    row, stop = position["next_funding"], position["funding_stop"]
    total, lost = position["funding_sum"], position["funding_lost"]
    while row < stop and fundings[row, WHEN] <= now:
        total, lost = add(total, lost, fundings[row, FEE] * position["amount"])
        row += 1
    is_any = row > position["next_funding"]
    position["next_funding"], position["funding_sum"], position["funding_lost"] = row, total, lost
    position["funding"] = -position["side"] * (total + lost)
    return is_any


@njit(**INNER)
def _trail(rules, position, candle, best, paid_funding):
    """Let the stop follow the price, unless it is hit already (`interface.py`, `ft_stoploss_adjust`)."""
    is_long = position["side"] > 0
    if paid_funding:  # profits are others now, at prices that were looked at before, too
        position["trailed"] = 0.0 if is_long else np.inf
    if position["stop"] >= candle[LOW] if is_long else position["stop"] <= candle[HIGH]:
        return
    price = candle[HIGH] if is_long else candle[LOW]
    position["trailed"] = max(price, position["trailed"]) if is_long else min(price, position["trailed"])
    if rules["trailing_waits"] and best < rules["trailing_offset"]:
        return
    is_positive = not np.isnan(rules["trailing_positive"]) and best > rules["trailing_offset"]
    distance = rules["trailing_positive"] if is_positive else rules["stoploss"]
    stop = stop_from(position, price, distance)
    if stop > position["stop"] if is_long else stop < position["stop"]:
        position["stop"], position["stop_distance"], position["is_trailing"] = stop, distance, 1


@njit(**INNER)
def _choose(rules, position, candle, leaves, stands, best, now, full):
    """The first rule that closes the position at this candle, and its price; NONE if there is none."""
    if rules["use_exit_signal"] and leaves:
        if full is None or not rules["exit_profit_only"]:
            return EXIT_SIGNAL, candle[OPEN]
        if _profit_ratio(rules, position, candle[OPEN]) > rules["exit_profit_offset"]:
            return EXIT_SIGNAL, candle[OPEN]
    stopped = _stopped(position, candle)
    if stopped == STOP_LOSS or stopped == LIQUIDATION:  # a tuple would be one more function to compile
        return stopped, _stop_price(rules, position, candle, stopped, now)
    if full is None:
        return NONE, 0.0
    if rules["n_roi"] > 0 and not (stands and rules["ignore_roi_if_entry_signal"]):
        step = _roi_step(rules, position, now)
        if step >= 0 and best > rules["roi"][step]:
            price = _roi_price(rules, position, candle, step, now)
            if price > 0.0:
                return ROI, price
    if stopped == TRAILING_STOP_LOSS:
        return stopped, _stop_price(rules, position, candle, stopped, now)
    return NONE, 0.0


@njit(**INNER)
def _stopped(position, candle):
    """Which stop the candle hits; the stop-loss wins over the liquidation."""
    if position["side"] > 0:
        is_hit = position["stop"] >= candle[LOW]
        is_liquidated = position["liquidation"] >= candle[LOW]
    else:
        is_hit = position["stop"] <= candle[HIGH]
        is_liquidated = 0.0 < position["liquidation"] <= candle[HIGH]
    if is_hit:
        return TRAILING_STOP_LOSS if position["is_trailing"] else STOP_LOSS
    return LIQUIDATION if is_liquidated else NONE


@njit(**INNER)
def _stop_price(rules, position, candle, reason, now):
    """Where a stop is filled (`backtesting.py`, `_get_close_rate_for_stoploss`)."""
    side, leverage = position["side"], position["leverage"]
    stop = position["liquidation"] if reason == LIQUIDATION else position["stop"]
    if stop > candle[HIGH] if side > 0 else stop < candle[LOW]:
        return candle[OPEN]  # the price jumped over it
    if reason != TRAILING_STOP_LOSS or now != position["opened"]:
        return stop
    # Trailed and hit in the candle of the entry: the worst way that the price may have gone.
    away = 1 - side * abs(position["stop_distance"] / leverage)
    if rules["trailing_waits"] and not np.isnan(rules["trailing_positive"]):
        away = 1 + side * abs(rules["trailing_offset"]) - side * abs(rules["trailing_positive"] / leverage)
    price = candle[OPEN] * away
    return max(candle[LOW], price) if side > 0 else min(candle[HIGH], price)


@njit(**INNER)
def _roi_step(rules, position, now):
    """The step of the ROI table that is in force, or -1."""
    step = -1
    while step + 1 < rules["n_roi"] and rules["roi_after"][step + 1] <= now - position["opened"]:
        step += 1
    return step


@njit(**INNER)
def _roi_price(rules, position, candle, step, now):
    """Where a profit is taken, or 0 if it may not be (`backtesting.py`, `_get_close_rate_for_roi`)."""
    held, profit, on_grid = now - position["opened"], rules["roi"][step], rules["roi_on_grid"][step]
    if profit == -1.0 and on_grid:
        return candle[OPEN]
    price = _rate_of_profit(rules, position, profit)
    is_beyond = candle[OPEN] > price if position["side"] > 0 else candle[OPEN] < price
    if held > 0 and held == rules["roi_after"][step] and on_grid and is_beyond:
        return candle[OPEN]  # the step takes effect at this open, which is better
    if held == 0 and _is_doubtful(position, candle, price):
        return 0.0
    return min(max(price, candle[LOW]), candle[HIGH])


@njit(**INNER)
def _is_doubtful(position, candle, price):
    """A profit in the entry candle that the price may have made before the entry."""
    opening, close, entry = candle[OPEN], candle[CLOSE], position["open_rate"]
    if position["side"] > 0:
        return opening > close and entry < opening and price > close
    return opening < close and entry > opening and price < close


@njit(**INNER)
def _rate_of_profit(rules, position, profit):
    """The rate at which a profit ratio is reached (`trade_model.py`, `calc_close_rate_for_roi`)."""
    side = 1.0 if position["side"] > 0 else -1.0
    at_zero = side * position["funding"]
    per_unit = _close_value(rules, position, 1.0) - at_zero
    return ((1.0 + profit / position["leverage"] / side) * position["open_value"] - at_zero) / per_unit


@njit(**INNER)
def _set_envelope(rules, position, terms, fundings, now, full):
    """Note the prices and the candle before which nothing can happen to the position, save an exit signal."""
    is_long = position["side"] > 0
    wake, near = terms["last"], np.inf if is_long else 0.0
    if full is not None:
        if rules["n_roi"] > 0:
            step = _roi_step(rules, position, now)
            if step >= 0:
                near = _rate_of_profit(rules, position, rules["roi"][step])
                near *= 1 - ROUNDING if is_long else 1 + ROUNDING
            if step + 1 < rules["n_roi"]:
                wake = min(wake, position["opened"] + rules["roi_after"][step + 1])
        if rules["trailing"]:
            near = min(near, position["trailed"]) if is_long else max(near, position["trailed"])
            if rules["trailing_positive"] > rules["stoploss"]:  # a lower price may mean a nearer stop
                near = 0.0 if is_long else np.inf
        if position["next_funding"] < position["funding_stop"]:
            wake = min(wake, math.ceil(fundings[position["next_funding"], WHEN]))
    position["wake"] = wake
    if is_long:
        position["floor"], position["ceiling"] = max(position["stop"], position["liquidation"]), near
    else:
        liquidation = position["liquidation"] if position["liquidation"] > 0.0 else np.inf
        position["floor"], position["ceiling"] = near, min(position["stop"], liquidation)
