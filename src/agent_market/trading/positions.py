"""Predictions become positions: which pairs to be long, short or out of, decided at each candle's close."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.options import timeframe_delta
from agent_market.trading.custom_rules import follow_rule
from agent_market.trading.options import CustomRule, PositionRule, QuantileRule, SignRule, ThresholdRule, TopKRule

KINDS = ("return", "probability", "position", "score")
DAY = pd.Timedelta(days=1)


def decide_positions(
    predictions: pd.DataFrame,
    rule: PositionRule,
    *,
    allow_short: bool,
    candles: pd.DataFrame | None = None,
    timeframe: str | None = None,
    max_gap: int = 0,
    trading_days: int = 365,
) -> pd.DataFrame:
    """The position that one model's predictions ask for, per pair and candle.

    Parameters
    ----------
    predictions
        One model's out-of-sample predictions: pair, date, prediction, kind. A `probability` is measured
        from 0.5, a `return` or a `score` from 0; a `position` is the model's own decision: clipped to [-1, 1], it takes
        the place of what the rule would say.
    rule
        A rule of `BacktestOptions.positions`. Its `hold` and `target_volatility` follow after any rule.
    allow_short
        Whether negative positions are kept; they become flat otherwise.
    candles
        pair, date, close: those of the predictions and the ones before. Needed by `target_volatility` only.
    timeframe, max_gap
        Length of a candle, needed by `hold` above 1 and by `target_volatility`; and how many missing candles in a row
        `hold` reaches over.
    trading_days
        Days per year of the market's calendar, by which volatility is annualised.

    Returns
    -------
    DataFrame with pair, date and position (float64 in [-1, 1]), one row per prediction, sorted by pair and date. A
    position is decided at the close of `date` from predictions and candles dated up to `date`, and can be traded from
    the next candle's open. Its size is the part of a full stake that is entered with: 1 unless `target_volatility`,
    the model or a rule of your own says otherwise. A missing prediction (NaN) is flat.

    Raises
    ------
    DataError
        The predictions are not those of one model: repeated (pair, date) rows, or a mixed or unknown kind. Candles are
        missing. A rule of your own returns what is no position, or looks into the future.
    ParameterError
        The rule needs candles or the timeframe, and they are not given.
    """
    predictions = predictions.assign(pair=_by_name(predictions["pair"]))
    predictions = predictions.sort_values(["pair", "date"], kind="stable", ignore_index=True)
    if predictions.duplicated(["pair", "date"]).any():
        raise DataError(
            "predictions: a (pair, date) is there more than once; pass the predictions of one model at a time"
        )
    kind = _kind_of(predictions)
    score = predictions["prediction"].astype("float64") - (0.5 if kind == "probability" else 0.0)
    if kind == "position":
        position = score.clip(-1.0, 1.0).fillna(0.0)
    else:
        position = _RULES[type(rule)](score, predictions, rule, allow_short)
    if not allow_short:
        position = position.clip(lower=0.0)
    if rule.hold > 1:
        position = _hold(position, predictions, rule, timeframe, max_gap)
    if rule.target_volatility is not None:
        position = position * _sizes(predictions, rule, candles, timeframe, trading_days)
    return predictions[["pair", "date"]].assign(position=position.to_numpy(dtype="float64"))


def wait_out_gaps(positions: pd.DataFrame, *, timeframe: str, max_gap: int) -> pd.DataFrame:
    """Positions that also say what holds while the market is closed: one row per missing candle of each short gap.

    Engines put stand-ins in the place of missing candles, at whose prices nobody could trade. Over a gap of up to
    `max_gap` missing candles the position before stays, and the one decided at the last close before the gap takes
    its place at the close of the last stand-in: it trades at the first open after the gap. Longer gaps stay as
    they are. One model's pair, date and position, sorted by pair and date.
    """
    step = timeframe_delta(timeframe)
    by_pair = positions.groupby("pair", observed=True)
    missing = (-by_pair["date"].diff(-1) / step - 1).fillna(0).round().astype(int)
    rows = np.where(missing <= max_gap, missing, 0) + 1  # each row itself, and the stand-ins after it
    source = np.repeat(np.arange(len(positions)), rows)
    ahead = np.arange(len(source)) - np.repeat(rows.cumsum() - rows, rows)  # candles after the row's own
    before = by_pair["position"].shift(fill_value=0.0).to_numpy()[source]
    waited = positions.iloc[source].reset_index(drop=True)
    due = ahead == rows[source] - 1
    waited["position"] = np.where(due, waited["position"], before)
    waited["date"] = (waited["date"] + ahead * step).astype(positions["date"].dtype)
    return waited


def annual_volatility(close: pd.Series, *, window: int, timeframe: str, trading_days: int) -> pd.Series:
    """A pair's realised volatility at each candle: fraction per year, float64 with the dates of `close` as its index.

    The standard deviation (ddof 1) of the last `window` simple returns from close to close, the candle's own included,
    times the root of the candles in a year; NaN before there are `window` returns. A year has `trading_days` times as
    many candles as the fullest UTC day so far had, so that nights at which a market is closed do not count; candles
    longer than a day fill the year. `close` has the candles' open times as its index, sorted.
    """
    step = timeframe_delta(timeframe)
    if step > DAY:
        candles_per_year = pd.Series(365.25 * DAY / step, index=close.index)
    else:
        candle_of_day = close.groupby(close.index.floor("D")).cumcount() + 1
        candles_per_year = trading_days * candle_of_day.cummax()
    return close.pct_change().rolling(window).std() * np.sqrt(candles_per_year)


def _sign(score: pd.Series, predictions: pd.DataFrame, rule: SignRule, allow_short: bool) -> pd.Series:
    return pd.Series(np.where(score.abs() > rule.deadband, np.sign(score), 0.0), index=score.index)


def _threshold(score: pd.Series, predictions: pd.DataFrame, rule: ThresholdRule, allow_short: bool) -> pd.Series:
    pair = predictions["pair"]
    return _held(score > rule.enter, score >= rule.exit, pair) - _held(score < -rule.enter, score <= -rule.exit, pair)


def _quantile(score: pd.Series, predictions: pd.DataFrame, rule: QuantileRule, allow_short: bool) -> pd.Series:
    mirrored = round(1 - rule.enter, 12), round(1 - rule.exit, 12)
    enter, exit_, short_enter, short_exit = trailing_quantiles(
        score,
        predictions["date"],
        (rule.enter, rule.exit, *mirrored),
        window=rule.window,
        min_history=rule.min_history,
    ).T
    pair = predictions["pair"]
    long = _held(score > enter, score >= exit_, pair)
    return long - _held(score < short_enter, score <= short_exit, pair)


def _top_k(score: pd.Series, predictions: pd.DataFrame, rule: TopKRule, allow_short: bool) -> pd.Series:
    from agent_market.trading.position_kernels import hold_best

    dates, date = np.unique(_milliseconds(predictions["date"]), return_inverse=True)
    pair = predictions["pair"].cat.codes.to_numpy()
    table = np.full((len(dates), len(predictions["pair"].cat.categories)), np.nan)
    table[date, pair] = score
    keep = rule.keep or rule.k
    n_drop = rule.n_drop or table.shape[1]
    min_score = -np.inf if rule.min_score is None else rule.min_score
    sides = hold_best(table, rule.k, keep, n_drop, min_score, allow_short)
    return pd.Series(sides[date, pair], index=score.index)


def _custom(score: pd.Series, predictions: pd.DataFrame, rule: CustomRule, allow_short: bool) -> pd.Series:
    position = follow_rule(predictions.assign(score=score), rule.rule, rule.options)
    return pd.Series(position, index=score.index)


_RULES = {
    SignRule: _sign,
    ThresholdRule: _threshold,
    QuantileRule: _quantile,
    TopKRule: _top_k,
    CustomRule: _custom,
}


def _hold(
    position: pd.Series, predictions: pd.DataFrame, rule: PositionRule, timeframe: str | None, max_gap: int
) -> pd.Series:
    """Positions that are closed or reversed only `rule.hold` candles after they were opened."""
    from agent_market.trading.position_kernels import hold_at_least

    if timeframe is None:
        raise ParameterError("decide_positions: `hold` needs the length of a candle; pass timeframe")
    since = predictions.groupby("pair", observed=True)["date"].diff()
    starts = since.isna() | (since > (max_gap + 1) * timeframe_delta(timeframe))
    return pd.Series(hold_at_least(position.to_numpy(), starts.to_numpy(), rule.hold), index=position.index)


def _sizes(
    predictions: pd.DataFrame,
    rule: PositionRule,
    candles: pd.DataFrame | None,
    timeframe: str | None,
    trading_days: int,
) -> pd.Series:
    """The part of a full stake with which each row would be entered, in [rule.min_size, 1]; 0 before it is known."""
    if candles is None or timeframe is None:
        raise ParameterError("decide_positions: `target_volatility` needs candles and their timeframe; pass both")
    closes = {
        pair: pd.Series(rows["close"].to_numpy(), index=pd.DatetimeIndex(rows["date"]).as_unit("ms")).sort_index()
        for pair, rows in candles[["pair", "date", "close"]].groupby("pair", observed=True)
    }
    sizes = []
    for pair, dates in predictions.groupby("pair", observed=True)["date"]:
        wanted = pd.DatetimeIndex(dates).as_unit("ms")
        close = closes.get(pair, pd.Series(dtype="float64", index=wanted[:0]))
        unknown = wanted.difference(close.index)
        if len(unknown):
            raise DataError(
                f"target_volatility: {len(unknown)} predictions of {pair} have no candle, the first at {unknown[0]}; "
                "pass the candles from which the predictions were made"
            )
        volatility = annual_volatility(
            close, window=rule.volatility_window, timeframe=timeframe, trading_days=trading_days
        ).reindex(wanted)
        sizes.append((rule.target_volatility / volatility).clip(rule.min_size, 1.0).fillna(0.0))
    return pd.Series(np.concatenate([np.empty(0), *sizes]), index=predictions.index)


def trailing_quantiles(
    values: pd.Series, date: pd.Series, quantiles: tuple[float, ...], *, window: str, min_history: int
) -> np.ndarray:
    """Quantiles of all values dated in (date - window, date], linearly interpolated: (n_values, n_quantiles).

    NaN where that span holds fewer than `min_history` values. Values of the same date see one another.
    """
    from agent_market.trading import position_kernels

    dates, at = np.unique(_milliseconds(date), return_inverse=True)
    in_time = np.argsort(at, kind="stable")
    begin = np.append(np.searchsorted(at[in_time], np.arange(len(dates))), len(at))
    oldest = begin[np.searchsorted(dates, dates - timeframe_delta(window) // pd.Timedelta(1, "ms"), side="right")]
    value = values.to_numpy(dtype="float64")[in_time]
    rank = np.empty(len(value), dtype=np.int64)
    rank[np.argsort(value, kind="stable")] = np.arange(len(value))
    levels = position_kernels.trailing_quantiles(
        value, rank, begin, oldest, np.array(quantiles, dtype="float64"), min_history
    )
    return levels[at]


def _held(enter: pd.Series, hold: pd.Series, pair: pd.Series) -> pd.Series:
    """1 from a row where `enter` is true for as long as `hold` stays true, per pair; 0 elsewhere."""
    state = pd.Series(np.where(enter, 1.0, np.where(hold, np.nan, 0.0)), index=enter.index)
    return state.groupby(pair, observed=True).ffill().fillna(0.0)


def _kind_of(predictions: pd.DataFrame) -> str:
    kinds = sorted(predictions["kind"].astype(str).unique())
    if len(kinds) > 1 or (kinds and kinds[0] not in KINDS):
        raise DataError(f"predictions: kind must be one of {', '.join(KINDS)}, one per model; found {', '.join(kinds)}")
    return kinds[0] if kinds else "return"


def _by_name(pair: pd.Series) -> pd.Series:
    """Pairs as a categorical of those present, in alphabetical order."""
    pair = pair.astype("category").cat.remove_unused_categories().cat.as_unordered()
    return pair.cat.set_categories(sorted(pair.cat.categories))


def _milliseconds(date: pd.Series) -> np.ndarray:
    return date.dt.as_unit("ms").astype("int64").to_numpy()
