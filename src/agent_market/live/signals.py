"""The signals of a model, candle by candle, at the cost of the new candles alone."""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd

from agent_market.factors.live import LiveFactors
from agent_market.live.traded import CANDLE, TradedModel, signals_or_none
from agent_market.market.candles import DATE, repair_prices, usable
from agent_market.options import timeframe_delta

log = logging.getLogger(__name__)

PATIENCE = pd.Timedelta(minutes=1)
"""How long after the close of a candle the pairs that have it wait for those that do not have it yet."""


class LiveSignals:
    """Carries a model's signals on as candles come.

    After each `update`, `signals` are those that `TradedModel.signals` would give for all candles so far, and `decided`
    is the newest candle that they speak of. The memory goes back `history` candles, and as far as the oldest position
    that is still held: a longer history could change nothing but what rests on candles before that.
    """

    def __init__(self, traded: TradedModel, *, history: int) -> None:
        self.traded = traded
        self.signals = signals_or_none(pd.DataFrame())
        self.decided: pd.Timestamp | None = None
        self._step = timeframe_delta(traded.market.timeframe)
        self._history = history * self._step
        self._lookback = traded.model.lookback
        self._pair = pd.CategoricalDtype(sorted(traded.pairs))
        self._newest: dict[str, pd.Timestamp] = {}

    def update(self, frames: Mapping[str, pd.DataFrame], *, now: pd.Timestamp) -> bool:
        """Take the candles of all pairs, by pair: date, open, high, low, close, volume, oldest first; closed ones only.

        Whether there are new signals. The first call, and one with a candle that comes after its date was decided,
        compute everything anew. While a pair still lacks the candle that others have, nothing is decided until `now`
        is a minute after its close.
        """
        frames = {pair: frames[pair] for pair in self.traded.pairs if pair in frames and len(frames[pair])}
        newest = {pair: pd.Timestamp(frame["date"].iloc[-1]) for pair, frame in frames.items()}
        if not frames or newest == self._newest or self._is_early(newest, now):
            return False
        if self.decided is None or self._is_late(frames):
            self._begin(frames)
        else:
            self._carry_on(frames)
        self._newest, self.decided = newest, max(newest.values())
        positions = self.traded.positions(self._predictions, self._candles)
        self.signals = signals_or_none(positions)
        self._forget(positions)
        return True

    def _is_early(self, newest: dict[str, pd.Timestamp], now: pd.Timestamp) -> bool:
        """Whether a pair that had the candle before lacks the newest one, and may still get it."""
        last = max(newest.values())
        awaited = any(date == last - self._step for date in newest.values())
        return awaited and now < last + self._step + min(PATIENCE, self._step / 2)

    def _is_late(self, frames: dict[str, pd.DataFrame]) -> bool:
        """Whether a candle has come whose date is decided: other pairs' factors may have missed it."""
        for pair, frame in frames.items():
            known = self._newest.get(pair)
            new = frame["date"] if known is None else frame["date"][frame["date"] > known]
            if len(new) and new.iloc[0] <= self.decided:
                log.info("%s: the candle of %s came late; signals are computed anew", pair, new.iloc[0])
                return True
        return False

    def _begin(self, frames: dict[str, pd.DataFrame]) -> None:
        candles = self.traded.clean(as_table(frames, self.traded))
        features = self.traded.features(candles)
        how = {"timeframe": self.traded.market.timeframe, "max_gap": self.traded.market.max_gap}
        self._factors = LiveFactors(
            candles[["pair", "date", *CANDLE]], self.traded.factors, compat=self.traded.model.compat, **how
        )
        self._candles, self._predictions = self._typed(candles), self._typed(self.traded.predict(features))
        self._features = self._typed(features).iloc[:0]
        self._remember(features)
        log.info("%s: began with %d candles of %d pairs", self.traded.name, len(candles), len(frames))

    def _carry_on(self, frames: dict[str, pd.DataFrame]) -> None:
        """Append what is new to candles, features and predictions."""
        fresh = self._next_candles(frames)
        features = self._factors.update(fresh[["pair", "date", *CANDLE]])
        self._candles = self._joined(self._candles, fresh)
        predictions = self.traded.predict(self._joined(self._features, features))
        self._predictions = self._joined(self._predictions, predictions[self._is_new(predictions)])
        self._remember(features)

    def _next_candles(self, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
        """The clean candles that are new."""
        new = {pair: frame.iloc[-1:] for pair, frame in frames.items() if self._has_one_more(pair, frame)}
        if len(new) == len(frames):  # as nearly always: one good candle each, after the one before
            rows = pd.concat([frame[["date", *CANDLE]].assign(pair=pair) for pair, frame in new.items()])
            if usable(rows).all():
                rows = self._typed(repair_prices(rows)[0].assign(filled=False))
                return rows.astype({"date": DATE}).sort_values("pair", ignore_index=True)
        tails = {}
        for pair, frame in frames.items():
            since = self._newest.get(pair, frame["date"].iloc[0])
            back = since - (self.traded.market.max_fill + 2) * self._step  # as far as a run of stand-ins may matter
            tails[pair] = frame[frame["date"] >= back]
        cleaned = self.traded.clean(as_table(tails, self.traded))
        return cleaned[self._is_new(cleaned)].reset_index(drop=True)

    def _has_one_more(self, pair: str, frame: pd.DataFrame) -> bool:
        known = self._newest.get(pair)
        return known is not None and len(frame) > 1 and frame["date"].iloc[-1] - known == self._step

    def _is_new(self, table: pd.DataFrame) -> pd.Series:
        """Which rows are later than all that was known of their pair before this update."""
        known = table["pair"].astype("str").map(self._newest).astype(table["date"].dtype)
        return known.isna() | (table["date"] > known)

    def _remember(self, features: pd.DataFrame) -> None:
        """Keep the last features of each pair, as many as the model's window reaches back."""
        if self._lookback > 1:
            whole = self._joined(self._features, features)
            kept = whole.groupby("pair", observed=True).tail(self._lookback - 1)
            self._features = kept.reset_index(drop=True)

    def _forget(self, positions: pd.DataFrame) -> None:
        """Drop what is older than the history and than the beginning of every position that is held."""
        first = self.decided - self._history
        for _, rows in positions.groupby("pair", observed=True):
            side = np.sign(rows["position"].to_numpy())
            changes = np.flatnonzero(np.diff(side)) + 1
            if side[-1]:
                opened = rows["date"].iloc[changes[-1] if len(changes) else 0]
                first = min(first, opened - self._history)
        self._candles = self._candles[self._candles["date"] >= first].reset_index(drop=True)
        self._predictions = self._predictions[self._predictions["date"] >= first].reset_index(drop=True)

    def _typed(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.astype({"pair": self._pair})

    def _joined(self, old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
        if old.empty:
            return self._typed(new).reset_index(drop=True)
        both = pd.concat([old, self._typed(new)], ignore_index=True)
        return both.sort_values(["pair", "date"], ignore_index=True)


def as_table(frames: Mapping[str, pd.DataFrame], traded: TradedModel) -> pd.DataFrame:
    """A bot's frames, by pair, as one table without the stand-ins that freqtrade puts where candles are missing."""
    if not traded.empty_candles:
        frames = {pair: without_stand_ins(frame, traded.market.max_fill) for pair, frame in frames.items()}
    return pd.concat([frame[["date", *CANDLE]].assign(pair=pair) for pair, frame in frames.items()], ignore_index=True)


def without_stand_ins(frame: pd.DataFrame, max_fill: int) -> pd.DataFrame:
    """A pair's candles without the long runs, of more than `max_fill`, in which nothing moved and nothing was traded.

    freqtrade fills holes that way before a strategy sees them. Short runs stay: the pipeline would fill them, too. The
    newest candle stays as well, since only holes between candles are filled.
    """
    still = frame["volume"].eq(0) & frame[["open", "high", "low", "close"]].eq(frame["close"].shift(), axis=0).all(
        axis=1
    )
    run = still.groupby((~still).cumsum()).transform("sum")
    drop = still & (run > max_fill)
    drop.iloc[-1] = False
    return frame[~drop]
