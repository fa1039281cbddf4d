"""What every options object has in common, and the spans of time that they are written in."""

from typing import Annotated

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict


class Options(BaseModel):
    """A typed block of parameters: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_UNITS = {"m": "min", "h": "h", "d": "D", "w": "W"}


def timeframe_delta(timeframe: str) -> pd.Timedelta:
    """The length of one candle, or of a `Span`, from freqtrade's notation: `5m`, `1h`, `90d`, `2w`."""
    number, unit = timeframe[:-1], timeframe[-1:]
    if not number.isdigit() or int(number) < 1 or unit not in _UNITS:
        raise ValueError(f"{timeframe!r} is not a length of time; write for example 5m, 1h, 90d or 2w")
    return pd.Timedelta(int(number), _UNITS[unit])


def _span(value: str) -> str:
    timeframe_delta(value)
    return value


Span = Annotated[str, AfterValidator(_span)]
"""A positive length of time as text, in freqtrade's notation: `15m`, `12h`, `90d`."""
