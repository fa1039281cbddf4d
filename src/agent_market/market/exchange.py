"""Candles of a real exchange: fetched by freqtrade, kept as freqtrade keeps them, each span asked for once."""

import difflib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.market.datadir import read_datadir
from agent_market.market.options import MarketOptions, utc
from agent_market.market.pairs import shorten, unknown_pair
from agent_market.market.stored import Series, merge, read_notes, read_series, write_notes, write_series

if TYPE_CHECKING:
    from freqtrade.exchange import Exchange

log = logging.getLogger(__name__)

Span = tuple[pd.Timestamp, pd.Timestamp]

WAITS = (1, 2, 5, 10, 20)  # seconds between attempts, beside those that freqtrade makes itself
CHUNK = 100_000  # candles after which a file is written, so that a long download that is cut short goes on from there
SETTLED = pd.Timedelta("1D")  # what an exchange shows of a time longer ago does not grow any more
MOST_HOLES = 20  # how many are asked for again: a market with little trade has more than can be asked for
FUNDING_GAP = pd.Timedelta("8h")  # the longest usual time between two funding rates


def read_exchange(options: MarketOptions) -> pd.DataFrame:
    """Raw candles of an exchange, from `market.start` to before `market.end`: columns as of `read_datadir`.

    What is not yet in the folder (`MarketOptions.folder`) is downloaded into it first, unless `market.offline`.
    A candle that has not ended is left out; one that the exchange does not have is not there.

    Raises ParameterError for an exchange, pair or timeframe that does not exist, and DataError if the exchange
    cannot be reached or has no candles of a pair in this span.
    """
    if not options.offline:
        download(options)
    try:
        candles = read_datadir(options.model_copy(update={"datadir": str(options.folder)}))
    except (DataError, ParameterError) as error:
        if options.offline:
            raise DataError(f"market.offline=true, and what is needed is not stored: {error}") from error
        raise
    start, end = _span(options)
    candles = candles[(candles["date"] >= start) & (candles["date"] < end)].reset_index(drop=True)
    empty = sorted(set(options.pairs) - set(candles["pair"]))
    if empty:
        raise DataError(
            f"{options.exchange} has no {options.timeframe} candles of {shorten(empty)} between market.start "
            f"({start:%Y-%m-%d %H:%M}) and market.end ({end:%Y-%m-%d %H:%M}); correct these or market.pairs"
        )
    return candles


def stored_markets(options: MarketOptions) -> dict[str, dict[str, Any]]:
    """What the exchange said of its pairs when candles were last downloaded, ccxt's markets by pair, from the folder.

    Futures have their `leverageTiers`. Raises DataError for pairs that were never downloaded.
    """
    folder = _series_folder(options)
    markets = read_notes(folder)["markets"]
    missing = [pair for pair in options.pairs if pair not in markets]
    if missing:
        raise DataError(
            f"{folder} has no record of the exchange's rules for {shorten(missing)}, because its candles come from "
            "elsewhere; run once with market.offline=false, or use market.source=freqtrade_datadir"
        )
    return {pair: markets[pair] for pair in options.pairs}


def download(options: MarketOptions) -> None:
    """Bring the folder up to date: all that is not there yet of the pairs, from `market.start` to `market.end`.

    A file holds one unbroken span of what the exchange has, so what lies between old candles and new is fetched too.
    """
    folder = _series_folder(options)
    notes = read_notes(folder)
    with _freqtrade_exchange(options) as exchange:
        plans = [
            _plan(Series(folder, pair, timeframe, kind), notes["asked"], _span(options))
            for pair in options.pairs
            for timeframe, kind in _kinds(exchange, options)
        ]
        if not any(plan.spans for plan in plans) and set(options.pairs) <= set(notes["markets"]):
            log.info("%s: all that is asked for is in %s already", options.exchange, folder)
            return
        markets = _load_markets(exchange, options, plans)
        for plan in plans:
            stored = _update(exchange, plan.series, plan.spans)
            if stored is not None:
                notes["asked"][plan.series.path.name] = _noted(plan, stored)
        tiers = _leverage_tiers(exchange) if options.trading_mode == "futures" else {}
        notes["markets"] |= {pair: _described(markets[pair], tiers) for pair in options.pairs}
        write_notes(folder, notes)


@dataclass(frozen=True)
class _Plan:
    """What to ask for, so that a file holds all from `known[0]` to `known[1]`."""

    series: Series
    known: Span
    spans: list[Span]


def _plan(series: Series, asked: dict[str, dict[str, str]], span: Span) -> _Plan:
    stored = read_series(series)
    ended = pd.Timestamp.now("UTC").floor("ms") - series.step  # what opened later has not ended yet
    start, end = span[0], min(span[1], ended + pd.Timedelta(1, "ms"))
    if stored is None:
        return _Plan(series, (start, end), [(start, end)] if start < end else [])
    first, last = stored["date"].iloc[0], stored["date"].iloc[-1]
    known = first, last + series.step
    note = asked.get(series.path.name)
    if note and (note["first"], note["last"]) == (str(first), str(last)):  # else the file is not the one noted
        to = min(pd.Timestamp(note["to"]), last + _usual_gap(series))  # nothing for longer is asked for again
        known = min(first, pd.Timestamp(note["from"])), max(known[1], to)
    spans = [(start, first)] if start < known[0] else []
    if end > known[1]:
        spans.append((last, end))  # the last one again: who wrote it may have seen it unfinished
    return _Plan(series, (min(start, known[0]), max(end, known[1])), spans)


def _noted(plan: _Plan, stored: pd.DataFrame) -> dict[str, str]:
    """The span that has been asked for, as far as the answer will not change any more."""
    first, last = stored["date"].iloc[0], stored["date"].iloc[-1]
    settled = pd.Timestamp.now("UTC").floor("ms") - SETTLED
    to = max(last + plan.series.step, min(plan.known[1], settled))
    return {"from": str(plan.known[0]), "to": str(to), "first": str(first), "last": str(last)}


def _update(exchange: "Exchange", series: Series, spans: list[Span]) -> pd.DataFrame | None:
    """What the series' file holds after the spans have been fetched into it, piece by piece."""
    stored = read_series(series)
    before = 0 if stored is None else len(stored)
    for start, end in spans:
        pieces = _pieces(start, end, CHUNK * series.step)
        earlier = stored is not None and end <= stored["date"].iloc[0]
        for piece in reversed(pieces) if earlier else pieces:  # never a hole of our making, wherever it ends
            fetched = _fetch_whole(exchange, series, piece, is_new=stored is None or earlier)
            if len(fetched):
                stored = merge(stored, fetched)
                write_series(series, stored)
    if stored is None and series.kind in ("spot", "futures"):
        raise DataError(
            f"{exchange.id} has no candles of {series.pair} in the span asked for; correct market.start and "
            "market.end, or leave the pair out of market.pairs"
        )
    rows = 0 if stored is None else len(stored)
    log.info("%s: %d rows stored, %d of them new", series, rows, rows - before)
    return stored


def _pieces(start: pd.Timestamp, end: pd.Timestamp, length: pd.Timedelta) -> list[Span]:
    edges = [*pd.date_range(start, end, freq=length, inclusive="left"), end]
    return list(pairwise(edges))


def _fetch_whole(exchange: "Exchange", series: Series, span: Span, *, is_new: bool) -> pd.DataFrame:
    """The rows of a span; where some are missing, the exchange has been asked a second time."""
    rows = _fetch(exchange, series, span, is_new=is_new)
    for start, end in _holes(series, rows, span):
        rows = merge(rows, _fetch(exchange, series, (start, end), is_new=is_new and start == span[0]))
    return rows


def _holes(series: Series, rows: pd.DataFrame, span: Span) -> list[Span]:
    """Where rows are missing in the span: the longest ones, as an answer that went missing would leave."""
    usual = _usual_gap(series)
    edges = pairwise([span[0] - usual, *rows["date"], span[1]])
    holes = [(max(before + usual, span[0]), after) for before, after in edges if after - before > usual]
    return sorted(holes, key=lambda hole: hole[0] - hole[1])[:MOST_HOLES]


def _usual_gap(series: Series) -> pd.Timedelta:
    return FUNDING_GAP if series.kind == "funding_rate" else series.step


def _fetch(exchange: "Exchange", series: Series, span: Span, *, is_new: bool) -> pd.DataFrame:
    """One call of freqtrade's downloader, repeated with growing pauses while the exchange fails."""
    from freqtrade.candle_columns import get_candle_columns
    from freqtrade.enums import CandleType
    from freqtrade.exceptions import FreqtradeException, TemporaryError

    start, end = span
    kind = CandleType.from_string(series.kind)
    for wait in (*WAITS, None):
        try:
            rows = exchange.get_historic_ohlcv(
                pair=series.pair,
                timeframe=series.timeframe,
                since_ms=_milliseconds(start),
                candle_type=kind,
                is_new_pair=is_new,
                # two candles more: freqtrade leaves out the last one that it gets, which may be unfinished
                until_ms=_milliseconds(end + 2 * series.step),
            )
        except TemporaryError as error:
            if wait is None:
                raise DataError(
                    f"{series} cannot be downloaded from {exchange.id}: {error} What came before is stored: run "
                    "again to go on from there"
                ) from error
            log.warning("%s: %s Trying again in %d s", series, error, wait)
            time.sleep(wait)
        except FreqtradeException as error:
            raise DataError(f"{series} cannot be downloaded from {exchange.id}: {error}") from error
        else:
            rows = rows[get_candle_columns(kind)].assign(date=pd.to_datetime(rows["date"], utc=True).dt.as_unit("ms"))
            return rows[(rows["date"] >= start) & (rows["date"] < end)]
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _freqtrade_exchange(options: MarketOptions) -> Iterator["Exchange"]:
    """freqtrade's exchange of that name; no request has been sent yet, and what freqtrade logs is not shown."""
    import ccxt
    from freqtrade.enums import RunMode
    from freqtrade.exceptions import FreqtradeException
    from freqtrade.resolvers import ExchangeResolver

    if options.exchange not in ccxt.exchanges:
        near = difflib.get_close_matches(options.exchange, ccxt.exchanges, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "it must be a name that ccxt knows, such as binance"
        raise ParameterError(f"market.exchange is {options.exchange!r}; {hint}")
    futures = options.trading_mode == "futures"
    config = {
        "dry_run": True,
        "runmode": RunMode.UTIL_EXCHANGE,
        "trading_mode": options.trading_mode,
        "margin_mode": "isolated" if futures else "",
        "stake_currency": "",
        "datadir": options.folder,
        "exchange": {
            "enable_ws": False,
            **deepcopy(options.exchange_options),
            "name": options.exchange,
            "pair_whitelist": list(options.pairs),
            "pair_blacklist": [],
        },
    }
    with _hushed():
        try:
            exchange = ExchangeResolver.load_exchange(config, validate=False)
            exchange.validate_trading_mode_and_margin_mode(exchange.trading_mode, None, allow_none_margin_mode=True)
            exchange.validate_timeframes(options.timeframe)
        except FreqtradeException as error:
            raise ParameterError(
                f"market.exchange={options.exchange} does not go with market.trading_mode={options.trading_mode} or "
                f"market.timeframe={options.timeframe}: {error}"
            ) from error
        if not exchange.get_option("ohlcv_has_history", True):
            raise ParameterError(
                f"{options.exchange} has no history of candles to download, only trades; take another market.exchange"
            )
        try:
            yield exchange
        finally:
            exchange.close()


def _kinds(exchange: "Exchange", options: MarketOptions) -> list[tuple[str, str]]:
    """Timeframe and kind of each series that a pair needs: futures have mark prices and funding rates, too."""
    if options.trading_mode == "spot":
        return [(options.timeframe, "spot")]
    mark = exchange.get_option("mark_ohlcv_timeframe"), exchange.get_option("mark_ohlcv_price")
    kinds = [(options.timeframe, "futures"), mark, (exchange.get_option("funding_fee_timeframe"), "funding_rate")]
    return list(dict.fromkeys(kinds))


def _load_markets(exchange: "Exchange", options: MarketOptions, plans: list[_Plan]) -> dict[str, dict]:
    """All markets of the exchange that can be traded in this mode; raises unless all pairs are among them."""
    for wait in (*WAITS, None):
        with _hushed() as reasons:
            exchange.reload_markets(force=True, load_leverage_tiers=False)
        if not reasons:
            break
        if wait is None:
            stored = all(plan.series.path.exists() for plan in plans)
            hint = f"; {options.folder} has candles of all pairs: market.offline=true uses these" if stored else ""
            raise DataError(
                f"{options.exchange} cannot be reached: {str(reasons[-1]).rstrip('.')}. Check the network and "
                f"market.exchange_options{hint}"
            )
        log.warning("%s: %s Trying again in %d s", options.exchange, reasons[-1], wait)
        time.sleep(wait)
    markets = exchange.get_markets(tradable_only=True)
    for pair in options.pairs:
        if pair not in markets:
            raise unknown_pair(pair, markets, f"{options.exchange} ({options.trading_mode})")
    return markets


def _leverage_tiers(exchange: "Exchange") -> dict[str, list]:
    """The leverage that the exchange allows by the size of a position, by pair; Binance's come with freqtrade."""
    from freqtrade.exceptions import FreqtradeException

    try:
        tiers = exchange.load_leverage_tiers()
    except FreqtradeException as error:
        log.warning("%s does not tell its leverage tiers: %s Backtests take usual ones", exchange.id, error)
        return {}
    return {pair: [exchange.parse_leverage_tier(tier) for tier in of_pair] for pair, of_pair in tiers.items()}


def _described(market: dict[str, Any], tiers: dict[str, list]) -> dict[str, Any]:
    """A market as ccxt has it, without the exchange's own words, and with its leverage tiers if they are known."""
    described = {name: value for name, value in market.items() if name != "info"}
    if market["symbol"] in tiers:
        described["leverageTiers"] = tiers[market["symbol"]]
    return json.loads(json.dumps(described))


@contextmanager
def _hushed() -> Iterator[list[str]]:
    """freqtrade logs nothing; the list has the reasons of the errors that it would have logged."""
    logger = logging.getLogger("freqtrade")
    listener = _Listener()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        yield listener.reasons
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.reasons.append(str(record.exc_info[1]) if record.exc_info else record.getMessage())


def _series_folder(options: MarketOptions) -> Path:
    return options.folder / "futures" if options.trading_mode == "futures" else options.folder


def _span(options: MarketOptions) -> Span:
    """From `market.start` to before `market.end`, or now."""
    end = pd.Timestamp.now("UTC") if options.end is None else utc(options.end)
    start = utc(options.start)
    if start >= end:
        raise ParameterError(f"market.start={options.start} is not before market.end={options.end or 'now'}")
    return start, end


def _milliseconds(date: pd.Timestamp) -> int:
    return int(date.timestamp() * 1000)
