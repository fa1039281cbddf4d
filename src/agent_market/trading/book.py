"""A market as arrays, made once for any number of backtests, and the signals of a backtest on its grid."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.trading.kernels.layout import HIGH, LOW, TERMS, WORD, Market
from agent_market.trading.window import PRICES, milliseconds

HOUR = pd.Timedelta("1h")
FUNDING = ["funding_rate", "mark_price"]
TIER = ["minNotional", "maxNotional", "maintenanceMarginRate", "maxLeverage", "maintAmt"]


@dataclass(frozen=True)
class MarketArrays:
    """Candles of all pairs on one dense grid of dates, with ticks, steps, limits, leverage tiers and funding.

    Made once by `prepare_market`; any number of backtests may read it at the same time.
    """

    pairs: list[str]
    dates: pd.DatetimeIndex
    step: pd.Timedelta
    first: np.ndarray  # (pairs,) int64: number of each pair's first candle
    arrays: Market

    @property
    def shape(self) -> tuple[int, int]:
        """Candles and pairs of the grid."""
        return len(self.dates), len(self.pairs)

    @property
    def trading_mode(self) -> str:
        """`spot` or `futures`."""
        return "futures" if self.arrays.is_futures else "spot"

    @property
    def minutes(self) -> int:
        """Length of a candle."""
        return int(self.step // pd.Timedelta("1min"))


def prepare_market(
    candles: pd.DataFrame,
    markets: dict[str, dict],
    *,
    step: pd.Timedelta,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
) -> MarketArrays:
    """The market that `candles` and `markets` describe, from the first to the last of the candles' dates.

    Parameters
    ----------
    candles
        pair, date, open, high, low, close, checked and on a grid of `step`, as `select_window` gives them. A hole
        repeats the last close. Pairs are in alphabetical order, which is the order of priority.
    funding
        pair, date, funding_rate, mark_price; counted in futures only.

    Raises
    ------
    DataError
        Candles, markets or funding lack something that freqtrade's rules need.
    """
    pairs = sorted(candles["pair"].unique())
    dates = pd.date_range(candles["date"].min(), candles["date"].max(), freq=step, unit="ms")
    dense, first, last = _dense_candles(candles, pairs, dates, step)
    calendar = dates.tz_localize(None).to_numpy()
    months = calendar.astype("datetime64[M]").astype("int64")
    is_futures = trading_mode == "futures"
    tiers = [_tiers(markets[pair]) if is_futures else np.empty((0, len(TIER))) for pair in pairs]
    fundings = _fundings(funding if is_futures else None, pairs, dates, step)
    terms = np.zeros(len(pairs), dtype=TERMS)
    terms["last"] = last
    for name, tables in (("tier", tiers), ("funding", fundings)):
        ends = np.cumsum([len(table) for table in tables])
        terms[f"{name}_from"], terms[f"{name}_stop"] = ends - [len(table) for table in tables], ends
    for number, pair in enumerate(pairs):
        _set_terms(terms[number], pair, markets[pair], is_futures=is_futures)
    defaults = [_required(markets[pair], pair, "price") for pair in pairs]
    days = calendar.astype("datetime64[D]").astype("int64")
    arrays = Market(
        candles=dense,
        closes=_closes(dense, last),
        ranges=_ranges(dense),
        day_ends=np.append(np.flatnonzero(np.diff(days)), len(days) - 1),
        month_ends=_month_ends(months - months[0]),
        terms=terms,
        ticks=_ticks(dense, first, last, months - months[0], defaults),
        tiers=np.concatenate(tiers),
        fundings=np.concatenate(fundings),
        alive=_alive(first, last, len(dates)),
        is_futures=is_futures,
    )
    return MarketArrays(pairs, dates, step, first, arrays)


def _dense_candles(
    candles: pd.DataFrame, pairs: list[str], dates: pd.DatetimeIndex, step: pd.Timedelta
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dense = np.zeros((len(pairs), len(dates), len(PRICES)))
    first, last = np.zeros(len(pairs), dtype="int64"), np.zeros(len(pairs), dtype="int64")
    pair = pair_numbers(candles["pair"], pairs)
    since = milliseconds(candles["date"]) - dates.asi8[0]
    row = since // (step // pd.Timedelta("1ms"))
    dense[pair, row] = candles[PRICES].to_numpy(dtype="float64")
    for number in range(len(pairs)):
        own = row[pair == number]
        first[number], last[number] = own.min(), own.max()
        _fill_holes(dense[number, first[number] : last[number] + 1])
    return dense, first, last


def pair_numbers(pair: pd.Series, pairs: list[str]) -> np.ndarray:
    """The number of each row's pair among `pairs`, -1 for another one."""
    pair = pair.astype("category")
    return pd.Index(pairs).get_indexer(pair.cat.categories.astype("str"))[pair.cat.codes]


def _closes(dense: np.ndarray, last: np.ndarray) -> np.ndarray:
    closes = np.ascontiguousarray(dense[:, :, -1])
    for pair, number in enumerate(last):
        closes[pair, number + 1 :] = closes[pair, number]
    return closes


def _ranges(dense: np.ndarray) -> np.ndarray:
    """The lowest low and the highest high of each word of candles, (pairs, words, 2), where there are prices."""
    starts = np.arange(0, dense.shape[1], WORD)
    low = np.where(dense[:, :, LOW] > 0.0, dense[:, :, LOW], np.inf)
    lowest = np.minimum.reduceat(low, starts, axis=1)
    return np.stack([lowest, np.maximum.reduceat(dense[:, :, HIGH], starts, axis=1)], axis=2)


def _month_ends(month: np.ndarray) -> np.ndarray:
    """The last candle of each month, from the number of each candle's month."""
    return np.searchsorted(month, np.arange(month[-1] + 1), side="right") - 1


def _alive(first: np.ndarray, last: np.ndarray, n_candles: int) -> np.ndarray:
    """Bits of the candles at which each pair may be entered: from its second on, and not at the window's last."""
    candle = np.arange(-(-n_candles // WORD) * WORD)
    return to_words((candle > first[:, None]) & (candle <= last[:, None]) & (candle < n_candles - 1))


def to_words(flags: np.ndarray) -> np.ndarray:
    """Flags (pairs, candles), a multiple of WORD, as bits: (words, pairs) int64."""
    return np.ascontiguousarray(np.packbits(flags, axis=1, bitorder="little").view("<i8").T)


def _fill_holes(rows: np.ndarray) -> None:
    """Give the rows that have no prices the last close before them, four times."""
    missing = rows[:, 0] == 0.0
    if missing.any():
        known = np.maximum.accumulate(np.where(missing, 0, np.arange(len(rows))))
        rows[missing] = rows[known[missing], -1][:, None]


def _ticks(
    dense: np.ndarray, first: np.ndarray, last: np.ndarray, month: np.ndarray, defaults: list[float]
) -> np.ndarray:
    """The price tick of each pair and month, (pairs, months, 2): unit and places.

    As freqtrade derives it: one unit of the last decimal that any price of the month uses. A month of whole numbers
    keeps the tick of the month before, and `defaults` (the markets' own ticks) before the first month that tells.
    """
    from agent_market.trading.kernels.decimals import monthly_decimals

    n_months = int(month[-1]) + 1
    ticks = np.empty((len(dense), n_months, 2))
    for pair, default in enumerate(defaults):
        decimals = np.zeros(n_months, dtype="int64")
        monthly_decimals(dense[pair], first[pair], last[pair], month, decimals)
        tick = _fraction(default)
        for number in range(n_months):
            if decimals[number] > 0:
                tick = (1.0, int(decimals[number]))
            ticks[pair, number] = tick
    return ticks


def _fraction(number: float) -> tuple[float, int]:
    """A tick or step as (whole number, decimals): 0.25 is (25, 2)."""
    _, digits, exponent = Decimal(repr(float(number))).normalize().as_tuple()
    whole = float("".join(map(str, digits)))
    return (whole, -exponent) if exponent < 0 else (whole * 10**exponent, 0)


def _required(market: dict, pair: str, name: str) -> float:
    step = market.get("precision", {}).get(name)
    if step is None or not step > 0:
        raise DataError(
            f"market snapshot: precision.{name} of {pair} is {step}; expected the {name} step, a number above 0"
        )
    return float(step)


def _set_terms(terms: np.void, pair: str, market: dict, *, is_futures: bool) -> None:
    """The amount step and the limits of one pair."""
    contract = float(market.get("contractSize") or 1.0) if is_futures else 1.0
    terms["contract"] = contract
    terms["step_unit"], terms["step_places"] = _fraction(_required(market, pair, "amount"))
    size = Decimal(repr(contract))
    for side, end, none in (("least", "min", 0.0), ("most", "max", np.inf)):
        for kind in ("cost", "amount"):
            limit = market.get("limits", {}).get(kind, {}).get(end)
            terms[f"{side}_{kind}"] = none if limit is None else float(Decimal(repr(float(limit))) * size)


def _tiers(market: dict) -> np.ndarray:
    tiers = market.get("leverageTiers")
    pair = market["symbol"]
    if not tiers:
        raise DataError(f"market snapshot: {pair} has no leverageTiers; build the snapshot for futures")
    unlimited = {"maxNotional": np.inf}
    rows = [[unlimited.get(name) if tier[name] is None else tier[name] for name in TIER] for tier in tiers]
    table = np.array(rows, dtype="float64")
    if np.isnan(table).any() or table[0, 0] != 0 or (table[:, 3] < 1).any():
        raise DataError(
            f"market snapshot: leverageTiers of {pair} need {', '.join(TIER)} as numbers, the first from a notional "
            "of 0, all with a maxLeverage of at least 1"
        )
    return table


def _fundings(
    funding: pd.DataFrame | None, pairs: list[str], dates: pd.DatetimeIndex, step: pd.Timedelta
) -> list[np.ndarray]:
    """When (in candles from the first) and fee per unit of base currency of each pair, in order of time."""
    if funding is None or funding.empty:
        return [np.empty((0, 2))] * len(pairs)
    rows = funding[funding["pair"].isin(pairs)].astype({"pair": "str"}).sort_values(["pair", "date"])
    for bad, what in (
        (rows["date"] != rows["date"].dt.floor(HOUR), "is not on the full hour; round its date down"),
        (~np.isfinite(rows[FUNDING]).all(axis=1), "lacks the rate or the mark price; drop the row"),
        (rows.duplicated(["pair", "date"]), "is there more than once; keep one row"),
    ):
        if bad.any():
            row = rows[bad].iloc[0]
            raise DataError(f"funding_rates: the funding of {row['pair']} at {row['date']} {what}")
    beat = min(step, HOUR)
    if len(rows) and (HOUR % beat != pd.Timedelta(0) or dates[0] != dates[0].floor(beat)):
        raise DataError(
            f"funding_rates: candles of {step} from {dates[0]} on miss the full hour, at which funding is paid; "
            "choose a market.timeframe that divides an hour or is a multiple of it"
        )
    when = (rows["date"] - dates[0]) / step
    table = np.column_stack([when, rows["funding_rate"] * rows["mark_price"]])
    return [table[(rows["pair"] == pair).to_numpy()] for pair in pairs]
