"""Predictions become positions: which pairs to be long, short or out of, decided at each candle's close."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.options import timeframe_delta
from agent_market.trading.options import PositionRule, QuantileRule, SignRule, ThresholdRule

KINDS = ("return", "probability", "position", "score")


def decide_positions(predictions: pd.DataFrame, rule: PositionRule, *, allow_short: bool) -> pd.DataFrame:
    """The position that one model's predictions ask for, per pair and candle.

    Parameters
    ----------
    predictions
        One model's out-of-sample predictions: pair, date, prediction, kind. A `probability` is measured
        from 0.5, a `return` or a `score` from 0; a `position` is the model's own decision and passes through the rule
        unchanged, only clipped to [-1, 1].
    rule
        A rule of `BacktestOptions.positions`.
    allow_short
        Whether negative positions are kept; they become flat otherwise.

    Returns
    -------
    DataFrame with pair, date and position (float64, in {-1, 0, 1} unless the kind is `position`), one row per
    prediction, sorted by pair and date. A position is decided at the close of `date` from predictions dated
    up to `date`, and can be traded from the next candle's open. A missing prediction (NaN) is flat.

    Raises
    ------
    DataError
        The predictions are not those of one model: repeated (pair, date) rows, or a mixed or unknown kind.
    """
    predictions = predictions.sort_values(["pair", "date"], kind="stable", ignore_index=True)
    if predictions.duplicated(["pair", "date"]).any():
        raise DataError(
            "predictions: a (pair, date) is there more than once; pass the predictions of one model at a time"
        )
    kind = _kind_of(predictions)
    score = predictions["prediction"].astype("float64")
    if kind == "position":
        position = score.clip(-1.0, 1.0).fillna(0.0)
    else:
        position = _RULES[type(rule)](score - (0.5 if kind == "probability" else 0.0), predictions, rule)
    if not allow_short:
        position = position.clip(lower=0.0)
    pairs = predictions["pair"].astype(str)
    return pd.DataFrame(
        {
            "pair": pd.Categorical(pairs, categories=sorted(pairs.unique())),
            "date": predictions["date"],
            "position": position.to_numpy(dtype="float64"),
        }
    )


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


def _sign(score: pd.Series, predictions: pd.DataFrame, rule: SignRule) -> pd.Series:
    return pd.Series(np.where(score.abs() > rule.deadband, np.sign(score), 0.0), index=score.index)


def _threshold(score: pd.Series, predictions: pd.DataFrame, rule: ThresholdRule) -> pd.Series:
    pair = predictions["pair"]
    return _held(score > rule.enter, score >= rule.exit, pair) - _held(score < -rule.enter, score <= -rule.exit, pair)


def _quantile(score: pd.Series, predictions: pd.DataFrame, rule: QuantileRule) -> pd.Series:
    pair, date = predictions["pair"], predictions["date"]

    def level(quantile: float) -> pd.Series:
        return trailing_quantile(score, date, quantile, window=rule.window, min_history=rule.min_history)

    mirrored_enter, mirrored_exit = round(1 - rule.enter, 12), round(1 - rule.exit, 12)
    long = _held(score > level(rule.enter), score >= level(rule.exit), pair)
    short = _held(score < level(mirrored_enter), score <= level(mirrored_exit), pair)
    return long - short


_RULES = {SignRule: _sign, ThresholdRule: _threshold, QuantileRule: _quantile}


def trailing_quantile(
    values: pd.Series, date: pd.Series, quantile: float, *, window: str, min_history: int
) -> pd.Series:
    """The quantile of all values dated in (date - window, date], linearly interpolated, per row of `values`.

    NaN where that span holds fewer than `min_history` values. Values of the same date see one another.
    """
    pooled = pd.Series(values.to_numpy(), index=pd.DatetimeIndex(date)).sort_index(kind="stable")
    level = pooled.rolling(timeframe_delta(window), min_periods=min_history).quantile(quantile)
    at_date = level[~level.index.duplicated(keep="last")]  # the last row of a date has seen the whole date
    return pd.Series(at_date.reindex(pd.DatetimeIndex(date)).to_numpy(), index=values.index)


def _held(enter: pd.Series, hold: pd.Series, pair: pd.Series) -> pd.Series:
    """1 from a row where `enter` is true for as long as `hold` stays true, per pair; 0 elsewhere."""
    state = pd.Series(np.where(enter, 1.0, np.where(hold, np.nan, 0.0)), index=enter.index)
    return state.groupby(pair, observed=True).ffill().fillna(0.0)


def _kind_of(predictions: pd.DataFrame) -> str:
    kinds = sorted(predictions["kind"].astype(str).unique())
    if len(kinds) > 1 or (kinds and kinds[0] not in KINDS):
        raise DataError(f"predictions: kind must be one of {', '.join(KINDS)}, one per model; found {', '.join(kinds)}")
    return kinds[0] if kinds else "return"
