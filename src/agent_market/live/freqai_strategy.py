"""The freqtrade strategy that gives FreqAI our features and labels, and trades what it foretells by our rule."""

import threading

import pandas as pd

from agent_market.learning.labels import build_labels, label_end_column
from agent_market.live.freqai_config import TARGET, FreqaiSettings
from agent_market.live.freqai_model import LABEL_END
from agent_market.live.signals import as_table
from agent_market.live.strategy import ModelStrategy
from agent_market.live.traded import signals_or_none
from agent_market.options import timeframe_delta


class FreqaiModelStrategy(ModelStrategy):
    """Trades a model that FreqAI trains and retrains, on the factors, the label and the rule of an exported one.

    Factors become `%-` features and the label the `&-target`; both are computed from the candles of all pairs that the
    exported model knows. FreqAI trains one model per pair. Positions follow the configured rule from the predictions of
    all pairs; in live trading those of pairs that come later in the whitelist are of the candle before.
    """

    process_only_new_candles = True  # FreqAI insists

    def _begin(self) -> None:
        self._settings = FreqaiSettings.model_validate(self.config["freqai"]["agent_market"])
        self._lock = threading.Lock()  # FreqAI trains in a thread of its own
        self._raw = self._stored_candles()
        self._shown: dict[str, pd.Timestamp] | None = None
        self._predicted: dict[str, pd.DataFrame] = {}
        if not self._trades:
            self._compute()

    def feature_engineering_standard(self, dataframe: pd.DataFrame, metadata: dict, **kwargs) -> pd.DataFrame:
        """Add each factor as a `%-` feature."""
        self._refresh()
        features = self._at(self._features, dataframe, metadata["pair"])
        features.columns = [f"%-{name}" for name in features.columns]
        return pd.concat([dataframe, features.set_axis(dataframe.index)], axis=1)

    def set_freqai_targets(self, dataframe: pd.DataFrame, metadata: dict, **kwargs) -> pd.DataFrame:
        """Add the label, where it is known by the close of the last candle, and the date at which it was known."""
        labels = self._at(self._labels, dataframe, metadata["pair"])
        end = labels[LABEL_END]
        known = end <= dataframe["date"].iloc[-1] + timeframe_delta(self.timeframe)
        target = labels[self._settings.target].where(known)
        return dataframe.assign(**{TARGET: target.to_numpy(), LABEL_END: end.to_numpy()})

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Let FreqAI train and foretell."""
        dataframe = self.freqai.start(dataframe, metadata, self)
        told = dataframe.loc[dataframe["do_predict"] == 1, ["date", TARGET]]
        self._predicted[metadata["pair"]] = told.rename(columns={TARGET: "prediction"})
        self._is_current = False
        return dataframe

    def _rows(self, dataframe: pd.DataFrame, pair: str) -> pd.DataFrame:
        """The signals at the candles of a dataframe; they are made of the predictions of all pairs so far."""
        if not self._is_current:
            parts = [table.assign(pair=name) for name, table in self._predicted.items() if name in self._traded.pairs]
            predictions = pd.concat(parts, ignore_index=True).assign(kind=self._traded.model.kind)
            predictions["date"] = predictions["date"].dt.as_unit("ms")
            self._take(signals_or_none(self._traded.positions(predictions, self._candles)))
            self._is_current = True
        return super(ModelStrategy, self)._rows(dataframe, pair)

    def _refresh(self) -> None:
        """In live trading, compute features and labels anew when a candle has come."""
        if not self._trades:
            return
        with self._lock:
            frames = {pair: frame for pair, frame in self._frames().items() if len(frame)}
            shown = {pair: frame["date"].iloc[-1] for pair, frame in frames.items()}
            if shown != self._shown:
                both = pd.concat([self._raw, as_table(frames, self._traded)], ignore_index=True)
                both["date"] = both["date"].dt.as_unit("ms")
                self._raw = both.drop_duplicates(["pair", "date"], keep="last")
                self._compute()
                self._shown = shown

    def _compute(self) -> None:
        traded, settings = self._traded, self._settings
        candles = traded.clean(self._raw)
        how = {"timeframe": traded.market.timeframe, "max_gap": traded.market.max_gap}
        labels = build_labels(candles, settings.labels, **how)
        labels[LABEL_END] = labels[label_end_column(settings.target)]
        self._candles = candles
        self._features = _by_pair(traded.features(candles))
        self._labels = _by_pair(labels[["pair", "date", settings.target, LABEL_END]])

    def _at(self, tables: dict[str, pd.DataFrame], dataframe: pd.DataFrame, pair: str) -> pd.DataFrame:
        """The rows of a pair's table at the candles of a dataframe; NaN where there are none."""
        return tables[pair].reindex(pd.DatetimeIndex(dataframe["date"]).as_unit("ms"))


def _by_pair(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        str(pair): rows.drop(columns="pair").set_index("date") for pair, rows in table.groupby("pair", observed=True)
    }
