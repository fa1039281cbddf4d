"""Signals: what both engines act on, in freqtrade's own terms."""

import numpy as np
import pandas as pd

from agent_market.errors import DataError

SIGNALS = ["enter_long", "exit_long", "enter_short", "exit_short"]


def signals_of(positions: pd.DataFrame) -> pd.DataFrame:
    """The signals that hold one model's target positions.

    Parameters
    ----------
    positions
        pair, date, position in [-1, 1], decided at the close of `date`; NaN is flat.

    Returns
    -------
    DataFrame with pair, date, the four signals (bool) and `size` (float64, in [0, 1]: the part of a full stake that an
    entry takes), sorted by pair and date. Signals are levels, not events: `enter_long` as long as the position is
    above 0, `exit_long` wherever it is not; the same for short. The size counts when a position is opened; it is not
    adjusted while the position is open.

    Raises
    ------
    DataError
        There are no rows, a (pair, date) is repeated, or a position is outside [-1, 1].
    """
    if positions.empty:
        raise DataError("positions: no rows, so there is nothing to backtest; check that the model made predictions")
    if positions.duplicated(["pair", "date"]).any():
        raise DataError("positions: a (pair, date) is there more than once; pass the positions of one model at a time")
    position = positions["position"].fillna(0.0).to_numpy(dtype="float64")
    if (np.abs(position) > 1).any():
        row = positions.iloc[int(np.argmax(np.abs(position) > 1))]
        raise DataError(f"positions: {row['pair']} at {row['date']} is {row['position']}; expected -1 to 1")
    signals = {
        "enter_long": position > 0,
        "exit_long": position <= 0,
        "enter_short": position < 0,
        "exit_short": position >= 0,
        "size": np.abs(position),
    }
    return (
        pd.DataFrame({"pair": positions["pair"].astype("str"), "date": positions["date"]})
        .assign(**signals)
        .sort_values(["pair", "date"], ignore_index=True)
    )
