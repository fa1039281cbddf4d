"""The market snapshot: fees, ticks, steps, limits and leverage per pair, kept with the candles so that runs repeat."""

import difflib
import importlib.util
import json
import math
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.trading.precision import price_decimals

TRADING_MODES = ("spot", "futures")
MIN_COST = 5.0  # stake currency, as on the large exchanges
FINEST_TICK = 10  # decimals; freqtrade trades no market whose tick is 1e-11 or less
STEP_WORTH = 0.1  # an amount step is worth at most this much stake currency: 1e-5 of a stake of 10,000
EXCHANGE_TIERS = Path("exchange", "binance_leverage_tiers.json")  # within freqtrade's package
DEFAULT_TIER = {
    "minNotional": 0.0,
    "maxNotional": None,
    "maintenanceMarginRate": 0.025,
    "maxLeverage": 20.0,
    "maintAmt": 0.0,
}
"""A coin that the exchange does not list: what it asks of small ones, 20 times at most whatever the size."""


def snapshot_markets(candles: pd.DataFrame, *, fee: float, trading_mode: str) -> dict[str, dict]:
    """One ccxt-shaped market per pair of `candles`, derived from the candles alone and JSON-serialisable.

    The price tick is one unit of the last decimal that any price of the pair uses. The amount step is the
    largest power of ten, at most 1, that is worth no more than 0.1 of the quote currency at the highest
    close. `fee` is a fraction per side. Futures are linear swaps with a contract size of 1 and the leverage
    tiers of Binance, as packaged with freqtrade, or `DEFAULT_TIER` for a pair that it does not list.

    Raises ParameterError for an unknown trading mode and DataError for a pair that does not fit it.
    """
    check_trading_mode(trading_mode)
    return {
        str(pair): _market(str(pair), rows, fee=fee, trading_mode=trading_mode)
        for pair, rows in candles.groupby("pair", observed=True, sort=True)
    }


def select_markets(markets: dict[str, dict], pairs: list[str], *, fee: float | None) -> dict[str, dict]:
    """The markets of `pairs` as ccxt lists them, JSON-serialisable, with `leverageTiers` for futures.

    `fee`, a fraction per side, takes the place of the exchange's own; None keeps that. What the exchange itself
    answered (`info`) is left out. All are `active`: what has been delisted since was traded when its candles were.

    Raises DataError for a pair that the exchange does not list.
    """
    snapshot = {}
    for pair in sorted(pairs):
        if pair not in markets:
            near = difflib.get_close_matches(pair, list(markets), n=1)
            hint = f"; did you mean {near[0]}" if near else ""
            raise DataError(f"the exchange does not list {pair}{hint}. Set market.pairs to pairs that it has")
        market = deepcopy({key: value for key, value in markets[pair].items() if key != "info"})
        market |= {"info": {}, "active": True}
        if fee is not None:
            market |= {"taker": fee, "maker": fee}
        if market.get("swap") and not market.get("leverageTiers"):
            market["leverageTiers"] = leverage_tiers(pair)
        snapshot[pair] = market
    return json.loads(json.dumps(snapshot))


def leverage_tiers(pair: str) -> list[dict[str, Any]]:
    """The leverage tiers of a future: notionals in stake currency, maintenance margin as a fraction of them."""
    tiers = _exchange_tiers().get(pair)
    if tiers is None:
        return [dict(DEFAULT_TIER)]
    own = [name for name in DEFAULT_TIER if name != "maintAmt"]
    return [{**{name: tier[name] for name in own}, "maintAmt": float(tier["info"]["cum"])} for tier in tiers]


@cache
def _exchange_tiers() -> dict[str, list[dict]]:
    """The tiers that freqtrade backtests with; read without importing it."""
    freqtrade = importlib.util.find_spec("freqtrade")
    if freqtrade is None:
        return {}
    return json.loads((Path(freqtrade.origin).parent / EXCHANGE_TIERS).read_text())


def check_trading_mode(trading_mode: str) -> None:
    """Raise ParameterError unless the trading mode is one that both engines know."""
    if trading_mode not in TRADING_MODES:
        raise ParameterError(f"market.trading_mode is {trading_mode!r}; expected one of {', '.join(TRADING_MODES)}")


def split_pair(pair: str, trading_mode: str) -> tuple[str, str, str | None]:
    """Base, quote and settle currency of a pair such as `BTC/USDT` (spot) or `BTC/USDT:USDT` (futures)."""
    base, slash, rest = pair.partition("/")
    quote, _, settle = rest.partition(":")
    if not (base and slash and quote):
        raise DataError(f"pair {pair!r} cannot be traded: a pair is written BASE/QUOTE, for example BTC/USDT")
    if trading_mode == "futures" and settle != quote:
        raise DataError(
            f"pair {pair!r} is not a linear future, which is written BASE/QUOTE:QUOTE (BTC/USDT:USDT); "
            "set market.trading_mode to spot or load futures candles"
        )
    if trading_mode == "spot" and settle:
        raise DataError(f"pair {pair!r} is a future; set market.trading_mode to futures or load spot candles")
    return base, quote, settle or None


def _market(pair: str, rows: pd.DataFrame, *, fee: float, trading_mode: str) -> dict:
    base, quote, settle = split_pair(pair, trading_mode)
    decimals = max(int(price_decimals(rows[column].to_numpy()).max()) for column in ("open", "high", "low", "close"))
    tick, step = _power_of_ten(-min(decimals, FINEST_TICK)), _amount_step(float(rows["close"].max()))
    swap = trading_mode == "futures"
    no_limit = {"min": None, "max": None}
    market = {
        "id": f"{base}{quote}",
        "symbol": pair,
        "base": base,
        "quote": quote,
        "settle": settle,
        "baseId": base,
        "quoteId": quote,
        "settleId": settle,
        "type": "swap" if swap else "spot",
        "subType": "linear" if swap else None,
        "spot": not swap,
        "margin": False,
        "swap": swap,
        "future": False,
        "option": False,
        "index": False,
        "active": True,
        "contract": swap,
        "linear": True if swap else None,
        "inverse": False if swap else None,
        "contractSize": 1.0 if swap else None,
        "taker": fee,
        "maker": fee,
        "percentage": True,
        "tierBased": False,
        "expiry": None,
        "expiryDatetime": None,
        "strike": None,
        "optionType": None,
        "created": None,
        "precision": {"amount": step, "price": tick},
        "limits": {
            "leverage": no_limit,
            "amount": {"min": step, "max": None},
            "price": {"min": tick, "max": None},
            "cost": {"min": MIN_COST, "max": None},
        },
        "info": {},
    }
    return market | {"leverageTiers": leverage_tiers(pair)} if swap else market


def _amount_step(price: float) -> float:
    if not (math.isfinite(price) and price > 0):
        raise DataError(f"candles: the highest close must be a positive number, found {price}; mend the candles first")
    return min(1.0, _power_of_ten(math.floor(math.log10(STEP_WORTH / price))))


def _power_of_ten(exponent: int) -> float:
    return float(f"1e{exponent}")
