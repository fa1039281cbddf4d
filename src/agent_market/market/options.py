"""Where candles come from, and how they are cleaned."""

import datetime as dt
import re
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, field_validator, model_validator

from agent_market.options import Options, timeframe_delta

SIMULATED_TIMEFRAME = "1h"
SECRETS = {
    "accountid", "apikey", "key", "login", "password", "privatekey", "secret", "token", "twofa", "uid", "walletaddress",
}  # fmt: skip
"""Names, without _ and capitals, under which freqtrade and ccxt take credentials."""


class MarketOptions(Options):
    """The parameters under `market`: source, pairs and span of the candles, and the rules that clean them."""

    source: Literal["simulated", "freqtrade_datadir", "exchange"] = Field(
        "simulated",
        description="simulated: an invented market, no network; freqtrade_datadir: files on disk; exchange: what is "
        "not yet on disk is downloaded first",
    )
    timeframe: str = Field("1h", description="length of one candle in freqtrade's notation: 5m, 1h, 1d")
    pairs: tuple[str, ...] | None = Field(
        None,
        description="pairs to use; none given = all that the source has (an exchange needs them); as text, separated "
        "by spaces",
    )
    trading_mode: Literal["spot", "futures"] = Field(
        "spot", description="futures: pairs carry their settlement currency, as in BTC/USDT:USDT"
    )
    datadir: str | None = Field(
        None, description="freqtrade's data folder of one exchange; for exchange, none: download_folder/<exchange>"
    )

    exchange: str = Field("binance", description="exchange: a name that ccxt knows")
    end: str | None = Field(None, description="exchange: time before which the last candle opens, UTC; none: now")
    offline: bool = Field(False, description="exchange: use what is stored and send no request")
    exchange_options: dict[str, Any] = Field(
        default_factory=dict,
        description="exchange: more keys of freqtrade's block `exchange`, such as ccxt_config with a proxy; no secrets",
    )
    download_folder: str = Field("data/01_raw", description="exchange: folder with one folder per exchange")

    n_pairs: int = Field(8, ge=1, le=1000, description="simulated: number of pairs")
    n_candles: int = Field(17_520, ge=2, le=500_000, description="simulated: candles per pair; two years")
    start: str = Field("2023-01-01", description="simulated and exchange: open time of the first candle, UTC")
    seed: int = Field(7, ge=0, description="simulated: same seed, same candles")
    signal_strength: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="simulated: correlation of the planted conditional mean with the next candle's return "
        "in units of its standard deviation; 0 = placebo, nothing can be predicted",
    )
    signal_half_life: float = Field(
        12, gt=0, description="simulated: candles after which half of the planted signal is gone; not of a pattern"
    )
    signal_noise: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="simulated: noise in what the wicks show, in standard deviations of the signal; with some, "
        "one candle tells less than many; 0 = the last candle tells all",
    )
    signal_kind: Literal["state", "pattern"] = Field(
        "state",
        description="simulated: state: what moves the next candle is shown as it is; pattern: the next candle "
        "rises if the last two show the same sign, of which no single candle tells anything",
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

    @field_validator("start", "end", mode="before")
    @classmethod
    def _is_a_full_hour(cls, value: object) -> object:
        # YAML turns an unquoted 2023-01-01 into a date
        text = value.isoformat() if isinstance(value, dt.date) else value
        if isinstance(text, str):
            date = pd.Timestamp(text)
            if pd.isna(date) or date != date.floor(SIMULATED_TIMEFRAME):
                raise ValueError(f"{text!r} is not a full hour; write for example 2023-01-01")
        return text

    @field_validator("exchange_options", mode="before")
    @classmethod
    def _options_or_none(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("exchange_options")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        secret = _find_secret(value)
        if secret:
            raise ValueError(
                f"{secret} looks like a secret. Candles are public and need none; credentials for trading belong in "
                "freqtrade's own configuration. What must not be committed, such as a proxy's address, goes in "
                "conf/local, and a proxy with a password in the environment variable HTTPS_PROXY, with "
                "ccxt_config.aiohttp_trust_env=true"
            )
        return value

    @property
    def folder(self) -> Path:
        """Where the candle files of the exchange are."""
        return Path(self.datadir).expanduser() if self.datadir else Path(self.download_folder) / self.exchange

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> "MarketOptions":
        if self.source == "freqtrade_datadir" and not self.datadir:
            raise ValueError(
                "market.source=freqtrade_datadir needs market.datadir, the folder with the candle files, "
                "for example user_data/data/binance"
            )
        if self.source == "exchange" and not self.pairs:
            raise ValueError('market.source=exchange needs market.pairs, for example "BTC/USDT ETH/USDT"')
        if self.source == "simulated" and self.timeframe != SIMULATED_TIMEFRAME:
            raise ValueError(
                f"the simulated market has {SIMULATED_TIMEFRAME} candles only, not {self.timeframe!r}; set "
                f"market.timeframe={SIMULATED_TIMEFRAME}, or read files with market.source=freqtrade_datadir"
            )
        return self


def utc(date: str) -> pd.Timestamp:
    """The date in UTC, which it is taken to be in if it names no zone."""
    timestamp = pd.Timestamp(date)
    return timestamp.tz_localize("UTC") if timestamp.tz is None else timestamp.tz_convert("UTC")


def _find_secret(value: object, path: str = "exchange_options") -> str | None:
    """Where a key or an address in the options holds a credential."""
    if isinstance(value, dict):
        inside = [
            f"{path}.{key}" if re.sub("[_-]", "", str(key)).lower() in SECRETS else _find_secret(item, f"{path}.{key}")
            for key, item in value.items()
        ]
        return next(filter(None, inside), None)
    if isinstance(value, list):
        return next(filter(None, (_find_secret(item, path) for item in value)), None)
    return path if isinstance(value, str) and re.search(r"://[^/@\s]+:[^/@\s]+@", value) else None
