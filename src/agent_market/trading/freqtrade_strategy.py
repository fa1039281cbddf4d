"""A freqtrade strategy that follows positions decided elsewhere.

freqtrade loads this file by itself: put it into `user_data/strategies` (or point `strategy_path` at its
folder), set `"strategy": "AgentMarketStrategy"` and tell it where the positions are:

    "agent_market": {"positions": "/path/to/positions.parquet", "model": "lightgbm"}
"""

from pathlib import Path

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.strategy import IStrategy


class AgentMarketStrategy(IStrategy):
    """Holds, in each pair, the position that a table of positions asks for.

    The table (Parquet or Feather, `agent_market.positions` in freqtrade's configuration) has the columns
    `pair`, `date` and `position`; where it has a `model` column, `agent_market.model` says whose rows are
    followed.

    - `date` is the open time of the candle at whose close the position was decided (freqtrade's own
      convention). freqtrade itself acts on a signal one candle later, at the next open: nothing is shifted
      here.
    - Only the sign counts: above 0 long, below 0 short, 0 or no row flat. Signals are levels, not events: as
      long as the table says long, `enter_long` is 1, and wherever it does not, `exit_long` is 1; the same for
      short. A position that freqtrade could not open (no free slot) is therefore opened as soon as a slot is
      free.
    - Shorts need `trading_mode: futures`; in spot they are flat.
    - ROI, trailing stop and leverage are off. The stop is the widest that makes sense: -99 % of the stake.
    - An order that its candle did not fill is cancelled, and asked for anew at the next candle if still
    wanted.
    """

    INTERFACE_VERSION = 3

    timeframe = "1h"  # the configuration's own timeframe wins
    startup_candle_count = 0
    process_only_new_candles = True

    minimal_roi = {}  # noqa: RUF012 - freqtrade's interface
    stoploss = -0.99
    trailing_stop = False
    use_exit_signal = True
    exit_profit_only = False
    ignore_roi_if_entry_signal = False
    unfilledtimeout = {"entry": 1, "exit": 1, "exit_timeout_count": 0, "unit": "seconds"}  # noqa: RUF012

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.can_short = config.get("trading_mode") == "futures"
        self._side: dict[str, pd.Series] = {}

    def bot_start(self, **kwargs) -> None:
        """Read the table of positions once, before the first candle."""
        settings = self.config.get("agent_market", {})
        if "positions" not in settings:
            raise OperationalException(
                "AgentMarketStrategy: the configuration lacks agent_market.positions, the file of positions"
            )
        table = _read_table(Path(settings["positions"]))
        if "model" in table:
            table = _rows_of_model(table, settings.get("model"))
        table["date"] = pd.to_datetime(table["date"], utc=True).dt.as_unit("ms")
        side = np.sign(table["position"].fillna(0.0))
        self._side = {
            str(pair): pd.Series(side[rows.index].to_numpy(), index=pd.DatetimeIndex(rows["date"]))
            for pair, rows in table.groupby("pair", observed=True)
        }

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Add `side` (-1, 0, 1): the position decided at each candle's close."""
        side = self._side.get(metadata["pair"], pd.Series(dtype="float64", index=pd.DatetimeIndex([], tz="UTC")))
        dates = pd.DatetimeIndex(dataframe["date"]).as_unit("ms")  # files differ in the unit, and a join would miss
        dataframe["side"] = side.reindex(dates, fill_value=0.0).to_numpy()
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Ask for the position wherever there is one."""
        dataframe["enter_long"] = (dataframe["side"] > 0).astype("int8")
        dataframe["enter_short"] = (dataframe["side"] < 0).astype("int8")
        dataframe["enter_tag"] = np.where(dataframe["side"] > 0, "long", np.where(dataframe["side"] < 0, "short", None))
        return dataframe

    def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Leave a side wherever the position is not on it."""
        dataframe["exit_long"] = (dataframe["side"] <= 0).astype("int8")
        dataframe["exit_short"] = (dataframe["side"] >= 0).astype("int8")
        return dataframe

    def leverage(self, *args, **kwargs) -> float:
        """No leverage."""
        return 1.0


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise OperationalException(f"AgentMarketStrategy: agent_market.positions is {path}, which does not exist")
    table = pd.read_feather(path) if path.suffix == ".feather" else pd.read_parquet(path)
    missing = {"pair", "date", "position"} - set(table.columns)
    if missing:
        raise OperationalException(f"AgentMarketStrategy: {path} lacks the columns {', '.join(sorted(missing))}")
    return table


def _rows_of_model(table: pd.DataFrame, model: str | None) -> pd.DataFrame:
    models = sorted(table["model"].unique())
    if model is None and len(models) == 1:
        model = models[0]
    if model not in models:
        raise OperationalException(
            f"AgentMarketStrategy: agent_market.model is {model!r}; the file holds {', '.join(models)}"
        )
    return table[table["model"] == model].reset_index(drop=True)
