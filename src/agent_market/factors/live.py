"""Factors of the newest candles, from a bounded memory of earlier ones: equal to computing everything anew."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.factors.engine import evaluate, make_plan, parse_named
from agent_market.factors.operators import FIELDS
from agent_market.factors.panel import Panel, build_panel, on_one_calendar
from agent_market.factors.plan import Rules
from agent_market.options import timeframe_delta


class LiveFactors:
    """Carries factors on, candle by candle, at the cost of the new candles alone.

    It begins with the history of all pairs and remembers of it what the factors look back on. The values of `update`
    are those that `compute_factors` would give for these rows on all candles so far, bit for bit. Operators of TA-Lib
    that carry a state from the first candle on (`kama`, `adx`, `psar`) are equal up to what they forget over their
    look-back.
    """

    def __init__(
        self,
        history: pd.DataFrame,
        factors: Mapping[str, str],
        *,
        timeframe: str,
        max_gap: int = 0,
        compat: Rules = "sane",
        threads: int = 1,
    ) -> None:
        self.names = list(factors)
        self.timeframe, self.max_gap, self.compat, self.threads = timeframe, max_gap, compat, threads
        self._fields = [*FIELDS, *(["vwap"] if "vwap" in history.columns else [])]
        trees = tuple((name, parse_named(name, text)) for name, text in factors.items())
        self._plan = make_plan(trees, compat, "vwap" in self._fields)
        self._step = int(timeframe_delta(timeframe) / pd.Timedelta(1, "ms"))
        self.look_back = self._plan.graph.look_back()
        self._dates: dict[str, np.ndarray] = {}  # by pair: open times in milliseconds since 1970
        self._candles: dict[str, np.ndarray] = {}  # by pair: (n_fields, n_rows)
        build_panel(history, timeframe, max_gap)  # sorted, unique, complete
        self._append(history)
        self._forget()

    def update(self, candles: pd.DataFrame) -> pd.DataFrame:
        """The factors of candles that came after all that is known of their pairs: pair, date, float32 columns.

        A pair may have no new candle, several, or be new. The rows are sorted by (pair, date). DataError if a candle
        is not newer than the last one of its pair.
        """
        counts = self._append(candles)
        panel, fresh = self._panel(counts)
        table = panel.candles.loc[fresh, ["pair", "date"]].reset_index(drop=True)
        wanted = np.full(fresh.size, -1)
        wanted[fresh] = np.arange(len(table))
        if self.compat == "qlib":
            panel = on_one_calendar(panel)
        values = evaluate(self._plan, panel, threads=self.threads, wanted=wanted)
        self._forget()
        return pd.concat([table, pd.DataFrame(values.T, columns=self.names, copy=False)], axis=1)

    def _append(self, candles: pd.DataFrame) -> dict[str, int]:
        """Remember candles; how many came per pair."""
        missing = [name for name in ("pair", "date", *self._fields) if name not in candles.columns]
        if missing:
            raise DataError(f"the candles miss the columns {missing}; they have {list(candles.columns)}")
        codes, pairs = pd.factorize(candles["pair"])
        dates = pd.DatetimeIndex(candles["date"]).as_unit("ms").asi8
        fields = np.stack([candles[name].to_numpy(dtype=np.float64) for name in self._fields])
        order = np.lexsort((dates, codes))
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        for rows in parts:
            self._check_new(str(pairs[codes[rows[0]]]), dates[rows])
        for rows in parts:
            pair = str(pairs[codes[rows[0]]])
            known = self._dates.get(pair, np.empty(0, dtype=np.int64))
            self._dates[pair] = np.concatenate([known, dates[rows]])
            of_pair = self._candles.get(pair, np.empty((len(self._fields), 0)))
            self._candles[pair] = np.concatenate([of_pair, fields[:, rows]], axis=1)
        return {str(pairs[codes[rows[0]]]): len(rows) for rows in parts}

    def _check_new(self, pair: str, dates: np.ndarray) -> None:
        known = self._dates.get(pair)
        previous = dates[:-1] if known is None else np.concatenate([known[-1:], dates[:-1]])
        late = np.flatnonzero(dates[dates.size - previous.size :] <= previous)
        if late.size:
            date, last = (pd.Timestamp(values[late[0]], unit="ms", tz="UTC") for values in (dates, previous))
            raise DataError(f"{pair}: the candle of {date} is not newer than the one of {last} that is known already")

    def _panel(self, counts: Mapping[str, int]) -> tuple[Panel, np.ndarray]:
        """All that is remembered, and which of its rows are new."""
        pairs = sorted(self._dates)
        lengths = [self._dates[pair].size for pair in pairs]
        codes = np.repeat(np.arange(len(pairs)), lengths)
        date = pd.DatetimeIndex(np.concatenate([self._dates[pair] for pair in pairs]).view("M8[ms]"), tz="UTC")
        columns = {"pair": pd.Categorical.from_codes(codes, pairs), "date": date}
        values = np.concatenate([self._candles[pair] for pair in pairs], axis=1)
        columns |= dict(zip(self._fields, values, strict=True))
        new = np.array([counts.get(pair, 0) for pair in pairs])
        fresh = np.arange(codes.size) >= (np.cumsum(lengths) - new)[codes]
        return build_panel(pd.DataFrame(columns, copy=False), self.timeframe, self.max_gap), fresh

    def _forget(self) -> None:
        """Drop the candles that no factor of a later candle reads, but for one per pair: that the pair is older."""
        newest = max(dates[-1] for dates in self._dates.values())
        if self.compat == "qlib":  # windows count the dates of the market
            dates = np.unique(np.concatenate([*self._dates.values()]))
            since = dates[-min(self.look_back, dates.size)]
        else:
            since = newest - (self.look_back - 1) * (self.max_gap + 1) * self._step
        for pair, dates in [*self._dates.items()]:
            first = max(int(np.searchsorted(dates, since)) - 1, 0)
            self._dates[pair] = dates[first:]
            self._candles[pair] = self._candles[pair][:, first:]
