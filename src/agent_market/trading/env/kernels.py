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
        ("is_futures", "i8"),
        ("funds", "i8"),  # funding counts
        ("maintenance", "f8"),
        ("buffer", "f8"),
        ("stoploss", "f8"),  # positive fraction of the stake
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
        account, mine = accounts[i], holdings[i]
        if account["left"] <= 0:
            n_ended += 1
            continue
        before, fallen = account["equity"], account["peak"] / account["equity"]
        is_lost = _trade(prices, funding, terms, account, mine, wishes[i])
        is_lost |= _value(prices, account, mine)
        equity = account["equity"]
        log_returns[i] = np.log(equity / before)
        rewards[i] = terms["scale"] * log_returns[i]
        account["peak"] = max(account["peak"], equity)
        if terms["penalty"] > 0.0:
            deeper = max(np.log(account["peak"] / equity / fallen), 0.0)
            rewards[i] -= terms["scale"] * terms["penalty"] * deeper
        account["left"] -= 1
        account["steps"] += 1
        terminated[i] = is_lost or equity < terms["bankruptcy"]
        truncated[i] = account["left"] == 0 and not terminated[i]
        if terminated[i]:
            account["left"] = 0
    return n_ended


@njit(**ENTRY)
def observe_all(features, prices, terms, accounts, holdings, out):
    """Write what each episode sees into `out` (n, width) float32; nothing in it is later than the close of its row."""
    terms = terms[0]
    n_pairs, n_features, window = holdings.shape[1], features.shape[1], terms["window"]
    for i in range(len(accounts)):
        place = 0
        for p in range(n_pairs):
            row = holdings[i, p]["row"]
            for source in range(row - window + 1, row + 1):
                for j in range(n_features):
                    out[i, place + j] = features[source, j]
                place += n_features
        worth = accounts[i]["cash"]
        for p in range(n_pairs):
            worth += holdings[i, p]["amount"] * prices[holdings[i, p]["row"], CLOSE]
        for p in range(n_pairs):
            holding = holdings[i, p]
            position = holding["position"]
            if terms["band"] < np.inf and holding["amount"] != 0.0 and worth > 0.0:
                position = holding["amount"] * prices[holding["row"], CLOSE] / (worth * terms["leverage"])
            out[i, place + p] = position
        place += n_pairs
        if terms["sees_profit"]:
            for p in range(n_pairs):
                out[i, place + p] = _profit(prices, holdings[i, p])
            place += n_pairs
        if terms["sees_time"]:
            for p in range(n_pairs):
                holding = holdings[i, p]
                is_open = holding["amount"] != 0.0
                out[i, place + p] = np.log(2.0 + holding["row"] - holding["opened"]) if is_open else 0.0


@njit(**ENTRY)
def walk(prices, funding, terms, actions, levels, account, holding, stop, positions, log_returns):
    """Follow the table `actions` (rows, levels): the action at each row for each level that may be held.

    Begins at the row of the one `holding` and ends before row `stop`. Writes the position decided at each row and the
    log return from the next open to the one after; of the last two rows that is not known, and stays what it is.
    """
    terms, account, mine = terms[0], account[0], holding[0]
    wish = np.empty(1)
    flat = 0
    while levels[flat] != 0.0:
        flat += 1
    state, held = flat, mine[0]
    for number in range(len(actions)):
        action = actions[number, state]
        if np.sign(levels[action]) != np.sign(levels[state]):
            state = action
        positions[number] = wish[0] = levels[state]
        row = held["row"]
        if row + 1 >= stop:
            break
        before = account["equity"]
        _trade(prices, funding, terms, account, mine, wish)
        if row + 2 < stop:
            _value(prices, account, mine)
            log_returns[number] = np.log(account["equity"] / before)
        if held["amount"] == 0.0:
            state = flat


@njit(**INNER)
def _trade(prices, funding, terms, account, mine, wishes):
    """What happens at the next candle: funding, exits, entries, stops; whether a position was stopped or liquidated.

    Every row moves on to that candle.
    """
    cash, cost, leverage, band = account["cash"], terms["cost"], terms["leverage"], terms["band"]
    for p in range(len(mine)):
        holding = mine[p]
        holding["row"] += 1
        cash -= holding["amount"] * funding[holding["row"], HELD] if terms["funds"] else 0.0
    worth = cash
    for p in range(len(mine)):
        worth += mine[p]["amount"] * prices[mine[p]["row"], OPEN]
    traded = 0.0
    for p in range(len(mine)):  # exits, so that what they free can be staked
        holding = mine[p]
        price = prices[holding["row"], OPEN]
        turns = np.sign(wishes[p]) != np.sign(holding["amount"])
        holding["moves"] = turns
        if band < np.inf:
            holding["moves"] = abs(wishes[p] - holding["amount"] * price / (worth * leverage)) >= band
        if holding["moves"] and turns and holding["amount"] != 0.0:
            traded += abs(holding["amount"]) * price
            cash += _proceeds(holding, price, cost)
            _clear(holding)
    stake = cash
    for p in range(len(mine)):
        stake += mine[p]["amount"] * prices[mine[p]["row"], OPEN]
    for p in range(len(mine)):
        holding = mine[p]
        price = prices[holding["row"], OPEN]
        if stake <= 0.0 or not holding["moves"] or (holding["amount"] == 0.0 and wishes[p] == 0.0):
            continue
        if holding["amount"] == 0.0:
            holding["position"], holding["entered"], holding["opened"] = wishes[p], stake, holding["row"]
            account["trades"] += 1
        change = stake * wishes[p] * leverage / price - holding["amount"]
        cash -= change * price + cost * abs(change) * price
        traded += abs(change) * price
        if change * holding["amount"] >= 0.0:  # opened or added to
            cash -= change * funding[holding["row"], ENTERED] if terms["funds"] else 0.0
            total = holding["amount"] + change
            holding["rate"] = (holding["rate"] * holding["amount"] + price * change) / total
        holding["amount"] += change
    if worth > 0.0:
        account["turnover"] += traded / worth
    is_stopped = False
    for p in range(len(mine)):
        holding = mine[p]
        if holding["amount"] != 0.0:
            price = _stop_price(prices, terms, holding)
            if price > 0.0:
                is_stopped = True
                cash += _proceeds(holding, price, cost)
                _clear(holding)
    account["cash"] = cash
    return is_stopped


@njit(**INNER)
def _value(prices, account, mine):
    """Mark the account to market at the open after the candle; whether nothing is left of it."""
    worth = account["cash"]
    for p in range(len(mine)):
        if mine[p]["amount"] != 0.0:
            worth += mine[p]["amount"] * prices[mine[p]["row"] + 1, OPEN]
    is_ruined = not worth > RUIN * account["equity"]
    if is_ruined:
        worth = account["cash"] = RUIN * account["equity"]
        for p in range(len(mine)):
            _clear(mine[p])
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
    row, rate, leverage = holding["row"], holding["rate"], terms["leverage"]
    opening, high, low = prices[row, OPEN], prices[row, HIGH], prices[row, LOW]
    side = 1.0 if holding["amount"] > 0.0 else -1.0
    stop = rate * (1.0 - side * terms["stoploss"] / leverage)
    if stop >= low if side > 0.0 else stop <= high:
        return opening if (stop > high if side > 0.0 else stop < low) else stop
    if terms["is_futures"]:
        price = rate * (1.0 / leverage - side) / (terms["maintenance"] - side)
        price = max(price + side * abs(rate - price) * terms["buffer"], 0.0)
        if price >= low if side > 0.0 else 0.0 < price <= high:
            return opening if (price > high if side > 0.0 else price < low) else price
    return 0.0


@njit(**INNER)
def _profit(prices, holding):
    """What an open holding has earned at the close of its row before costs, percent of the equity at its entry."""
    if holding["amount"] == 0.0:
        return 0.0
    return 100.0 * holding["amount"] * (prices[holding["row"], CLOSE] - holding["rate"]) / holding["entered"]
