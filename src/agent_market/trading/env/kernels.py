"""The account of each episode as compiled code: one candle of many episodes in one call.

The rules are those of the embedded engine (`trading.kernels`), whose order of events at a candle is: funding, exits at
the open, entries at the open, then stops and liquidation inside the candle. The account is kept as `cash`, which may be
borrowed, and a signed `amount` of each pair, so that what it is worth at a price is `cash + amount * price`.

All compiled functions are in this file, since numba's cache knows of changes in the file of the outer function only.
"""

import numpy as np
from numba import njit

from agent_market.market.execution import CLOSE, ENTERED, HELD, HIGH, LOW, OPEN
from agent_market.trading.kernels.compiling import ENTRY, INNER

RUIN = 1e-4
"""What is left, as a fraction, of an account that a candle took all from: its logarithm has to exist."""

TERMS = np.dtype(
    [
        ("cost", "f8"),  # per side, fraction of the notional
        ("leverage", "f8"),
        ("band", "f8"),  # infinity: trade only where the side changes
        ("funds", "i8"),  # funding counts
        ("stop_long", "f8"),  # the prices that stop and liquidate, as multiples of that of the entry
        ("stop_short", "f8"),
        ("end_long", "f8"),  # 0: none
        ("end_short", "f8"),  # infinity: none
        ("bankruptcy", "f8"),
        ("penalty", "f8"),
        ("scale", "f8"),
        ("window", "i8"),
        ("sees_profit", "i8"),
        ("sees_time", "i8"),
    ],
    align=True,
)
"""The options of an environment, as numbers."""

ACCOUNT = np.dtype(
    [
        ("left", "i8"),  # decisions until the end of the episode; 0: it has ended
        ("cash", "f8"),
        ("equity", "f8"),  # at the next open, before anything happens there; 1 at the start
        ("peak", "f8"),
        ("steps", "i8"),
        ("trades", "i8"),  # entries
        ("turnover", "f8"),  # notional bought and sold, in equities at the time
    ],
    align=True,
)
"""The account of one episode."""

HOLDING = np.dtype(
    [
        ("row", "i8"),  # the candle at whose close the next decision is made
        ("amount", "f8"),  # base currency, negative if short
        ("rate", "f8"),  # average price of the entry
        ("position", "f8"),  # what was wished for at the entry
        ("entered", "f8"),  # equity before the entry
        ("opened", "i8"),  # row of the candle of the entry
        ("moves", "i8"),  # whether it is traded at the present open
    ],
    align=True,
)
"""One pair of one episode."""


@njit(**ENTRY)
def begin(accounts, holdings, indices, lengths, rows):
    """Put new episodes into the places `indices` (k,): flat, with an equity of 1, at `rows` (k, pairs)."""
    for number, i in enumerate(indices):
        account = accounts[i]
        account["left"] = lengths[number]
        account["cash"] = account["equity"] = account["peak"] = 1.0
        account["steps"], account["trades"], account["turnover"] = 0, 0, 0.0
        for p in range(holdings.shape[1]):
            holding = holdings[i, p]
            holding["row"], holding["entered"], holding["opened"] = rows[number, p], 0.0, 0
            _clear(holding)


@njit(**ENTRY)
def step_all(prices, funding, terms, accounts, holdings, wishes, rewards, log_returns, terminated, truncated):
    """Act on the `wishes` (n, pairs) of n episodes; how many of them had ended before, which were left alone.

    `accounts` (n,) and `holdings` (n, pairs) move on by one candle; the last four, (n,), are written.
    """
    terms, n_ended = terms[0], 0
    for i in range(len(accounts)):
        account = accounts[i]
        if account["left"] <= 0:
            n_ended += 1
            continue
        before, peak = account["equity"], account["peak"]
        is_lost = _trade(prices, funding, terms, accounts, holdings, wishes, i)
        is_lost |= _value(prices, accounts, holdings, i)
        equity = account["equity"]
        log_returns[i] = np.log(equity / before) if equity != before else 0.0
        rewards[i] = terms["scale"] * log_returns[i]
        account["peak"] = max(peak, equity)
        if terms["penalty"] > 0.0:
            deeper = max(np.log(account["peak"] / equity * before / peak), 0.0)
            rewards[i] -= terms["scale"] * terms["penalty"] * deeper
        account["left"] -= 1
        account["steps"] += 1
        terminated[i] = is_lost or equity < terms["bankruptcy"]
        truncated[i] = account["left"] == 0 and not terminated[i]
        if terminated[i]:
            account["left"] = 0
    return n_ended


@njit(**ENTRY)
def observe(features, prices, terms, accounts, holdings, indices, out):
    """Write what the episodes `indices` (k,) see into `out` (k, width) float32.

    Nothing in it is later than the close of the row that an episode is at.
    """
    terms = terms[0]
    n_pairs, n_features, window = holdings.shape[1], features.shape[1], terms["window"]
    for line, i in enumerate(indices):
        place = 0
        for p in range(n_pairs):
            row = holdings[i, p]["row"]
            for source in range(row - window + 1, row + 1):
                _copy(features, source, out, line, place)
                place += n_features
        worth = accounts[i]["cash"]
        for p in range(n_pairs):
            worth += holdings[i, p]["amount"] * prices[holdings[i, p]["row"], CLOSE]
        for p in range(n_pairs):
            holding = holdings[i, p]
            position = holding["position"]
            if terms["band"] < np.inf and holding["amount"] != 0.0 and worth > 0.0:
                position = holding["amount"] * prices[holding["row"], CLOSE] / (worth * terms["leverage"])
            out[line, place + p] = position
        place += n_pairs
        if terms["sees_profit"]:
            for p in range(n_pairs):
                out[line, place + p] = _profit(prices, holdings[i, p])
            place += n_pairs
        if terms["sees_time"]:
            for p in range(n_pairs):
                holding = holdings[i, p]
                is_open = holding["amount"] != 0.0
                out[line, place + p] = np.log(2.0 + holding["row"] - holding["opened"]) if is_open else 0.0


@njit(**ENTRY)
def walk(prices, funding, terms, actions, levels, accounts, holdings, stop, positions, log_returns):
    """Follow the table `actions` (rows, levels): the action at each row for each level that may be held.

    Begins at the row of the one holding and ends before row `stop`. Writes the position decided at each row and the
    log return from the next open to the one after; of the last two rows that is not known, and stays what it is.
    """
    terms, account, held = terms[0], accounts[0], holdings[0, 0]
    wish, flat = np.empty((1, 1)), 0
    while levels[flat] != 0.0:
        flat += 1
    state = flat
    for number in range(len(actions)):
        action = actions[number, state]
        if _differ(levels[action], levels[state]):
            state = action
        positions[number] = wish[0, 0] = levels[state]
        row = held["row"]
        if row + 1 >= stop:
            break
        before = account["equity"]
        _trade(prices, funding, terms, accounts, holdings, wish, 0)
        if row + 2 < stop:
            _value(prices, accounts, holdings, 0)
            log_returns[number] = np.log(account["equity"] / before)
        if held["amount"] == 0.0:
            state = flat


@njit(**INNER)
def _trade(prices, funding, terms, accounts, holdings, wishes, i):
    """What happens to episode i at the next candle: funding, exits, entries, stops; every row moves on to it.

    Says whether a position was stopped or liquidated.
    """
    account, n_pairs = accounts[i], holdings.shape[1]
    cash, cost, leverage, band = account["cash"], terms["cost"], terms["leverage"], terms["band"]
    for p in range(n_pairs):
        holding = holdings[i, p]
        holding["row"] += 1
        cash -= holding["amount"] * funding[holding["row"], HELD] if terms["funds"] else 0.0
    worth = cash
    for p in range(n_pairs):
        worth += holdings[i, p]["amount"] * prices[holdings[i, p]["row"], OPEN]
    traded = 0.0
    for p in range(n_pairs):  # exits, so that what they free can be staked
        holding = holdings[i, p]
        price = prices[holding["row"], OPEN]
        turns = _differ(wishes[i, p], holding["amount"])
        holding["moves"] = turns
        if band < np.inf:
            holding["moves"] = abs(wishes[i, p] - holding["amount"] * price / (worth * leverage)) >= band
        if holding["moves"] and turns and holding["amount"] != 0.0:
            traded += abs(holding["amount"]) * price
            cash += _proceeds(holding, price, cost)
            _clear(holding)
    stake = cash
    for p in range(n_pairs):
        stake += holdings[i, p]["amount"] * prices[holdings[i, p]["row"], OPEN]
    for p in range(n_pairs):
        holding = holdings[i, p]
        price = prices[holding["row"], OPEN]
        if stake <= 0.0 or not holding["moves"] or (holding["amount"] == 0.0 and wishes[i, p] == 0.0):
            continue
        if holding["amount"] == 0.0:
            holding["position"], holding["entered"], holding["opened"] = wishes[i, p], stake, holding["row"]
            account["trades"] += 1
        change = stake * wishes[i, p] * leverage / price - holding["amount"]
        cash -= change * price + cost * abs(change) * price
        traded += abs(change) * price
        if change * holding["amount"] >= 0.0:  # opened or added to
            cash -= change * funding[holding["row"], ENTERED] if terms["funds"] else 0.0
            total = holding["amount"] + change
            holding["rate"] = (holding["rate"] * holding["amount"] + price * change) / total
        holding["amount"] += change
    if traded > 0.0 and worth > 0.0:
        account["turnover"] += traded / worth
    is_stopped = False
    for p in range(n_pairs):
        holding = holdings[i, p]
        if holding["amount"] != 0.0:
            price = _stop_price(prices, terms, holding)
            if price > 0.0:
                is_stopped = True
                cash += _proceeds(holding, price, cost)
                _clear(holding)
    account["cash"] = cash
    return is_stopped


@njit(**INNER)
def _value(prices, accounts, holdings, i):
    """Mark the account of episode i to market at the open after the candle; whether nothing is left of it."""
    account, n_pairs = accounts[i], holdings.shape[1]
    worth = account["cash"]
    for p in range(n_pairs):
        if holdings[i, p]["amount"] != 0.0:
            worth += holdings[i, p]["amount"] * prices[holdings[i, p]["row"] + 1, OPEN]
    is_ruined = not worth > RUIN * account["equity"]
    if is_ruined:
        worth = account["cash"] = RUIN * account["equity"]
        for p in range(n_pairs):
            _clear(holdings[i, p])
    account["equity"] = worth
    return is_ruined


@njit(**INNER)
def _proceeds(holding, price, cost):
    return holding["amount"] * price - cost * abs(holding["amount"]) * price


@njit(**INNER)
def _clear(holding):
    holding["amount"], holding["rate"], holding["position"] = 0.0, 0.0, 0.0


@njit(**INNER)
def _stop_price(prices, terms, holding):
    """Where the candle stops or liquidates a holding, 0 if it does not.

    The stop-loss of the backtest wins over the liquidation (isolated margin); a price that the whole candle is beyond
    is filled at the open. See `_stopped` and `_stop_price` in `trading/kernels/exits.py`.
    """
    row, rate = holding["row"], holding["rate"]
    high, low = prices[row, HIGH], prices[row, LOW]
    if holding["amount"] > 0.0:
        price = rate * terms["stop_long"]
        if price < low:
            price = rate * terms["end_long"]
        if price < low:
            return 0.0
        return prices[row, OPEN] if price > high else price
    price = rate * terms["stop_short"]
    if price > high:
        price = rate * terms["end_short"]
    if price > high:
        return 0.0
    return prices[row, OPEN] if price < low else price


@njit(**INNER)
def _differ(a, b):
    """Whether two positions are on different sides."""
    return (a > 0.0) != (b > 0.0) or (a < 0.0) != (b < 0.0)


@njit(**INNER)
def _copy(features, row, out, line, place):
    source, target = features[row], out[line, place:]
    for j in range(len(source)):
        target[j] = source[j]


@njit(**INNER)
def _profit(prices, holding):
    """What an open holding has earned at the close of its row before costs, percent of the equity at its entry."""
    if holding["amount"] == 0.0:
        return 0.0
    return 100.0 * holding["amount"] * (prices[holding["row"], CLOSE] - holding["rate"]) / holding["entered"]
