"""What a backtest acts on, on the grid of a market: signals as words of bits, or scores that levels make signals of."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.trading.book import MarketArrays, pair_numbers, to_words
from agent_market.trading.kernels.layout import ASK, LEAVE, STAND, WORD, Signals
from agent_market.trading.signals import SIGNALS
from agent_market.trading.window import milliseconds

NO_SIZES = np.empty((0, 0))


def pack_signals(
    market: MarketArrays,
    enter_long: np.ndarray,
    exit_long: np.ndarray,
    enter_short: np.ndarray | None = None,
    exit_short: np.ndarray | None = None,
    *,
    size: np.ndarray | None = None,
) -> Signals:
    """Signals given as arrays, as `run_arrays` takes them.

    Parameters
    ----------
    enter_long, exit_long, enter_short, exit_short
        bool of shape (candles, pairs), on the dates and pairs of `market`, decided at the close of the candle; as
        levels, not events. Shorts in futures only.
    size
        float64 of the same shape, from 0 to 1: the part of a full stake that an entry takes; None: 1.

    Raises
    ------
    DataError, ParameterError
        An array has another shape or type, a size is out of range, or shorts are asked for in spot.
    """
    if (enter_short is None) != (exit_short is None):
        raise ParameterError("pass enter_short and exit_short together, or neither")
    if enter_short is not None and not market.arrays.is_futures:
        raise ParameterError("enter_short and exit_short need market.trading_mode futures; leave them out in spot")
    given = (enter_long, exit_long, enter_short, exit_short)
    words = [
        _no_words(market) if flags is None else _acting_words(_checked(flags, name, market, "bool"), market)
        for name, flags in zip(SIGNALS, given, strict=True)
    ]
    if size is None:
        return Signals(_planes(words, market), NO_SIZES)
    size = _checked(size, "size", market, "float64")
    if not ((size >= 0.0) & (size <= 1.0)).all():
        raise DataError("size must lie from 0 to 1, the part of a full stake that an entry takes")
    return Signals(_planes(words, market), np.vstack([np.zeros_like(size[:1]), size[:-1]]))


def pack_scores(market: MarketArrays, scores: np.ndarray) -> np.ndarray:
    """Scores (candles, pairs), known at the close of the candle, as the kernel compares them: (pairs, words, WORD).

    A missing score is NaN. Each stands at the candle that acts on it.
    """
    grid = np.full(_grid(market), np.nan)
    grid[:, 1 : len(scores)] = _checked(scores, "scores", market, "float64")[:-1].T
    return grid.reshape(len(market.pairs), -1, WORD)


def prepare_signals(signals: pd.DataFrame, market: MarketArrays) -> Signals:
    """The checked signals of one model on the market's grid; a candle without a row is flat."""
    acting, pair, is_inside = _places(signals, market)
    place = pair[is_inside], acting[is_inside]
    asked = {name: signals[name].to_numpy(dtype="bool") for name in SIGNALS}
    words = []
    for name, flags in asked.items():
        grid = np.full(_grid(market), name.startswith("exit"))
        grid[place] = flags[is_inside]
        words.append(to_words(grid))
    size = signals["size"].to_numpy(dtype="float64")
    enters = is_inside & (asked["enter_long"] | asked["enter_short"])
    if (size[enters] == 1.0).all():
        return Signals(_planes(words, market), NO_SIZES)
    sizes = np.zeros(market.shape)
    sizes[acting[enters], pair[enters]] = size[enters]
    return Signals(_planes(words, market), sizes)


def prepare_scores(scores: pd.DataFrame, market: MarketArrays) -> np.ndarray:
    """Scores (pair, date, prediction) as `pack_scores` makes them of an array; NaN where there is none."""
    grid = np.full(_grid(market), np.nan)
    acting, pair, is_inside = _places(scores, market)
    grid[pair[is_inside], acting[is_inside]] = scores["prediction"].to_numpy(dtype="float64")[is_inside]
    return grid.reshape(len(market.pairs), -1, WORD)


def empty_signals(market: MarketArrays) -> Signals:
    """Room for the signals of one backtest."""
    return Signals(_planes([_no_words(market)] * len(SIGNALS), market), NO_SIZES)


def _grid(market: MarketArrays) -> tuple[int, int]:
    """Pairs, and candles with the last word of them filled up."""
    return len(market.pairs), len(market.arrays.alive) * WORD


def _no_words(market: MarketArrays) -> np.ndarray:
    return np.zeros_like(market.arrays.alive)


def _checked(values: np.ndarray, name: str, market: MarketArrays, dtype: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != market.shape or values.dtype != dtype:
        raise DataError(
            f"{name} is {values.dtype} of shape {values.shape}; expected {dtype} of shape {market.shape}: the candles "
            "and pairs of the market"
        )
    return values


def _acting_words(flags: np.ndarray, market: MarketArrays) -> np.ndarray:
    """Flags (candles, pairs) as bits of the candles that act on them: (words, pairs) int64.

    Of many pairs a kernel makes them, which need not turn the array round first.
    """
    words = np.zeros_like(market.arrays.alive)
    if flags.shape[1] > 1:
        from agent_market.trading.kernels.signals import words_of_flags

        words_of_flags(np.ascontiguousarray(flags), words, WORD)
        return words
    packed = np.packbits(flags[:-1, 0], bitorder="little")
    words[:, 0].view("uint8")[: len(packed)] = packed
    acting = words.view("uint64") << np.uint64(1)
    acting[1:] |= words.view("uint64")[:-1] >> np.uint64(WORD - 1)
    return acting.view("int64")


def _planes(words: list[np.ndarray], market: MarketArrays) -> np.ndarray:
    """The planes of `kernels.layout.Signals` of words (words, pairs) in the order of SIGNALS."""
    enter_long, exit_long, enter_short, exit_short = words
    alive = market.arrays.alive
    sides = [(enter_long, exit_long, enter_short), (enter_short, exit_short, enter_long)]
    planes = np.zeros((1 + market.arrays.is_futures, 3, alive.shape[0], alive.shape[1] + 1), dtype="int64")
    for plane, (enters, exits, enters_other) in zip(planes, sides, strict=False):
        plane[LEAVE, :, :-1] = exits & ~enters
        plane[STAND, :, :-1] = enters
        plane[ASK, :, :-1] = enters & ~exits & ~enters_other & alive
    planes[0, ASK, :, -1] = np.bitwise_or.reduce(planes[:, ASK, :, :-1], axis=(0, 2))
    return planes


def _places(rows: pd.DataFrame, market: MarketArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The candle that acts on each row, the row's pair, and whether the pair has both candles."""
    since = milliseconds(rows["date"]) - market.dates.asi8[0]
    step = market.step // pd.Timedelta("1ms")
    if (since % step != 0).any():
        row = rows.iloc[int(np.argmax(since % step != 0))]
        raise DataError(
            f"{row['pair']} at {row['date']} is not the date of a candle; decisions carry the open time of the "
            "candle at whose close they were made"
        )
    pair = pair_numbers(rows["pair"], market.pairs)
    acting = since // step + 1
    is_inside = (pair >= 0) & (acting > market.first[pair]) & (acting <= market.arrays.terms["last"][pair])
    return acting, pair, is_inside
