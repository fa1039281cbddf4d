"""A market as arrays, made once for any number of backtests, and the signals of one backtest on its grid."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.trading.kernels.layout import ENTER_LONG, ENTER_SHORT, EXIT_LONG, EXIT_SHORT, FLAT, TERMS, Market
from agent_market.trading.signals import SIGNALS
from agent_market.trading.window import PRICES, milliseconds

HOUR = pd.Timedelta("1h")
FUNDING = ["funding_rate", "mark_price"]
TIER = ["minNotional", "maxNotional", "maintenanceMarginRate", "maxLeverage", "maintAmt"]
BITS = np.array([ENTER_LONG, EXIT_LONG, ENTER_SHORT, EXIT_SHORT], dtype="uint8")  # in the order of SIGNALS


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
    def minutes(self) -> int:
        """Length of a candle."""
        return int(self.step // pd.Timedelta("1min"))


@dataclass(frozen=True)
class SignalArrays:
    """What one backtest acts on at the open of each candle: decided at the close of the candle before.

    bits: (candles, pairs) uint8, see `kernels.layout`; sizes: (candles, pairs) float64, empty where all are 1;
    next_entry: (candles,) int64, the first candle from each on that some pair may enter at.
    """

    bits: np.ndarray
    sizes: np.ndarray
    next_entry: np.ndarray


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
    arrays = Market(
        candles=dense,
        day=_numbers_from_zero(calendar.astype("datetime64[D]").astype("int64")),
        month=months - months[0],
        terms=terms,
        ticks=_ticks(dense, first, last, months - months[0], defaults),
        tiers=np.concatenate(tiers),
        fundings=np.concatenate(fundings),
        is_futures=is_futures,
    )
    return MarketArrays(pairs, dates, step, first, arrays)


def prepare_signals(signals: pd.DataFrame, market: MarketArrays) -> SignalArrays:
    """The checked signals of one model on the market's grid; a candle without a row is flat."""
    from agent_market.trading.kernels.signals import next_entries

    bits = np.full(market.shape, FLAT, dtype="uint8")
    acting, pair, is_inside = _places(signals, market)
    asked = signals[SIGNALS].to_numpy(dtype="uint8") @ BITS
    bits[acting[is_inside], pair[is_inside]] = asked[is_inside]
    sizes = np.empty((0, 0))
    size = signals["size"].to_numpy(dtype="float64")
    enters = is_inside & ((asked & (ENTER_LONG | ENTER_SHORT)) > 0)
    if (size[enters] != 1.0).any():
        sizes = np.zeros(market.shape)
        sizes[acting[enters], pair[enters]] = size[enters]
    entry = np.empty(len(bits), dtype="int64")
    next_entries(bits, entry)
    return SignalArrays(bits, sizes, entry)


def prepare_scores(scores: pd.DataFrame, market: MarketArrays) -> np.ndarray:
    """Scores (pair, date, prediction) on the market's grid, shifted to the candle that acts on them.

    float64 of shape (candles, pairs); NaN where there is none.
    """
    grid = np.full(market.shape, np.nan)
    acting, pair, is_inside = _places(scores, market)
    grid[acting[is_inside], pair[is_inside]] = scores["prediction"].to_numpy(dtype="float64")[is_inside]
    return grid


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
    pair = _codes(rows["pair"], market.pairs)
    acting = since // step + 1
    is_inside = (pair >= 0) & (acting > market.first[pair]) & (acting <= market.arrays.terms["last"][pair])
    return acting, pair, is_inside


def _dense_candles(
    candles: pd.DataFrame, pairs: list[str], dates: pd.DatetimeIndex, step: pd.Timedelta
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dense = np.zeros((len(pairs), len(dates), len(PRICES)))
    first, last = np.zeros(len(pairs), dtype="int64"), np.zeros(len(pairs), dtype="int64")
    pair = _codes(candles["pair"], pairs)
    since = milliseconds(candles["date"]) - dates.asi8[0]
    row = since // (step // pd.Timedelta("1ms"))
    dense[pair, row] = candles[PRICES].to_numpy(dtype="float64")
    for number in range(len(pairs)):
        own = row[pair == number]
        first[number], last[number] = own.min(), own.max()
        _fill_holes(dense[number, first[number] : last[number] + 1])
    return dense, first, last


def _codes(pair: pd.Series, pairs: list[str]) -> np.ndarray:
    """The number of each row's pair among `pairs`, -1 for another one."""
    pair = pair.astype("category")
    return pd.Index(pairs).get_indexer(pair.cat.categories.astype("str"))[pair.cat.codes]


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


def _numbers_from_zero(days: np.ndarray) -> np.ndarray:
    """Days numbered in order, without gaps (candles may be longer than a day)."""
    return np.cumsum(np.diff(days, prepend=days[:1]) > 0)
