"""Binance's answers, from an exchange's quotes at a moment."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent_market.testing.quotes import Quotes

DAY = 86_400_000
NO_END = 4_133_404_800_000  # the delivery date that Binance gives to perpetual futures
MIN_COST = 5  # quote currency per order

Answer = dict | list


@dataclass(frozen=True)
class Moment:
    """What the exchange knows, and what time it is."""

    quotes: Quotes
    now: int  # by the candles' own dates, milliseconds
    shift: int  # to add to a candle's date before it is shown, milliseconds

    @property
    def shown(self) -> int:
        """What time it is for those who ask."""
        return self.now + self.shift


def _exchange_info(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    symbols = [
        _symbol(symbol, pair, kind, *moment.quotes.precision(pair, kind))
        for (symbol, its_kind), pair in moment.quotes.pairs.items()
        if its_kind == kind
    ]
    return {"timezone": "UTC", "serverTime": moment.shown, "rateLimits": [], "symbols": symbols}


def _symbol(symbol: str, pair: str, kind: str, tick: float, step: float) -> dict[str, Any]:
    base, _, quote = pair.partition(":")[0].partition("/")
    cost = {"filterType": "MIN_NOTIONAL", "notional": str(MIN_COST)}
    if kind == "spot":
        cost = {"filterType": "NOTIONAL", "minNotional": str(MIN_COST), "applyMinToMarket": True}
    contract = {
        "pair": symbol,
        "contractType": "PERPETUAL",
        "marginAsset": quote,
        "deliveryDate": NO_END,
        "onboardDate": 0,
        "underlyingType": "COIN",
    }
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "orderTypes": ["LIMIT", "MARKET", "STOP_LOSS_LIMIT"],
        "timeInForce": ["GTC", "IOC", "FOK"],
        "isSpotTradingAllowed": kind == "spot",
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": _text(tick), "maxPrice": "1000000", "tickSize": _text(tick)},
            {"filterType": "LOT_SIZE", "minQty": _text(step), "maxQty": "10000000", "stepSize": _text(step)},
            cost,
        ],
        **(contract if kind == "futures" else {}),
    }


def _klines(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    series = moment.quotes.candles(_pair(moment, kind, query), query["interval"], query.get("kind", kind))
    rows = series.page(
        _time(moment, query, "startTime"), _time(moment, query, "endTime"), _limit(query, 500), moment.now
    )
    return [
        [date + moment.shift, *map(_text, values), date + moment.shift + series.step - 1, "0", 0, "0", "0", "0"]
        for date, *values in rows
    ]


def _mark_klines(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    return _klines(moment, kind, {**query, "kind": "mark"})


def _funding(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    span = _time(moment, query, "startTime"), _time(moment, query, "endTime")
    rows = moment.quotes.funding(_pair(moment, kind, query), *span, _limit(query, 100), moment.now)
    return [
        {"symbol": query["symbol"], "fundingTime": date + moment.shift, "fundingRate": _text(rate), "markPrice": "0"}
        for date, rate in rows
    ]


def _depth(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    bids, asks = moment.quotes.book(_pair(moment, kind, query), kind, min(_limit(query, 100), 100), moment.now)
    now = moment.shown
    texts = {"bids": [[*map(_text, level)] for level in bids], "asks": [[*map(_text, level)] for level in asks]}
    return {"lastUpdateId": now, **({"E": now, "T": now} if kind == "futures" else {}), **texts}


def _tickers(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    """Of one symbol or of all: the last day, the best bid and ask, and the last price."""
    known = [symbol for symbol, its_kind in moment.quotes.pairs if its_kind == kind]
    tickers = [_ticker(moment, kind, symbol) for symbol in ([query["symbol"]] if "symbol" in query else known)]
    return tickers[0] if "symbol" in query else tickers


def _ticker(moment: Moment, kind: str, symbol: str) -> dict[str, Any]:
    pair, now = _pair(moment, kind, {"symbol": symbol}), moment.now
    series = moment.quotes.finest(pair, kind)
    day = series.page(now - DAY, None, DAY // series.step + 1, now)
    first = day[0][1] if day else series.at(now)[1]
    last, ((bid, bid_amount),), ((ask, ask_amount),) = series.at(now)[4], *moment.quotes.book(pair, kind, 1, now)
    volume, worth = sum(row[5] for row in day), sum(row[5] * row[4] for row in day)
    numbers = {
        "lastPrice": last,
        "price": last,
        "bidPrice": bid,
        "bidQty": bid_amount,
        "askPrice": ask,
        "askQty": ask_amount,
        "openPrice": first,
        "prevClosePrice": first,
        "highPrice": max([row[2] for row in day], default=last),
        "lowPrice": min([row[3] for row in day], default=last),
        "priceChange": last - first,
        "priceChangePercent": (last / first - 1) * 100,
        "weightedAvgPrice": worth / volume if volume else last,
        "volume": volume,
        "quoteVolume": worth,
    }
    times = {"openTime": moment.shown - DAY, "closeTime": moment.shown}
    if kind == "futures":  # ccxt tells a contract's ticker by its key `time`
        times["time"] = times["closeTime"]
    return {"symbol": symbol, **{name: _text(number) for name, number in numbers.items()}, **times}


def _premium(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    known = [symbol for symbol, its_kind in moment.quotes.pairs if its_kind == "futures"]
    rows = []
    for symbol in [query["symbol"]] if "symbol" in query else known:
        pair = _pair(moment, "futures", {"symbol": symbol})
        rates = moment.quotes.funding(pair, None, None, 1, moment.now)
        price = _text(moment.quotes.finest(pair, "mark").at(moment.now)[4])
        rows.append(
            {
                "symbol": symbol,
                "markPrice": price,
                "indexPrice": price,
                "lastFundingRate": _text(rates[-1][1]) if rates else "0",
                "nextFundingTime": (moment.shown // (DAY // 3) + 1) * (DAY // 3),
                "time": moment.shown,
            }
        )
    return rows[0] if "symbol" in query else rows


def _time_now(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    return {"serverTime": moment.shown}


def _nothing(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    return {}


def _empty(moment: Moment, kind: str, query: dict[str, str]) -> Answer:
    return []


ROUTES: dict[str, Callable[[Moment, str, dict[str, str]], Answer]] = {
    "ping": _nothing,
    "time": _time_now,
    "exchangeInfo": _exchange_info,
    "klines": _klines,
    "markPriceKlines": _mark_klines,
    "fundingRate": _funding,
    "fundingInfo": _empty,
    "premiumIndex": _premium,
    "depth": _depth,
    "ticker/24hr": _tickers,
    "ticker/price": _tickers,
    "ticker/bookTicker": _tickers,
    "spot/delist-schedule": _empty,
}


def _pair(moment: Moment, kind: str, query: dict[str, str]) -> str:
    return moment.quotes.pairs[query["symbol"], kind]


def _time(moment: Moment, query: dict[str, str], name: str) -> int | None:
    return int(query[name]) - moment.shift if name in query else None


def _limit(query: dict[str, str], usual: int) -> int:
    return min(int(query.get("limit", usual)), 1500)


def _text(number: float) -> str:
    """The number as Binance writes it: decimal, without an exponent."""
    return format(Decimal(repr(float(number))), "f")
