"""What orders are filled at: the candles' prices and the funding of futures, row by row beside the features."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.options import timeframe_delta

OPEN, HIGH, LOW, CLOSE = range(4)
"""The columns of `ExecutionPrices.prices`."""

HELD, ENTERED = range(2)
"""The columns of `ExecutionPrices.funding`."""


@dataclass(frozen=True)
class ExecutionPrices:
    """Prices and funding of the rows of a panel, sorted by (pair, date) as its features are.

    prices: (n_rows, 4) float64: open, high, low and close of each candle, in quote currency.
    funding: (n_rows, 2) float64: what a long of one unit of base currency pays by the open of the candle, in quote
    currency (a short receives it). Column HELD is due from who held the unit in the candle before: all funding after
    that candle's open; column ENTERED from who buys it at this very open: the funding of this moment.
    """

    prices: np.ndarray
    funding: np.ndarray

    @classmethod
    def from_candles(
        cls, candles: pd.DataFrame, funding: pd.DataFrame | None = None, *, timeframe: str
    ) -> "ExecutionPrices":
        """The prices of candles (pair, date, open, high, low, close), sorted by pair and date.

        `funding` has pair, date, funding_rate (fraction, paid by longs where positive) and mark_price; None: nothing
        is paid. Raises DataError where a price or a rate is missing.
        """
        prices = np.ascontiguousarray(candles[["open", "high", "low", "close"]].to_numpy(dtype="float64"))
        if not (np.isfinite(prices).all() and (prices > 0).all()):
            row = candles.iloc[int(np.argmin((np.isfinite(prices) & (prices > 0)).all(axis=1)))]
            raise DataError(
                f"candles: a price of {row['pair']} at {row['date']} is missing or not positive; drop the candle"
            )
        paid = np.zeros((len(candles), 2))
        if funding is not None and len(funding):
            _add_funding(paid, candles, funding, timeframe_delta(timeframe))
        return cls(prices, paid)


def _add_funding(paid: np.ndarray, candles: pd.DataFrame, funding: pd.DataFrame, step: pd.Timedelta) -> None:
    """Add each payment to the candle at whose open it has been made."""
    fee = (funding["funding_rate"] * funding["mark_price"]).to_numpy(dtype="float64")
    if not np.isfinite(fee).all():
        row = funding.iloc[int(np.argmin(np.isfinite(fee)))]
        raise DataError(
            f"funding_rates: the funding of {row['pair']} at {row['date']} lacks the rate or the mark price; "
            "drop the row"
        )
    length = step // pd.Timedelta("1ms")
    dates = candles["date"].dt.as_unit("ms").astype("int64").to_numpy()
    when = funding["date"].dt.as_unit("ms").astype("int64").to_numpy()
    pair, payer = candles["pair"].astype("str").to_numpy(), funding["pair"].astype("str").to_numpy()
    for name in np.unique(payer):
        own, due = np.flatnonzero(pair == name), np.flatnonzero(payer == name)
        if len(own) == 0:
            continue
        row = np.searchsorted(dates[own], when[due])  # the first candle that opens at this time or after it
        due, row = due[row < len(own)], own[row[row < len(own)]]
        late = dates[row] - when[due]
        near = late < length  # a payment in a hole is nobody's: no position is held across it
        np.add.at(paid[:, HELD], row[near], fee[due[near]])
        np.add.at(paid[:, ENTERED], row[late == 0], fee[due[late == 0]])
