"""Whether a policy is fit to trade: what it earned, in how many intervals, on how many seeds, and whether by timing."""

from typing import Any

import numpy as np
from pydantic import Field

from agent_market.learning.account import ENSEMBLE, PolicyAccount
from agent_market.options import Options


class GateOptions(Options):
    """What a policy must have shown out of sample before it may be exported."""

    min_intervals: int = Field(3, ge=1, description="separate test windows that there must be")
    min_seeds: int = Field(3, ge=1, description="seeds that there must be")
    intervals: float = Field(
        0.75, ge=0, le=1, description="share of the intervals that must end with a gain; of fewer than four, all"
    )
    seeds: float = Field(0.8, ge=0, le=1, description="share of the seeds that must gain, also at raised costs")
    cost_factor: float = Field(2.0, ge=1, description="how many times the costs it must earn as well")
    max_drawdown: float = Field(0.35, gt=0, lt=1, description="deepest fall of the account from its peak, fraction")
    level: float = Field(0.05, gt=0, lt=1, description="chance at which luck may pass for timing")
    min_shift: int = Field(168, ge=1, description="candles by which returns are shifted at the least")


def judge_policy(account: PolicyAccount, options: GateOptions) -> dict[str, Any]:
    """The verdict, JSON-ready: `passed`, `reasons` (a sentence for each check that failed), `checks` with value and
    limit, `timing_z`, and the `options`.

    `account` must have been made with `options.cost_factor`.
    """
    intervals, net = account.intervals, account.net
    traded = intervals[intervals["seed"] == ENSEMBLE]
    by_seed = intervals[intervals["seed"] != ENSEMBLE].groupby("seed")[["net", "net_raised_costs"]].sum()
    n_intervals, n_seeds = len(traded), len(by_seed)
    share = options.intervals if n_intervals >= 4 else 1.0
    gained = float((traded["net"] > 0).mean()) if n_intervals else 0.0
    seeds = float((by_seed > 0).all(axis=1).mean()) if n_seeds else 0.0
    total, raised = float(traded["net"].sum()), float(traded["net_raised_costs"].sum())
    drawdown = account_drawdown(net.to_numpy())
    chance, z = timing_test(account.positions, account.returns, min_shift=options.min_shift)
    costs = f"{options.cost_factor:g} times the costs"
    checks = [
        _check("intervals there", n_intervals, f">= {options.min_intervals}", n_intervals >= options.min_intervals,
               f"there are {n_intervals} test windows, and {options.min_intervals} are needed to tell: more candles, "
               "or a shorter folds.test"),
        _check("seeds there", n_seeds, f">= {options.min_seeds}", n_seeds >= options.min_seeds,
               f"there are {n_seeds} seeds, and {options.min_seeds} are needed to tell: raise the model's seeds"),
        _check("net log return", total, "> 0", total > 0, f"net of costs it lost: a log return of {total:+.4f}"),
        _check(f"net log return at {costs}", raised, "> 0", raised > 0,
               f"at {costs} it lost: a log return of {raised:+.4f}"),
        _check("share of intervals with a gain", gained, f">= {share:g}", gained >= share,
               f"it gained in {gained:.0%} of {n_intervals} intervals, less than {share:.0%}"),
        _check(f"share of seeds with a gain, also at {costs}", seeds, f">= {options.seeds:g}", seeds >= options.seeds,
               f"{seeds:.0%} of {n_seeds} seeds gained, also at {costs}, less than {options.seeds:.0%}"),
        _check("deepest drawdown", drawdown, f"<= {options.max_drawdown:g}", drawdown <= options.max_drawdown,
               f"its account fell by {drawdown:.1%} from a peak, more than {options.max_drawdown:.0%}"),
        _check("chance of such timing by luck", chance, f"< {options.level:g}", chance < options.level,
               f"shifted in time, the same positions earn as much with a chance of {chance:.1%}: what it earned is not "
               "its timing"),
    ]  # fmt: skip
    failed = [check for check in checks if not check["passed"]]
    return {
        "passed": not failed,
        "reasons": [check["reason"] for check in failed],
        "checks": [{name: value for name, value in check.items() if name != "reason"} for check in checks],
        "timing_z": z,
        "options": options.model_dump(mode="json"),
    }


def _check(what: str, value: float, limit: str, passed: bool, reason: str) -> dict[str, Any]:
    return {"check": what, "value": value, "limit": limit, "passed": bool(passed), "reason": reason}


def timing_test(positions: np.ndarray, returns: np.ndarray, *, min_shift: int) -> tuple[float, float]:
    """The chance of earning as much when the same positions meet returns of another time, and the z value.

    Both arguments are (n_pairs, n_candles). All circular shifts of the returns by `min_shift` candles or more, the
    same for all pairs, are the distribution of luck: they keep the exposure, the turnover and the autocorrelation of
    both, so that neither drift nor costs can pass for timing. One Fourier transform gives them all. The chance is 1
    where there are too few candles, or no position.
    """
    n = positions.shape[1]
    if n < 2 * min_shift + 20 or not positions.any():
        return 1.0, 0.0
    spectrum = np.conj(np.fft.rfft(positions)) * np.fft.rfft(returns)
    earned = np.fft.irfft(spectrum.sum(axis=0), n)  # [k]: returns of k candles later
    luck = earned[min_shift : n - min_shift + 1]
    chance = (1 + int((luck >= earned[0]).sum())) / (1 + len(luck))
    deviation = float(luck.std())
    return chance, (float(earned[0]) - float(luck.mean())) / deviation if deviation > 0 else 0.0


def account_drawdown(net: np.ndarray) -> float:
    """Deepest fall of an account from its peak, its start included, of log returns (n,); fraction."""
    worth = np.concatenate([[0.0], np.cumsum(net)])
    return float(-np.expm1((worth - np.maximum.accumulate(worth)).min()))
