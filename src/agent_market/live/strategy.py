"""The freqtrade strategy of an exported model: features, predictions and signals are computed where it trades."""

import logging
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import pandas as pd
from freqtrade.enums import CandleType, RunMode
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_minutes

from agent_market.errors import AgentMarketError
from agent_market.live.signals import LiveSignals
from agent_market.live.traded import TradedModel, load_traded_model
from agent_market.market.datadir import read_datadir
from agent_market.trading.freqtrade_strategy import FLAT, SIGNALS, AgentMarketStrategy

log = logging.getLogger(__name__)

TRADING = (RunMode.LIVE, RunMode.DRY_RUN)


class ModelStrategy(AgentMarketStrategy):
    """Trades the signals of the model in `agent_market/<model>` beside the folder of the strategy's file.

    Features are computed by the same engine and from candles cleaned by the same rules as in the pipeline, of all pairs
    that the model knows, whether they are in the whitelist or not; a pair that it does not know is never traded.

    - A backtest reads the whole history from freqtrade's data folder, once. Each candle is foretold by the model of the
      fold in whose test window it lies: out of sample. Before the first window there are no signals; after the last,
      the newest model foretells. `startup_candle_count` is 0 here, because nothing is computed from freqtrade's
      frames: the ticks that it derives from them, and the first trade, are then those of the pipeline's backtest.
    - A bot starts from `startup_candle_count` candles and then computes the new candles alone. While some pair still
      lacks the newest candle, for a minute at most, that candle says nothing: it neither enters nor leaves.
    """

    model: ClassVar[str]

    process_only_new_candles = False  # a candle is looked at again until all pairs have it; looking costs nothing

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self._trades = config.get("runmode") in TRADING
        self._history = self.startup_candle_count
        if self._trades:
            minutes = min(10, max(1, timeframe_to_minutes(self.timeframe) // 2))
            self.unfilledtimeout = {"entry": minutes, "exit": minutes, "exit_timeout_count": 0, "unit": "minutes"}
        else:
            self.startup_candle_count = 0
        self._traded: TradedModel | None = None
        self._live: LiveSignals | None = None
        self._is_current = False

    def bot_start(self, **kwargs) -> None:
        """Load the model; in a backtest, compute all signals."""
        folder = Path(self.__file__).resolve().parent.parent / "agent_market" / self.model
        try:
            self._traded = load_traded_model(folder)
            self._check_settings()
            self._begin()
        except AgentMarketError as error:
            raise OperationalException(f"{type(self).__name__}: {error}") from error

    def _begin(self) -> None:
        if self._trades:
            self._live = LiveSignals(self._traded, history=self._history)
        else:
            self._take(self._traded.signals(self._stored_candles()))

    def informative_pairs(self) -> list[tuple[str, str, str]]:
        """All pairs that the model knows: its features may compare them."""
        kind = self.config.get("candle_type_def", CandleType.SPOT)
        return [(pair, self.timeframe, kind) for pair in self._traded.pairs]

    def bot_loop_start(self, current_time: datetime, **kwargs) -> None:
        """Note that there may be new candles."""
        self._is_current = False

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Carry the signals on, once per round of the bot."""
        if self._trades and not self._is_current:
            try:
                if self._live.update(self._frames(), now=pd.Timestamp.now(tz="UTC")):
                    self._take(self._live.signals)
                    self._log()
            except AgentMarketError as error:
                raise OperationalException(f"{type(self).__name__}: {error}") from error
            self._is_current = True
        return dataframe

    def _rows(self, dataframe: pd.DataFrame, pair: str) -> pd.DataFrame:
        rows = super()._rows(dataframe, pair)
        if self._trades:
            decided = self._live.decided
            undecided = rows.index > decided if decided is not None else slice(None)
            rows.loc[undecided, SIGNALS] = 0
        return rows

    def _take(self, signals: pd.DataFrame) -> None:
        typed = signals.astype(dict.fromkeys(SIGNALS, "int8"))
        self._signals = {
            str(pair): rows.set_index("date")[list(FLAT)] for pair, rows in typed.groupby("pair", observed=True)
        }

    def _frames(self) -> dict[str, pd.DataFrame]:
        """What the exchange has shown of each pair, read only."""
        return {pair: self.dp.ohlcv(pair, self.timeframe, copy=False) for pair in self._traded.pairs}

    def _stored_candles(self) -> pd.DataFrame:
        """All candles that freqtrade has on disk, holes as they are."""
        source = {"datadir": str(self.config["datadir"]), "pairs": self._traded.pairs}
        return read_datadir(self._traded.market.model_copy(update=source))

    def _check_settings(self) -> None:
        """Raise unless the configuration asks for what the model was made for."""
        market = self._traded.market
        for name, found in (
            ("timeframe", self.timeframe),
            ("trading_mode", str(self.config.get("trading_mode", "spot"))),
        ):
            if found != getattr(market, name):
                raise OperationalException(
                    f"{type(self).__name__}: the configuration's {name} is {found}, but the model {self.model} was "
                    f"trained on {getattr(market, name)}"
                )
        unknown = sorted(set(self.config["exchange"].get("pair_whitelist", [])) - set(self._traded.pairs))
        if unknown:
            log.warning("%s does not know %s: not traded", type(self).__name__, ", ".join(unknown))

    def _log(self) -> None:
        """Say what is wanted at the newest candle."""
        newest = self._live.signals[self._live.signals["date"] == self._live.decided]
        wanted = [
            f"{'long' if row.enter_long else 'short'} {row.pair}"
            for row in newest.itertuples()
            if row.enter_long or row.enter_short
        ]
        log.info("%s: at %s %s", type(self).__name__, self._live.decided, ", ".join(wanted) or "nothing")
