"""The market snapshot: fees, ticks, steps and limits per pair, kept with the candles so that runs repeat."""

import math

import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.trading.precision import price_decimals

TRADING_MODES = ("spot", "futures")
MIN_COST = 5.0  # stake currency, as on the large exchanges
FINEST_TICK = 10  # decimals; freqtrade trades no market whose tick is 1e-11 or less
STEP_WORTH = 0.1  # an amount step is worth at most this much stake currency: 1e-5 of a stake of 10,000


def snapshot_markets(candles: pd.DataFrame, *, fee: float, trading_mode: str) -> dict[str, dict]:
    """One ccxt-shaped market per pair of `candles`, derived from the candles alone and JSON-serialisable.

    The price tick is one unit of the last decimal that any price of the pair uses. The amount step is the
    largest power of ten, at most 1, that is worth no more than 0.1 of the quote currency at the highest
    close. `fee` is a fraction per side. Futures are linear swaps with a contract size of 1.

    Raises ParameterError for an unknown trading mode and DataError for a pair that does not fit it.
    """
    check_trading_mode(trading_mode)
    return {
        str(pair): _market(str(pair), rows, fee=fee, trading_mode=trading_mode)
        for pair, rows in candles.groupby("pair", observed=True, sort=True)
    }


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
    return {
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


def _amount_step(price: float) -> float:
    if not (math.isfinite(price) and price > 0):
        raise DataError(f"candles: the highest close must be a positive number, found {price}; mend the candles first")
    return min(1.0, _power_of_ten(math.floor(math.log10(STEP_WORTH / price))))


def _power_of_ten(exponent: int) -> float:
    return float(f"1e{exponent}")
