"""Whether the best of several models beats a benchmark, allowing for all that were tried: reality check and SPA."""

import math
from dataclasses import dataclass

import numpy as np

from agent_market.errors import DataError
from agent_market.evaluation.significance import MIN_BLOCK_DAYS, optimal_block_length, resampled_means


@dataclass(frozen=True)
class Superiority:
    """p values of the hypothesis that no model is better than the benchmark.

    `spa` is Hansen's consistent one, `spa_low` and `spa_high` bound it from both sides; `reality_check` is White's.
    """

    spa: float
    spa_low: float
    spa_high: float
    reality_check: float
    best: int  # column with the highest studentised mean
    statistic: float
    block: float  # mean block length, days


def superiority_test(
    excess: np.ndarray, *, seed: int, repetitions: int = 5000, block: float | None = None
) -> Superiority | None:
    """Tests of the best of k models by their mean return beyond a benchmark's; None where nothing varies.

    White's reality check (2000) compares the largest mean with its law under the stationary bootstrap, recentred as if
    no model were better. Hansen's test of superior predictive ability (2005) divides each mean by its deviation, so
    that a wild model does not drown the others, and does not let hopeless ones count. The deviations are those that the
    stationary bootstrap itself implies, in closed form (his appendix).

    Args:
        excess: (n, k) daily returns less the benchmark's.
        seed: same seed, same p values.
        repetitions: resamples.
        block: mean block length, days; by default the largest `optimal_block_length` of the models, at least
            `MIN_BLOCK_DAYS`.
    """
    table = np.asarray(excess, dtype=float)
    if table.ndim != 2 or len(table) < 3 or not np.isfinite(table).all():
        raise DataError(f"excess returns must be a finite table of three days or more, not of shape {table.shape}")
    n = len(table)
    varies = table.std(axis=0) > 1e-12 * np.abs(table).max(initial=0.0)
    if not varies.any():
        return None
    columns = np.flatnonzero(varies)
    table = table[:, varies]
    if block is None:
        block = max(MIN_BLOCK_DAYS, *(optimal_block_length(column) for column in table.T))
    mean = table.mean(axis=0)
    deviation = np.sqrt(_bootstrap_variance(table, block))
    drawn = resampled_means(table, np.random.default_rng(seed), block, repetitions)  # (repetitions, k)

    scaled = mean / deviation * math.sqrt(n)
    hopeless = scaled < -math.sqrt(2.0 * math.log(math.log(n)))
    centres = {"spa_low": np.maximum(mean, 0.0), "spa": np.where(hopeless, 0.0, mean), "spa_high": mean}
    highest = {name: ((drawn - centre) / deviation).max(axis=1) * math.sqrt(n) for name, centre in centres.items()}
    chances = {name: float((value > scaled.max()).mean()) for name, value in highest.items()}
    plain = float(((drawn - mean).max(axis=1) > mean.max()).mean())
    return Superiority(
        **chances,
        reality_check=plain,
        best=int(columns[scaled.argmax()]),
        statistic=float(scaled.max()),
        block=float(block),
    )


def _bootstrap_variance(table: np.ndarray, block: float) -> np.ndarray:
    """n times the variance (k,) of the mean of a stationary resample with that mean block length."""
    n = len(table)
    centred = table - table.mean(axis=0)
    spectrum = np.fft.rfft(centred, 2 * n, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=0)[:n] / n
    lag, stay = np.arange(1, n), 1.0 - 1.0 / block
    weight = (1.0 - lag / n) * stay**lag + lag / n * stay ** (n - lag)
    return covariance[0] + 2.0 * weight @ covariance[1:]
