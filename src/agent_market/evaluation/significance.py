"""How far a mean or a Sharpe ratio can be trusted: errors under overlap, and the stationary bootstrap."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from agent_market.errors import DataError, ParameterError

MIN_BLOCK_DAYS = 5.0
"""Blocks of the bootstrap are not shorter than this, so that clusters of volatility stay together."""
_CHUNK = 256


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its standard error, t value and two-sided interval; NaN where the sample is too short for them."""

    mean: float
    error: float
    t: float
    low: float
    high: float
    p: float


def newey_west(series: np.ndarray | pd.Series, lags: int) -> tuple[float, float]:
    """The mean of a series and its standard error, robust to autocorrelation up to `lags` (Bartlett weights).

    Newey & West (1987), without a small-sample correction. Missing values have to be dropped before.
    """
    values = np.asarray(series, dtype=float)
    if not np.isfinite(values).all():
        raise DataError("the series has values that are not finite; drop them before taking its error")
    if not 0 <= lags < len(values):
        raise ParameterError(f"{lags} lags do not fit a series of {len(values)} values")
    mean = float(values.mean())
    centred = values - mean
    variance = centred @ centred
    for lag in range(1, lags + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1.0)) * (centred[lag:] @ centred[:-lag])
    return mean, math.sqrt(max(variance, 0.0)) / len(values)


def overlap_lags(horizon: int, n: int) -> int:
    """Lags for a series of `n` values whose labels overlap for `horizon` candles.

    The larger of four times the horizon and Newey & West's (1994) 4 (n / 100)^(2/9). Labels share candles up to
    lag `horizon - 1`, and Bartlett's weights shrink those lags' share: with only twice the horizon a 5 % test of
    noise rejects 6 to 8 %, with four times about 6 %.
    """
    if horizon < 1:
        raise ParameterError(f"the horizon is {horizon}; expected 1 candle or more")
    return max(4 * horizon, int(4.0 * (n / 100.0) ** (2.0 / 9.0)))


def mean_interval(series: np.ndarray | pd.Series, lags: int, level: float = 0.05) -> MeanInterval:
    """The mean of a series with a two-sided interval of 1 - `level`, from Newey-West errors and Student's t.

    The t has the equivalent degrees of freedom of Bartlett's window at frequency zero, 1.5 n / (lags + 1)
    (Priestley 1981, section 6.2). Below 2 (lags + 1) values only the mean is given, the rest is NaN.
    """
    values = np.asarray(series, dtype=float)
    n = len(values)
    if n < 2 * (lags + 1):
        return MeanInterval(float(values.mean()) if n else math.nan, *[math.nan] * 5)
    mean, error = newey_west(values, lags)
    freedom = 1.5 * n / (lags + 1.0)
    reach = float(stdtrit(freedom, 1.0 - level / 2.0)) * error
    t = mean / error if error > 0.0 else math.nan
    p = 2.0 * float(stdtr(freedom, -abs(t)))
    return MeanInterval(mean, error, t, mean - reach, mean + reach, p)


@dataclass(frozen=True)
class BootstrapSharpe:
    """Annualised Sharpe ratios of the sample and of its resamples; alpha is what is left after beta x benchmark."""

    sharpe: float
    alpha_sharpe: float
    alpha: float  # annual, fraction
    beta: float
    sharpe_draws: np.ndarray  # (repetitions,)
    alpha_sharpe_draws: np.ndarray  # (repetitions,)
    block: float  # mean block length, days

    def sharpe_interval(self, level: float) -> tuple[float, float]:
        """The two-sided percentile interval of the Sharpe ratio that covers 1 - `level`."""
        return _percentiles(self.sharpe_draws, level)

    def alpha_sharpe_interval(self, level: float) -> tuple[float, float]:
        """The two-sided percentile interval of the alpha Sharpe ratio that covers 1 - `level`."""
        return _percentiles(self.alpha_sharpe_draws, level)

    @property
    def probability(self) -> float:
        """The share of resamples whose alpha is positive."""
        return float((self.alpha_sharpe_draws > 0.0).mean())


def stationary_bootstrap(
    returns: np.ndarray | pd.Series,
    benchmark: np.ndarray | pd.Series,
    *,
    periods: float,
    seed: int,
    repetitions: int = 5000,
    block: float | None = None,
) -> BootstrapSharpe:
    """The distribution of the Sharpe ratio and of the alpha Sharpe ratio under the stationary bootstrap.

    Blocks of days with geometric lengths are drawn around the circle of days (Politis & Romano 1994), the same
    days for the returns and the benchmark. Beta is the OLS slope within each resample.

    Args:
        returns: (n,) daily net returns of the strategy.
        benchmark: (n,) returns of buy-and-hold on the same days.
        periods: returns per year.
        seed: same seed, same draws.
        repetitions: number of resamples.
        block: mean block length in days; by default `optimal_block_length`, at least `MIN_BLOCK_DAYS`.
    """
    strategy, market = np.asarray(returns, dtype=float), np.asarray(benchmark, dtype=float)
    if strategy.shape != market.shape or len(strategy) < 2:
        raise DataError(f"{len(strategy)} returns beside {len(market)} of the benchmark; expected as many, 2 or more")
    if not (np.isfinite(strategy).all() and np.isfinite(market).all()):
        raise DataError("daily returns that are not finite cannot be resampled; check the equity")
    n = len(strategy)
    if block is None:
        block = max(optimal_block_length(strategy), MIN_BLOCK_DAYS)
    terms = np.stack([strategy, market, strategy**2, market**2, strategy * market], axis=1)  # (n, 5)
    moments = resampled_means(terms, np.random.default_rng(seed), block, repetitions)
    draws = _sharpe_ratios(moments.T, n, periods)
    sample = _sharpe_ratios(terms.mean(axis=0)[:, None], n, periods)
    sharpe, alpha_sharpe, alpha, beta = (float(value[0]) for value in sample)
    return BootstrapSharpe(sharpe, alpha_sharpe, alpha, beta, draws[0], draws[1], float(block))


def resampled_means(table: np.ndarray, rng: np.random.Generator, block: float, repetitions: int) -> np.ndarray:
    """Means (repetitions, k) of stationary resamples of the rows of a table (n, k), the same rows for all columns."""
    columns = np.ascontiguousarray(table.T)
    means = [
        columns[:, _stationary_indices(rng, len(table), block, min(_CHUNK, repetitions - done))].mean(axis=2)
        for done in range(0, repetitions, _CHUNK)
    ]
    return np.concatenate(means, axis=1).T


def optimal_block_length(series: np.ndarray | pd.Series) -> float:
    """The mean block length that estimates the variance of a mean best (Politis & White 2004, Patton et al. 2009).

    At least 1; 1 for a constant series.
    """
    values = np.asarray(series, dtype=float)
    n = len(values)
    centred = values - values.mean()
    if n < 10 or float(centred @ centred) <= 1e-30:
        return 1.0
    reach = max(5, int(math.log10(n)))
    furthest = min(math.ceil(math.sqrt(n)) + reach, n - 1)
    covariance = np.array([centred[: n - lag] @ centred[lag:] / n for lag in range(furthest + 1)])
    insignificant = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    # The smallest m after which `reach` correlations in a row are insignificant; else the last significant one.
    runs = np.lib.stride_tricks.sliding_window_view(insignificant, min(reach, furthest)).all(axis=1)
    significant = np.flatnonzero(~insignificant)
    cut = int(np.argmax(runs)) if runs.any() else (int(significant[-1]) + 1 if len(significant) else 0)
    bandwidth = min(2 * max(cut, 1), furthest)
    lags = np.arange(1, bandwidth + 1)
    weights = np.clip(2.0 * (1.0 - lags / bandwidth), 0.0, 1.0)  # flat-top window
    slope = 2.0 * float(weights * lags @ covariance[lags])
    spectrum = covariance[0] + 2.0 * float(weights @ covariance[lags])
    if abs(spectrum) <= 1e-30:
        return 1.0
    length = (slope**2 / spectrum**2) ** (1.0 / 3.0) * n ** (1.0 / 3.0)
    return float(np.clip(length, 1.0, math.ceil(min(3.0 * math.sqrt(n), n / 3.0))))


def _stationary_indices(rng: np.random.Generator, n: int, block: float, repetitions: int) -> np.ndarray:
    """Row numbers of (repetitions, n) resamples: runs that go on by one day and restart with chance 1 / block."""
    restart = rng.random((repetitions, n)) < 1.0 / block
    restart[:, 0] = True
    start = rng.integers(n, size=(repetitions, n))
    step = np.arange(n)
    begun = np.maximum.accumulate(np.where(restart, step, 0), axis=1)
    return (np.take_along_axis(start, begun, axis=1) + step) % n  # a uniform start stays uniform when shifted


def _sharpe_ratios(moments: np.ndarray, n: int, periods: float) -> tuple[np.ndarray, ...]:
    """Sharpe, alpha Sharpe, annual alpha and beta from the means of r, m, r², m², r·m, each (repetitions,)."""
    r, m, rr, mm, rm = moments
    scale = n / (n - 1.0)
    variance, market_variance, covariance = scale * (rr - r * r), scale * (mm - m * m), scale * (rm - r * m)
    beta = _quotient(covariance, market_variance)
    alpha = r - beta * m
    residual = variance - beta * covariance
    # What the market explains fully leaves rounding noise, not an alpha.
    residual = np.where(residual > 1e-12 * np.maximum(variance, rr), residual, 0.0)
    sharpe = _quotient(r, np.sqrt(np.maximum(variance, 0.0))) * math.sqrt(periods)
    alpha_sharpe = _quotient(alpha, np.sqrt(residual)) * math.sqrt(periods)
    return sharpe, alpha_sharpe, alpha * periods, beta


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; 0 where the denominator vanishes: a series that does not vary has shown nothing."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 1e-18)


def _percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [level / 2.0, 1.0 - level / 2.0])
    return float(low), float(high)
