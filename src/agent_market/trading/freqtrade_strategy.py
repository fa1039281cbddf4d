"""A freqtrade strategy that follows signals decided elsewhere.

freqtrade loads this file by itself: put it into `user_data/strategies` (or point `strategy_path` at its
folder), set `"strategy": "AgentMarketStrategy"` and tell it where the signals are:

    "agent_market": {"signals": "/path/to/signals.parquet", "model": "lightgbm", "leverage": 1}
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_minutes, timeframe_to_prev_date
from freqtrade.strategy import IStrategy

SIGNALS = ["enter_long", "exit_long", "enter_short", "exit_short"]
FLAT = {"enter_long": 0, "exit_long": 1, "enter_short": 0, "exit_short": 1, "size": 0.0}


class AgentMarketStrategy(IStrategy):
    """Enters and leaves each pair where a table of signals says so.

    The table (Parquet or Feather, `agent_market.signals` in freqtrade's configuration) has the columns `pair`,
    `date`, `enter_long`, `exit_long`, `enter_short`, `exit_short` and `size`. A table with `position` in their
    place, from -1 to 1, is read as the signals that hold it. Where there is a `model` column, `agent_market.model`
    says whose rows are followed.

    - `date` is the open time of the candle at whose close the signals were decided (freqtrade's own convention).
      freqtrade itself acts on a signal one candle later, at the next open: nothing is shifted here.
    - A candle without a row is flat: it enters nothing and leaves both sides.
    - `size`, from 0 to 1, is the part of the stake that the wallet proposes which an entry takes.
    - Leverage is `agent_market.leverage` (1 if absent), as far as the market allows it. Shorts need
      `trading_mode: futures`; in spot their signals do nothing.
    - Stops, ROI and the use of exit signals are freqtrade's own settings. Without any the stop is at -99 % of the
      stake and there is no ROI.
    - An order that its candle did not fill is cancelled, and asked for anew at the next candle if still wanted.
    """

    INTERFACE_VERSION = 3

    timeframe = "1h"  # the configuration's own timeframe wins, as all of these
    startup_candle_count = 0
    process_only_new_candles = True

    minimal_roi = {}  # noqa: RUF012 - freqtrade's interface
    stoploss = -0.99
    unfilledtimeout = {"entry": 1, "exit": 1, "exit_timeout_count": 0, "unit": "seconds"}  # noqa: RUF012

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.can_short = config.get("trading_mode") == "futures"
        self._signals: dict[str, pd.DataFrame] = {}

    def bot_start(self, **kwargs) -> None:
        """Read the table of signals once, before the first candle."""
        settings = self.config.get("agent_market", {})
        if "signals" not in settings:
            raise OperationalException(
                "AgentMarketStrategy: the configuration lacks agent_market.signals, the file of signals"
            )
        table = _read_table(Path(settings["signals"]), settings.get("model"))
        self._signals = {
            str(pair): rows.set_index("date")[list(FLAT)] for pair, rows in table.groupby("pair", observed=True)
        }

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Nothing to compute: the signals are there."""
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Add `enter_long`, `enter_short` and the side as `enter_tag`."""
        rows = self._rows(dataframe, metadata["pair"])
        dataframe[["enter_long", "enter_short"]] = rows[["enter_long", "enter_short"]].to_numpy()
        dataframe["enter_tag"] = np.where(rows["enter_long"], "long", np.where(rows["enter_short"], "short", None))
        return dataframe

    def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Add `exit_long` and `exit_short`."""
        rows = self._rows(dataframe, metadata["pair"])
        dataframe[["exit_long", "exit_short"]] = rows[["exit_long", "exit_short"]].to_numpy()
        return dataframe

    def custom_stake_amount(self, pair: str, current_time: datetime, proposed_stake: float, **kwargs) -> float:
        """The proposed stake, scaled by the size decided at the close of the candle before."""
        candle = timeframe_to_prev_date(self.timeframe, current_time)
        decided = pd.Timestamp(candle - timedelta(minutes=timeframe_to_minutes(self.timeframe)))
        return proposed_stake * float(self._signals[pair]["size"].get(decided, FLAT["size"]))

    def leverage(self, *args, **kwargs) -> float:
        """The configured leverage; freqtrade caps it to what the market allows."""
        return float(self.config["agent_market"].get("leverage", 1.0))

    def _rows(self, dataframe: pd.DataFrame, pair: str) -> pd.DataFrame:
        """The signals at the candles of a dataframe, row by row."""
        dates = pd.DatetimeIndex(dataframe["date"]).as_unit("ms")  # files differ in the unit, and a join would miss
        if pair not in self._signals:
            return pd.DataFrame(FLAT, index=dates)
        return self._signals[pair].reindex(dates).fillna(FLAT)


def _read_table(path: Path, model: str | None) -> pd.DataFrame:
    """pair, date, the four signals (0 or 1) and size."""
    if not path.is_file():
        raise OperationalException(f"AgentMarketStrategy: agent_market.signals is {path}, which does not exist")
    table = pd.read_feather(path) if path.suffix == ".feather" else pd.read_parquet(path)
    if "model" in table:
        table = _rows_of_model(table, model)
    if "position" in table:
        from agent_market.trading.signals import signals_of

        table = signals_of(table)
    missing = {"pair", "date", *FLAT} - set(table.columns)
    if missing:
        raise OperationalException(f"AgentMarketStrategy: {path} lacks the columns {', '.join(sorted(missing))}")
    table["date"] = pd.to_datetime(table["date"], utc=True).dt.as_unit("ms")
    return table.astype(dict.fromkeys(SIGNALS, "int8"))


def _rows_of_model(table: pd.DataFrame, model: str | None) -> pd.DataFrame:
    models = sorted(table["model"].unique())
    if model is None and len(models) == 1:
        model = models[0]
    if model not in models:
        raise OperationalException(
            f"AgentMarketStrategy: agent_market.model is {model!r}; the file holds {', '.join(models)}"
        )
    return table[table["model"] == model].drop(columns="model").reset_index(drop=True)
