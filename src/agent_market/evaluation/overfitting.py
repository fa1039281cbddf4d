"""Whether the model that looks best is best by selection: the probability of backtest overfitting."""

import itertools
from dataclasses import dataclass

import bottleneck
import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError

SLICES = (16, 8)
"""Parts of the time that are dealt in two halves, the more the better; fewer where a part would be too short."""
MIN_ROWS = 5
"""Returns that a part must have at the least."""


@dataclass(frozen=True)
class Overfitting:
    """`probability`: share of splits where the best of one half is below the median in the other."""

    probability: float
    loss: float  # share of splits where the best of one half loses money in the other
    slices: int
    rows_per_slice: int
    trials: int
    logits: np.ndarray  # (n_splits,) of the relative rank in the other half


def overfitting_probability(returns: np.ndarray | pd.DataFrame, slices: int | None = None) -> Overfitting | None:
    """The probability of backtest overfitting, by combinatorially symmetric cross-validation; None for too few returns.

    The time is cut into `slices` parts. Every half of them is once the sample in which the trial with the highest
    Sharpe ratio is chosen, the other half that in which it is ranked (Bailey, Borwein, López de Prado & Zhu 2017).
    About one half is what chance gives; near 0, what is best stays best. Ties take their mean rank.

    Args:
        returns: (n, k) returns of k trials on the same days; what does not fill the last part is left out.
        slices: an even number; by default the first of `SLICES` whose parts have `MIN_ROWS` returns.
    """
    table = np.asarray(returns, dtype=float)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise DataError(f"returns of trials must be a finite table of days and trials, not of shape {table.shape}")
    n, trials = table.shape
    if slices is None:
        slices = next((count for count in SLICES if n // count >= MIN_ROWS), 0)
    elif slices < 2 or slices % 2 or n // slices < 2:
        raise ParameterError(f"{slices} slices of {n} returns; expected an even number with two returns or more each")
    if not slices or trials < 2:
        return None
    rows = n // slices
    parts = table[: rows * slices].reshape(slices, rows, trials)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)  # (slices, trials)
    chosen = np.array(list(itertools.combinations(range(slices), slices // 2)))
    halves = np.zeros((len(chosen), slices))
    np.put_along_axis(halves, chosen, 1.0, axis=1)
    size = rows * slices // 2
    inside = _sharpe(halves @ sums, halves @ squares, size)
    outside = _sharpe((1.0 - halves) @ sums, (1.0 - halves) @ squares, size)
    best = inside.argmax(axis=1)
    row = np.arange(len(best))
    rank = bottleneck.rankdata(outside, axis=1)[row, best] / (trials + 1.0)
    logits = np.log(rank / (1.0 - rank))
    return Overfitting(
        probability=float((logits <= 1e-12).mean()),
        loss=float((outside[row, best] < 0.0).mean()),
        slices=slices,
        rows_per_slice=rows,
        trials=trials,
        logits=logits,
    )


def _sharpe(sums: np.ndarray, squares: np.ndarray, size: int) -> np.ndarray:
    """Sharpe ratios per period from sums of `size` returns and of their squares; 0 where nothing varies."""
    mean = sums / size
    variance = (squares - size * mean**2) / (size - 1.0)
    varies = variance > 1e-12 * squares / size
    return np.divide(mean, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(mean), where=varies)
