"""All that is known about how likely the results of a run are luck, in one place."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import ParameterError
from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.metrics import MIN_DAYS_TO_ANNUALISE
from agent_market.evaluation.overfitting import Overfitting, overfitting_probability
from agent_market.evaluation.sharpe import deflated_sharpe, minimum_track_record, probabilistic_sharpe
from agent_market.evaluation.superiority import Superiority, superiority_test


def weigh_evidence(
    returns: Mapping[str, pd.Series],
    benchmark: pd.Series,
    trials: Mapping[str, int],
    *,
    level: float = 0.05,
    repetitions: int = 5000,
    seed: int = 0,
) -> dict[str, Any]:
    """Significance of a run's models beside one another, JSON-safe; what needs more than there is is None.

    Args:
        returns: model → daily net returns indexed by day; only days that all have, and the benchmark, are used.
        benchmark: buy-and-hold's daily returns.
        trials: model → how often it was tuned on other options, itself included.
        level: chance of a false claim behind the minimum track record.
        repetitions: resamples of the tests against buy-and-hold.
        seed: same seed, same p values.

    Returns:
        days, models_compared, trials (of all models), `pbo` and `pbo_loss` with pbo_slices; for the best model against
        buy-and-hold `spa_p` (spa_p_low, spa_p_high), `reality_check_p` and `spa_best`, and the same of alpha returns
        against zero with the prefix `alpha_`; and `models`: model → trials, psr, dsr, min_track_days, and the same of
        its alpha returns (`alpha_psr`, `alpha_dsr`, `alpha_min_track_days`). An alpha return is the daily net return
        less beta (OLS over all days) x buy-and-hold's.
    """
    if wrong := [model for model in returns if trials.get(model, 0) < 1]:
        raise ParameterError(f"no number of trials, 1 or more, was given for {', '.join(wrong)}")
    table = pd.concat([benchmark, *returns.values()], axis=1, join="inner").to_numpy(dtype=float)
    market, net = table[:, 0], table[:, 1:]
    alpha = alpha_returns(net, market)
    counted = sum(trials[model] for model in returns)
    evidence: dict[str, Any] = {"days": len(table), "models_compared": len(returns), "trials": counted}
    enough = len(table) >= MIN_DAYS_TO_ANNUALISE and len(returns) > 0
    how = {"seed": seed, "repetitions": repetitions}
    names = list(returns)
    evidence |= _overfitting(overfitting_probability(net) if enough else None)
    evidence |= _superiority("", superiority_test(net - market[:, None], **how) if enough else None, names)
    evidence |= _superiority("alpha_", superiority_test(alpha, **how) if enough else None, names)
    evidence["models"] = {
        model: {"trials": trials[model]}
        | _of_model("", net[:, at], counted, level)
        | _of_model("alpha_", alpha[:, at], counted, level)
        for at, model in enumerate(returns)
    }
    return to_jsonable(evidence)


def alpha_returns(returns: np.ndarray, benchmark: np.ndarray) -> np.ndarray:
    """Returns (n, k) less beta x benchmark (n,), beta the OLS slope over all rows; zero where nothing else is left."""
    centred = benchmark - benchmark.mean() if len(benchmark) else benchmark
    variance = float(centred @ centred)
    beta = centred @ returns / variance if variance > 0.0 else np.zeros(returns.shape[1])
    rest = returns - beta * benchmark[:, None]
    explained = rest.std(axis=0) <= 1e-6 * returns.std(axis=0) if len(rest) else True
    return np.where(explained, 0.0, rest)


def _of_model(prefix: str, returns: np.ndarray, trials: int, level: float) -> dict[str, Any]:
    days = minimum_track_record(returns, level)
    return {
        f"{prefix}psr": probabilistic_sharpe(returns),
        f"{prefix}dsr": deflated_sharpe(returns, trials),
        f"{prefix}min_track_days": math.ceil(days) if math.isfinite(days) else None,
    }


def _overfitting(found: Overfitting | None) -> dict[str, Any]:
    if found is None:
        return {"pbo": None, "pbo_loss": None, "pbo_slices": None}
    return {"pbo": found.probability, "pbo_loss": found.loss, "pbo_slices": found.slices}


def _superiority(prefix: str, found: Superiority | None, names: list[str]) -> dict[str, Any]:
    keys = ("spa_p", "spa_p_low", "spa_p_high", "reality_check_p", "spa_best")
    values: tuple[Any, ...] = (None,) * len(keys)
    if found is not None:
        values = found.spa, found.spa_low, found.spa_high, found.reality_check, names[found.best]
    return {f"{prefix}{key}": value for key, value in zip(keys, values, strict=True)}
