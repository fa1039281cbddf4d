"""What the gains of factors say: t values that allow for overlap, stability, correlation, turnover and costs."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from agent_market.evaluation.significance import MeanInterval, mean_interval
from agent_market.factors.tree import Node
from agent_market.mining.arena import Arena, Gains

BLOCK_LAGS = 2
"""Neighbouring blocks of at least twice the horizon that may still be correlated."""


def block_means(by_date: np.ndarray, block: int) -> np.ndarray:
    """Means of (n, n_dates) over blocks of dates, (n, n_blocks); NaN where less than half of a block is known.

    A last block that is not whole is left out.
    """
    n_blocks = by_date.shape[1] // block
    cut = by_date[:, : n_blocks * block].reshape(len(by_date), n_blocks, block)
    known = np.isfinite(cut)
    count = known.sum(axis=2)
    total = np.where(known, cut, 0.0).sum(axis=2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=2 * count >= block)


def block_interval(means: np.ndarray) -> MeanInterval:
    """Mean, t and two-sided p of block means, one observation per block, Newey-West over neighbouring blocks."""
    return mean_interval(means[np.isfinite(means)], BLOCK_LAGS)


def measure(arena: Arena, gains: Gains) -> pd.DataFrame:
    """One row per factor: ic, t, p (two-sided), coverage, blocks, positive_blocks, icir, thirds and pairs.

    `ic` is the rank correlation, `icir` the mean over the deviation of blocks (not annualised), `coverage` the share of
    dates at which the factor said something; `thirds` counts the thirds of the segment, `pairs` is the share of the
    pairs, that have the sign of the whole. A factor that says nothing has t 0 and p 1.
    """
    means = block_means(gains.by_date, arena.options.block)
    askable = np.isfinite(arena.outcome).sum(axis=1) >= (arena.options.cross_section if arena.is_cross_section else 1)
    known = np.isfinite(gains.by_date)
    rows = []
    for number, blocks in enumerate(means):
        own = blocks[np.isfinite(blocks)]
        interval = block_interval(own)
        t = interval.t if math.isfinite(interval.t) else 0.0
        sign = np.sign(t)
        thirds = [part.mean() for part in np.array_split(own, 3)] if own.size >= 3 else []
        shares = gains.by_pair[number]
        shares = shares[shares != 0.0]
        deviation = own.std(ddof=1) if own.size > 1 else 0.0
        rows.append(
            {
                "ic": float(gains.ic[number]),
                "t": t,
                "p": interval.p if math.isfinite(interval.p) else 1.0,
                "coverage": float(known[number].sum() / max(askable.sum(), 1)),
                "blocks": int(own.size),
                "positive_blocks": float((own * sign > 0).mean()) if own.size else 0.0,
                "icir": float(own.mean() / deviation) if deviation > 1e-12 else 0.0,
                "thirds": int(sum(np.sign(third) == sign for third in thirds)) if sign else 0,
                "pairs": float((np.sign(shares) == sign).mean()) if shares.size and sign else 0.0,
            }
        )
    columns = ["ic", "t", "p", "coverage", "blocks", "positive_blocks", "icir", "thirds", "pairs"]
    return pd.DataFrame(rows, columns=columns)


def one_sided(t: float, p: float, sign: float) -> float:
    """The chance of a t as far on the side of `sign`, from its two-sided p."""
    return p / 2.0 if t * sign > 0 else 1.0 - p / 2.0


def gain_correlations(by_date: np.ndarray, block: int) -> np.ndarray:
    """Correlations of the gains of (n, n_dates) factors from block to block; what is not known counts as the mean."""
    means = block_means(by_date, block)
    known = np.isfinite(means)
    centre = np.where(known, means, 0.0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = np.where(known, means - centre, 0.0)
    size = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    scaled = np.divide(centred, size, out=np.zeros(centred.shape), where=size > 0)
    return scaled @ scaled.T


def value_correlations(arena: Arena, trees: Sequence[Node], others: Sequence[Node]) -> np.ndarray:
    """Rank correlations of factors with others by value, on the arena's sample of rows: (n_trees, n_others)."""
    if not len(trees) or not len(others):
        return np.zeros((len(trees), len(others)))
    values = np.concatenate([arena.values(trees), arena.values(others)])[:, arena.sample].astype(float)
    n = len(trees)
    table = pd.DataFrame(values.T)
    ranks = table.rank().to_numpy()
    out = np.zeros((n, len(others)))
    for i in range(n):
        for j in range(len(others)):
            x, y = ranks[:, i], ranks[:, n + j]
            both = np.isfinite(x) & np.isfinite(y)
            if both.sum() > 30 and x[both].std() > 0 and y[both].std() > 0:
                out[i, j] = np.corrcoef(x[both], y[both])[0, 1]
    return out


def trading_figures(arena: Arena, values: np.ndarray, sign: float) -> dict[str, float]:
    """What a portfolio earns before costs that follows a factor's values (n_rows,): turnover, break_even and gross.

    At each close a share 1 / horizon of the portfolio takes up the factor's weights and holds them for the horizon, so
    that weights are means over the last `horizon` dates. `turnover` is the mean of ½ Σ|Δ weight| per candle, `gross`
    the mean return per candle, `break_even` the costs per side at which nothing is left: gross / (2 turnover).
    """
    horizon = arena.options.horizon
    wanted = sign * arena.weights(values)
    total = np.cumsum(np.vstack([np.zeros((horizon, wanted.shape[1])), wanted]), axis=0)
    weights = (total[horizon:] - total[:-horizon]) / horizon
    gross = float((weights * arena.next_return).sum(axis=1).mean())
    turnover = float(0.5 * np.abs(np.diff(weights, axis=0)).sum(axis=1).mean())
    return {"turnover": turnover, "gross": gross, "break_even": gross / (2 * turnover) if turnover > 0 else 0.0}


def required_t(least: float, trials: int) -> float:
    """The |t| that is required on the search segment: `least`, or what the best of so many trials has by luck.

    The expected largest of n standard normals, here of 2 n since either sign would do, is
    (1 - g) z(1 - 1/n) + g z(1 - 1/(n e)), with Euler's constant g (Bailey & López de Prado 2014).
    """
    n = 2.0 * max(trials, 1)
    gamma = 0.5772156649015329
    expected = (1 - gamma) * ndtri(1 - 1 / n) + gamma * ndtri(1 - 1 / (n * math.e))
    return max(least, float(expected))


def false_discovery(p: np.ndarray, q: float) -> np.ndarray:
    """Which tests pass at a false discovery rate of `q` (Benjamini & Hochberg 1995): bool of the shape of `p`."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    below = p[order] <= q * np.arange(1, p.size + 1) / max(p.size, 1)
    passed = np.zeros(p.size, dtype=bool)
    if below.any():
        passed[order[: int(np.flatnonzero(below)[-1]) + 1]] = True
    return passed


def spent(q: float, round_number: int) -> float:
    """The part of `q` that a round may spend: q · 6 / (π² r²), which adds up to q over all rounds."""
    return q * 6.0 / (math.pi**2 * round_number**2)
