"""What an exchange shows of its candles at a point in time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.options import timeframe_delta

Key = tuple[str, str, str]
"""Pair, timeframe and kind: spot, futures, mark or funding_rate."""

PRICES = ["open", "high", "low", "close"]
FILE_NAME = re.compile(r"(?P<pair>[\w-]+)-(?P<timeframe>\d+[a-zA-Z]{1,2})(-(?P<kind>\w+))?")
FUNDING_HOURS = 8
USUAL_FUNDING = 0.0001  # where no rates are given
STEP_WORTH = 0.1  # an amount step is worth at most this much quote currency
LEVEL_WORTH = 1e6  # of each level of the order book, quote currency


@dataclass(frozen=True)
class Series:
    """Candles as arrays, sorted by date."""

    dates: np.ndarray  # (n,) int64, open times, milliseconds
    values: np.ndarray  # (n, 5) open, high, low, close, volume
    step: int  # milliseconds
    decimals: int  # of its prices

    def at(self, now: int) -> np.ndarray:
        """The candle that runs at `now`, as far as it has come, or the last one before it: (6,) with its date."""
        row = np.searchsorted(self.dates, now, "right") - 1
        if row < 0:
            raise LookupError("no candle has opened yet")
        return np.concatenate([[self.dates[row]], self._unfinished(row, now)])

    def page(self, start: int | None, end: int | None, limit: int, now: int) -> list[list]:
        """At most `limit` rows [date, open, high, low, close, volume]: the first from `start` on, or the last."""
        stop = np.searchsorted(self.dates, now if end is None else min(end, now), "right")
        begin = max(0, stop - limit) if start is None else np.searchsorted(self.dates, start)
        rows = range(begin, min(stop, begin + limit))
        return [[int(self.dates[row]), *self._unfinished(row, now)] for row in rows]

    def _unfinished(self, row: int, now: int) -> np.ndarray:
        """The candle as it stands at `now`: price and volume move evenly from its open to its end."""
        values = self.values[row]
        done = (now - self.dates[row]) / self.step
        if done >= 1:
            return values
        prices = np.round(values[0] + done * (values[:4] - values[0]), self.decimals)
        return np.append(prices, done * values[4])


class Quotes:
    """All that a fake exchange knows: candles of pairs, their mark prices and their funding rates.

    Futures pairs without mark candles have those of the pair itself, without rates the usual one every 8 hours.
    """

    def __init__(self, candles: Mapping[Key, pd.DataFrame]) -> None:
        self._series: dict[Key, Series] = {}
        self._funding: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.pairs: dict[tuple[str, str], str] = {}  # (symbol such as BTCUSDT, spot or futures) -> pair
        for (pair, timeframe, kind), frame in candles.items():
            if kind == "funding_rate":
                self._funding[pair] = _milliseconds(frame), frame.get("funding_rate", frame.get("open")).to_numpy()
            else:
                self._series[pair, timeframe, kind] = _series(frame, timeframe)
            if kind in ("spot", "futures"):
                self.pairs[pair.partition(":")[0].replace("/", ""), kind] = pair
        for (pair, timeframe, kind), series in list(self._series.items()):
            if kind == "futures":
                self._series.setdefault((pair, timeframe, "mark"), series)
                self._funding.setdefault(pair, _usual_funding(series))

    @property
    def longest_step(self) -> int:
        """The longest timeframe, milliseconds."""
        return max(series.step for series in self._series.values())

    def candles(self, pair: str, timeframe: str, kind: str) -> Series:
        """The candles of a pair; LookupError if there are none."""
        return self._series[pair, timeframe, kind]

    def finest(self, pair: str, kind: str) -> Series:
        """The candles of a pair's shortest timeframe."""
        of_pair = [series for (name, _, its_kind), series in self._series.items() if (name, its_kind) == (pair, kind)]
        return min(of_pair, key=lambda series: series.step)

    def funding(self, pair: str, start: int | None, end: int | None, limit: int, now: int) -> list[tuple[int, float]]:
        """At most `limit` pairs of date and rate: the first from `start` on, or the last."""
        dates, rates = self._funding[pair]
        stop = np.searchsorted(dates, now if end is None else min(end, now), "right")
        begin = max(0, stop - limit) if start is None else np.searchsorted(dates, start)
        return [(int(dates[row]), float(rates[row])) for row in range(begin, min(stop, begin + limit))]

    def precision(self, pair: str, kind: str) -> tuple[float, float]:
        """Price tick and amount step of a pair."""
        series = self.finest(pair, kind)
        return 10.0**-series.decimals, _amount_step(series.values[:, 3].max())

    def book(self, pair: str, kind: str, levels: int, now: int) -> tuple[list, list]:
        """Bids and asks [price, amount]: bids from the last price down, asks from one tick above it up."""
        series = self.finest(pair, kind)
        last, tick = series.at(now)[4], 10.0**-series.decimals
        bids = [last - level * tick for level in range(levels)]
        asks = [last + (level + 1) * tick for level in range(levels)]
        return _levels([price for price in bids if price > 0], series.decimals), _levels(asks, series.decimals)


def load_datadir(datadir: Path) -> dict[Key, pd.DataFrame]:
    """All feather files of a freqtrade data folder of one exchange, with its folder `futures`."""
    candles: dict[Key, pd.DataFrame] = {}
    for path in sorted([*datadir.glob("*.feather"), *datadir.glob("futures/*.feather")]):
        name = FILE_NAME.fullmatch(path.stem)
        if name:
            pair = name["pair"].replace("_", "/", 1).replace("_", ":", 1)
            candles[pair, name["timeframe"], name["kind"] or "spot"] = pd.read_feather(path)
    if not candles:
        raise FileNotFoundError(f"no candle files such as BTC_USDT-1h.feather in {datadir}")
    return candles


def _series(frame: pd.DataFrame, timeframe: str) -> Series:
    values = frame[[*PRICES, "volume"]].to_numpy(dtype="float64")
    step = timeframe_delta(timeframe) // pd.Timedelta(1, "ms")
    return Series(_milliseconds(frame), values, step, _decimals(values[:, :4]))


def _milliseconds(frame: pd.DataFrame) -> np.ndarray:
    return frame["date"].dt.as_unit("ms").astype("int64").to_numpy()


def _decimals(prices: np.ndarray) -> int:
    """The fewest decimals that all prices can be written with, at most 8 as on Binance."""
    return next((count for count in range(8) if np.array_equal(np.round(prices, count), prices)), 8)


def _amount_step(price: float) -> float:
    return min(1.0, 10.0 ** np.floor(np.log10(STEP_WORTH / price)))


def _levels(prices: list[float], decimals: int) -> list[list[float]]:
    return [[round(price, decimals), LEVEL_WORTH / price] for price in prices]


def _usual_funding(series: Series) -> tuple[np.ndarray, np.ndarray]:
    step = FUNDING_HOURS * 3_600_000
    first = -(-int(series.dates[0]) // step) * step
    dates = np.arange(first, int(series.dates[-1]) + 1, step)
    return dates, np.full(len(dates), USUAL_FUNDING)
