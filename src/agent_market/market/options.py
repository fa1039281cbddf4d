"""Where candles come from, and how they are cleaned."""

import datetime as dt
from typing import Literal

import pandas as pd
from pydantic import Field, field_validator, model_validator

from agent_market.options import Options, timeframe_delta

SIMULATED_TIMEFRAME = "1h"


class MarketOptions(Options):
    """The parameters under `market`: source, pairs and span of the candles, and the rules that clean them."""

    source: Literal["simulated", "freqtrade_datadir"] = Field(
        "simulated", description="simulated: an invented market, no network; freqtrade_datadir: files on disk"
    )
    timeframe: str = Field("1h", description="length of one candle in freqtrade's notation: 5m, 1h, 1d")
    pairs: tuple[str, ...] | None = Field(
        None, description="pairs to use; none given = all that the source has; as text, separated by spaces"
    )
    trading_mode: Literal["spot", "futures"] = Field(
        "spot", description="futures: pairs carry their settlement currency, as in BTC/USDT:USDT"
    )
    datadir: str | None = Field(None, description="freqtrade's data folder of one exchange")

    n_pairs: int = Field(8, ge=1, le=1000, description="simulated: number of pairs")
    n_candles: int = Field(17_520, ge=2, le=500_000, description="simulated: candles per pair; two years")
    start: str = Field("2023-01-01", description="simulated: open time of the first candle, UTC")
    seed: int = Field(7, ge=0, description="simulated: same seed, same candles")
    signal_strength: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="simulated: correlation of the planted conditional mean with the next candle's return "
        "in units of its standard deviation; 0 = placebo, nothing can be predicted",
    )
    signal_half_life: float = Field(
        12, gt=0, description="simulated: candles after which half of the planted signal is gone"
    )

    max_fill: int = Field(12, ge=0, description="gaps of up to so many missing candles are filled forward and flagged")
    max_gap: int = Field(
        0,
        ge=0,
        description="missing candles in a row that factors, labels and positions reach over; the rest of a night or "
        "weekend for a market that closes",
    )
    on_duplicates: Literal["error", "first", "last"] = Field(
        "error", description="what to do with several candles of one pair and date: refuse, or keep one"
    )
    trading_days: int = Field(365, ge=1, le=366, description="days per year of the market's calendar; 252 for shares")

    @field_validator("timeframe")
    @classmethod
    def _timeframe_is_known(cls, value: str) -> str:
        timeframe_delta(value)
        return value

    @field_validator("pairs", mode="before")
    @classmethod
    def _pairs_from_text(cls, value: object) -> object:
        pairs = value.split() if isinstance(value, str) else value
        if isinstance(pairs, list | tuple):
            if not pairs:
                raise ValueError("the list of pairs is empty; leave market.pairs out to use all pairs")
            pairs = tuple(dict.fromkeys(pairs))
        return pairs

    @field_validator("start", mode="before")
    @classmethod
    def _start_is_a_date(cls, value: object) -> object:
        # YAML turns an unquoted 2023-01-01 into a date
        text = value.isoformat() if isinstance(value, dt.date) else value
        if isinstance(text, str):
            start = pd.Timestamp(text)
            if pd.isna(start) or start != start.floor(SIMULATED_TIMEFRAME):
                raise ValueError(f"{text!r} is not a full hour; write for example 2023-01-01")
        return text

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> "MarketOptions":
        if self.source == "freqtrade_datadir" and not self.datadir:
            raise ValueError(
                "market.source=freqtrade_datadir needs market.datadir, the folder with the candle files, "
                "for example user_data/data/binance"
            )
        if self.source == "simulated" and self.timeframe != SIMULATED_TIMEFRAME:
            raise ValueError(
                f"the simulated market has {SIMULATED_TIMEFRAME} candles only, not {self.timeframe!r}; set "
                f"market.timeframe={SIMULATED_TIMEFRAME}, or read files with market.source=freqtrade_datadir"
            )
        return self
