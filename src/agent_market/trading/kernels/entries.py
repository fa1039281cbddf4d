"""How a position is opened: stake, leverage, limits, amount, the first stop and the liquidation price.

Files and functions named here are those of freqtrade 2026.9.
"""

import sys

import numpy as np
from numba import njit

from agent_market.trading.kernels.compiling import INNER, PART
from agent_market.trading.kernels.decimals import (
    DOWN,
    NEAREST,
    UP,
    cut_long,
    decimal_tail,
    divide,
    multiply,
    to_multiple,
    to_stop,
    value_of,
)
from agent_market.trading.kernels.layout import (
    MAINTENANCE_AMOUNT,
    MAINTENANCE_RATE,
    MOST_LEVERAGE,
    OPEN,
    TIER_FROM,
    TIER_TO,
    WHEN,
)

COMPENSATED = sys.version_info >= (3, 12)
"""Python's `sum` of floats, which freqtrade uses, adds up what rounding loses from this version on."""

AMOUNT_RESERVE = 1.0 + 0.05
COST_RESERVE = AMOUNT_RESERVE / (1 - 0.05)
"""freqtrade's margins on the exchange's minima (`exchange.py`, `_get_stake_amount_limit`)."""

RAISED_AT_MOST = 1.3
"""A stake below the minimum is raised to it by at most 30 % (`wallets.py`, `validate_stake_amount`)."""


@njit(**INNER)
def add(total, lost, number):
    """`total + number` and what rounding lost so far, as Python's `sum` keeps it."""
    if not COMPENSATED:
        return total + number, 0.0
    result = total + number
    if abs(total) >= abs(number):
        lost += (total - result) + number
    else:
        lost += (number - result) + total
    return result, lost


@njit(**PART)
def open_position(market, rules, account, positions, order, pair, side, size, now, full):
    """Open a position of `pair` at the open of candle `now` in the next free slot; whether there was money for it."""
    rate, terms = market.candles[pair, now, OPEN], market.terms[pair]
    stake, leverage = _stake(market.tiers, market.is_futures, terms, rules, account, positions, order, rate, size, full)
    if account["refused"]:
        account["refused"] = pair + 1
    amount = _amount(terms, stake / rate * leverage, full)
    if stake <= 0.0 or amount == 0.0:
        return False
    position, month = positions[order[account["n_open"]]], account["month"]
    while market.month_ends[month] < now:
        month += 1
    account["month"] = month
    position["pair"], position["side"] = pair, side
    position["opened"], position["closed"], position["is_ended"] = now, -1, 0
    position["leverage"] = leverage
    position["amount"], position["amount_tail"] = amount, decimal_tail(amount)
    position["tick_unit"], position["tick_places"] = (
        market.ticks[pair, month, 0],
        np.int64(market.ticks[pair, month, 1]),
    )
    _value(position, rules, rate)
    _first_stop(position, rules)
    position["liquidation"] = position["funding"] = 0.0
    if full is not None:
        _first_funding(position, terms, market.fundings)
        if market.is_futures:
            position["liquidation"] = _liquidation(position, rules, terms, market.tiers)
    account["n_open"] += 1
    return True


@njit(**INNER)
def _stake(tiers, is_futures, terms, rules, account, positions, order, rate, size, full):
    """The stake of the next trade and its leverage; a stake of 0 if there is no room (`wallets.py`)."""
    tied, lost = 0.0, 0.0
    for place in range(account["n_open"]):
        tied, lost = add(tied, lost, positions[order[place]]["stake"])
    tied += lost
    free = rules["starting_balance"] + account["profit"] - tied
    available = min((tied + free) * rules["tradable_ratio"] - tied, free)
    stake = rules["stake"]
    if stake == 0.0:
        stake = min((available + tied) / rules["max_open"], available)
    elif available < stake:
        return 0.0, 1.0
    stake = max(stake, 0.0)
    leverage, most = 1.0, np.inf
    if full is not None and is_futures:
        allowed = _allowed_leverage(tiers, terms, stake)
        if allowed == 0.0:
            account["refused"] = 1
            return 0.0, 1.0
        leverage = min(max(rules["leverage"], 1.0), allowed)
        most = _largest_notional(tiers, terms, leverage)
    least = max(terms["least_cost"] * COST_RESERVE, terms["least_amount"] * rate * AMOUNT_RESERVE) / leverage
    most = min(most, min(terms["most_cost"], terms["most_amount"] * rate)) / leverage
    return _within_limits(stake * size, least, min(most, available)), leverage


@njit(**INNER)
def _within_limits(stake, least, most):
    if stake <= 0.0 or least > most:
        return 0.0
    if stake < least:
        if stake * RAISED_AT_MOST < least:
            return 0.0
        stake = least
    stake = min(stake, most)
    return stake if stake >= least else 0.0


@njit(**INNER)
def _allowed_leverage(tiers, terms, stake):
    """The highest leverage for a stake, or 0 beyond the last tier (`exchange.py`, `get_max_leverage`)."""
    if stake == 0.0:
        return tiers[terms["tier_from"], MOST_LEVERAGE]
    for row in range(terms["tier_from"], terms["tier_stop"]):
        if stake <= tiers[row, TIER_TO] / tiers[row, MOST_LEVERAGE]:
            return tiers[row, MOST_LEVERAGE]
    return 0.0


@njit(**INNER)
def _largest_notional(tiers, terms, leverage):
    for row in range(terms["tier_stop"] - 1, terms["tier_from"] - 1, -1):
        if leverage <= tiers[row, MOST_LEVERAGE]:
            return tiers[row, TIER_TO] if tiers[row, TIER_TO] > 0.0 else np.inf
    return np.inf


@njit(**PART)
def _amount(terms, amount, full):
    """The amount in whole steps of contracts, in base currency (`exchange_utils.py`)."""
    unit, places, contract = terms["step_unit"], terms["step_places"], terms["contract"]
    if full is None or contract == 1.0:
        return to_multiple(amount, unit, places, DOWN)
    contracts, tail = divide(amount, decimal_tail(amount), contract, decimal_tail(contract))
    contracts = to_multiple(cut_long(contracts, tail), unit, places, DOWN)
    return multiply(contracts, decimal_tail(contracts), contract, decimal_tail(contract))[0]


@njit(**PART)
def _value(position, rules, rate):
    """What the position is worth at its entry (`trade_model.py`, `recalc_trade_from_orders`)."""
    amount, amount_tail, tail = position["amount"], position["amount_tail"], decimal_tail(rate)
    cost, cost_tail = rules["sold"], rules["sold_tail"]
    if position["side"] > 0:
        cost, cost_tail = rules["bought"], rules["bought_tail"]
    position["stake"] = multiply(amount, amount_tail, rate, tail)[0]
    if position["leverage"] != 1.0:
        position["stake"] /= position["leverage"]
    position["invested"] = value_of(amount, amount_tail, rate, tail, cost, cost_tail)
    position["paid"] = position["open_value"] = position["invested"]
    average = rate if rate >= 0.1 else cut_long(rate, tail)  # above, 17 digits end before the 18th decimal
    if average != rate:
        position["paid"] = value_of(amount, amount_tail, average, decimal_tail(average), cost, cost_tail)
    at_tick = to_multiple(average, position["tick_unit"], position["tick_places"], NEAREST)
    position["open_rate"] = at_tick
    if at_tick != rate:
        position["open_value"] = value_of(amount, amount_tail, at_tick, decimal_tail(at_tick), cost, cost_tail)


@njit(**PART)
def _first_stop(position, rules):
    """The stop from the entry, and nothing known yet about the candles to come, that of the entry included."""
    is_long = position["side"] > 0
    position["stop_distance"], position["is_trailing"] = rules["stoploss"], 0
    position["stop"] = stop_from(position, position["open_rate"], rules["stoploss"])
    position["trailed"] = 0.0 if is_long else np.inf
    position["wake"] = position["event"] = position["marked"] = position["opened"]


@njit(**INNER)
def stop_from(position, price, distance):
    """The stop that lies `distance`, part of the stake, from a price (`trade_model.py`, `adjust_stop_loss`)."""
    part = abs(distance)
    if position["leverage"] != 1.0:  # it nearly always is 1, and dividing takes long
        part /= position["leverage"]
    if position["side"] > 0:
        return to_stop(price * (1 - part), position["tick_unit"], position["tick_places"], UP)
    return to_stop(price * (1 + part), position["tick_unit"], position["tick_places"], DOWN)


@njit(**INNER)
def _first_funding(position, terms, fundings):
    """Point at the first funding that the position takes part in: one at the candle of its entry counts."""
    row, stop = terms["funding_from"], terms["funding_stop"]
    position["funding_stop"] = stop
    while row < stop:  # bisection
        middle = (row + stop) // 2
        if fundings[middle, WHEN] < position["opened"]:
            row = middle + 1
        else:
            stop = middle
    position["next_funding"] = row
    position["funding"], position["funding_sum"], position["funding_lost"] = 0.0, 0.0, 0.0


@njit(**INNER)
def _liquidation(position, rules, terms, tiers):
    """Isolated margin (`binance.py`, `dry_run_liquidation_price`; `exchange.py`, `get_liquidation_price`)."""
    side, amount, rate, stake = position["side"], position["amount"], position["open_rate"], position["stake"]
    row = terms["tier_stop"] - 1
    while row > terms["tier_from"] and stake < tiers[row, TIER_FROM]:
        row -= 1
    margin = (stake + 0.0 + tiers[row, MAINTENANCE_AMOUNT]) - (side * amount * rate)
    price = margin / ((amount * tiers[row, MAINTENANCE_RATE]) - (side * amount))
    buffer = abs(rate - price) * rules["liquidation_buffer"]
    price = max(price + buffer if side > 0 else price - buffer, 0.0)
    return to_multiple(price, position["tick_unit"], position["tick_places"], NEAREST)
