"""How likely a Sharpe ratio is more than luck: probabilistic and deflated, and how long a record has to be to tell."""

import math

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from agent_market.errors import DataError, ParameterError

EULER_GAMMA = 0.5772156649015329


def probabilistic_sharpe(returns: np.ndarray | pd.Series, benchmark: float = 0.0) -> float:
    """The chance that the true Sharpe ratio is above `benchmark`, given skewness and fat tails (n,); NaN if undefined.

    `benchmark` is per period, not annualised. Bailey & López de Prado (2012): the estimate is normal with variance
    (1 - skewness S + (kurtosis - 1) / 4 S²) / (n - 1), of a normal law kurtosis is 3. Returns are taken as
    independent: where they are not, the bootstrap interval of the Sharpe ratio is to be believed rather.
    """
    ratio, error = _ratio_and_error(returns)
    return float(ndtr((ratio - benchmark) / error)) if error > 0.0 else math.nan


def expected_best_sharpe(trials: int, error: float) -> float:
    """The Sharpe ratio per period that the best of `trials` independent trials without any skill is expected to have.

    `error` is the deviation of one such trial's ratio, for `n` returns 1 / sqrt(n - 1). Bailey & López de Prado (2014),
    from the law of the largest of normal values; 0 for one trial.
    """
    if trials < 1 or int(trials) != trials:
        raise ParameterError(f"the number of trials is {trials}; expected a whole number, 1 or more")
    if trials == 1:
        return 0.0
    high, higher = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * math.e))
    return float(error * ((1.0 - EULER_GAMMA) * high + EULER_GAMMA * higher))


def deflated_sharpe(returns: np.ndarray | pd.Series, trials: int) -> float:
    """The chance that the true Sharpe ratio is above that of the best of `trials` without skill; NaN if undefined.

    The hurdle is `expected_best_sharpe` with the deviation 1 / sqrt(n - 1) that trials without skill have. The
    deviation *observed* among trials is often used instead; it grows with trials that lose, and so would make a
    strategy look the worse the more bad ones it is compared with. An *effective* number of trials from their
    correlation is not used either: it lets luck through.
    """
    n = len(np.asarray(returns))
    if n < 3:
        return math.nan
    return probabilistic_sharpe(returns, expected_best_sharpe(trials, 1.0 / math.sqrt(n - 1.0)))


def minimum_track_record(returns: np.ndarray | pd.Series, level: float = 0.05, benchmark: float = 0.0) -> float:
    """How many returns of this kind it takes until the probabilistic Sharpe ratio is 1 - `level`; NaN if never.

    Bailey & López de Prado (2012). `benchmark` is per period.
    """
    if not 0.0 < level < 0.5:
        raise ParameterError(f"level is {level}; expected a chance below one half, such as 0.05")
    ratio, error = _ratio_and_error(returns)
    if not (ratio > benchmark and error > 0.0):
        return math.nan
    variance = error**2 * (len(np.asarray(returns)) - 1.0)
    return float(1.0 + variance * (ndtri(1.0 - level) / (ratio - benchmark)) ** 2)


def _ratio_and_error(returns: np.ndarray | pd.Series) -> tuple[float, float]:
    """Sharpe ratio per period (ddof 1) and its standard error; (NaN, NaN) where returns are too few or do not vary."""
    values = np.asarray(returns, dtype=float)
    if not np.isfinite(values).all():
        raise DataError("returns that are not finite have no Sharpe ratio; check the equity")
    if len(values) < 3 or not values.std() > 1e-15 * np.abs(values).max(initial=0.0):
        return math.nan, math.nan
    ratio = float(values.mean() / values.std(ddof=1))
    scaled = (values - values.mean()) / values.std()
    skewness, kurtosis = float((scaled**3).mean()), float((scaled**4).mean())
    spread = 1.0 - skewness * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    return ratio, math.sqrt(max(spread, 0.0) / (len(values) - 1.0))
