"""Whether a model has an edge after costs, how sure that is, and the sentence that says so."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import ParameterError
from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.metrics import MIN_DAYS_TO_ANNUALISE, periods_per_year
from agent_market.evaluation.significance import (
    BootstrapSharpe,
    MeanInterval,
    mean_interval,
    overlap_lags,
    stationary_bootstrap,
)

RANK_IC = "RankIC"
ALPHA_SHARPE = "alpha Sharpe ratio"


def edge_verdict(
    returns: Mapping[str, pd.Series],
    benchmark: pd.Series,
    rank_ic: Mapping[str, pd.Series],
    *,
    horizon: int,
    trading_days: int,
    level: float = 0.05,
    repetitions: int = 5000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Per model, whether it may claim an edge after costs, JSON-safe.

    A claim needs both intervals above zero, each two-sided of 1 - `level` / number of models (Bonferroni): that of
    the RankIC (Newey-West) and that of the annualised alpha Sharpe ratio (stationary bootstrap). Alpha is the daily
    net return less beta x buy-and-hold's. A model without a RankIC, or with fewer than 30 days, cannot claim.

    Args:
        returns: model → daily net returns indexed by day, as of `daily_returns`.
        benchmark: buy-and-hold's daily returns; only days that both have are used.
        rank_ic: model → RankIC of each date, as of `ic_series`; NaN are left out.
        horizon: candles of the labels behind the RankIC.
        trading_days: daily returns in a year of this market.
        level: the chance of any false claim that is accepted over all models.
        repetitions: resamples of the bootstrap; raised where the tails of the corrected level need more.
        seed: same seed, same verdict.

    Returns:
        model → claim, sentence, failed (conditions), level (corrected), probability (of positive alpha), rank_ic,
        ic_ci, sharpe_ci, sharpe_low and sharpe_high (uncorrected, 1 - `level`), alpha_sharpe, alpha_sharpe_ci, alpha
        (annual fraction), beta, days_compared.
    """
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level is {level}; expected a chance between 0 and 1, such as 0.05")
    if unknown := set(returns) - set(rank_ic):
        raise ParameterError(f"no RankIC was given for {', '.join(sorted(unknown))}; expected one for every model")
    corrected = level / max(len(returns), 1)
    repetitions = max(repetitions, int(20.0 / corrected))  # ten resamples or more beyond each bound
    verdicts = {}
    for model, series in returns.items():
        values = np.asarray(rank_ic[model], dtype=float)
        values = values[np.isfinite(values)]
        ic = mean_interval(values, overlap_lags(horizon, len(values)), corrected)
        days = pd.concat([series, benchmark], axis=1, join="inner")
        sharpe = None
        if len(days) >= MIN_DAYS_TO_ANNUALISE:
            sharpe = stationary_bootstrap(
                days.iloc[:, 0],
                days.iloc[:, 1],
                periods=periods_per_year(pd.DatetimeIndex(days.index), trading_days),
                seed=seed,
                repetitions=repetitions,
            )
        traded = bool((series != 0.0).any())
        verdicts[model] = to_jsonable(_judge(ic, sharpe, len(days), traded, level, corrected, len(returns)))
    return verdicts


def overall_verdict(verdicts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The answer of the whole run: claim, models (those with an edge), n_models, level and a sentence for people."""
    claims = [model for model, verdict in verdicts.items() if verdict["claim"]]
    count = f"{len(verdicts)} model{'s' if len(verdicts) != 1 else ''}"
    if not verdicts:
        sentence = "No edge after costs: no model was evaluated."
    elif claims:
        best = max(claims, key=lambda model: verdicts[model]["alpha_sharpe"])
        low, high = verdicts[best]["alpha_sharpe_ci"]
        sentence = (
            f"An edge after costs: {_listed(claims)}, of {count} compared. The strongest, {best}, has an alpha "
            f"Sharpe ratio of {_with_interval(verdicts[best]['alpha_sharpe'], low, high, digits=2)}."
        )
    else:
        sentence = f"No edge after costs: none of {count} shows one that chance cannot explain.{_nearest(verdicts)}"
    level = next((verdict["level"] for verdict in verdicts.values()), None)
    return {
        "claim": bool(claims),
        "models": claims,
        "n_models": len(verdicts),
        "level": level,
        "sentence": sentence,
    }


def _nearest(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    known = [model for model, verdict in verdicts.items() if verdict["alpha_sharpe"] is not None]
    if not known:
        return ""
    best = max(known, key=lambda model: verdicts[model]["alpha_sharpe"])
    text = _with_interval(verdicts[best]["alpha_sharpe"], *verdicts[best]["alpha_sharpe_ci"], digits=2)
    unconfirmed = "" if ALPHA_SHARPE in verdicts[best]["failed"] else ", which its RankIC does not confirm"
    return f" The highest alpha Sharpe ratio is that of {best}, {text}{unconfirmed}."


def _judge(
    ic: MeanInterval,
    sharpe: BootstrapSharpe | None,
    days: int,
    traded: bool,
    level: float,
    corrected: float,
    n_models: int,
) -> dict[str, Any]:
    verdict: dict[str, Any] = {
        "level": corrected,
        "n_models": n_models,
        "days_compared": days,
        "rank_ic": ic.mean,
        "ic_ci": [ic.low, ic.high],
        "ic_p": ic.p,
    }
    alpha_ci = (np.nan, np.nan)
    if sharpe is not None:
        alpha_ci = sharpe.alpha_sharpe_interval(corrected)
        low, high = sharpe.sharpe_interval(level)
        verdict |= {"sharpe_low": low, "sharpe_high": high}
        verdict |= {"alpha_sharpe": sharpe.alpha_sharpe, "alpha": sharpe.alpha, "beta": sharpe.beta}
        verdict |= {"probability": sharpe.probability, "block_days": sharpe.block}
    else:
        names = ("sharpe_low", "sharpe_high", "alpha_sharpe", "alpha", "beta", "probability", "block_days")
        verdict |= dict.fromkeys(names)
    verdict["sharpe_ci"] = sharpe.sharpe_interval(corrected) if sharpe else [None, None]
    verdict["alpha_sharpe_ci"] = alpha_ci

    intervals = {RANK_IC: (ic.low, ic.high), ALPHA_SHARPE: alpha_ci}
    failed = [name for name, (low, _) in intervals.items() if not low > 0.0]
    verdict["claim"] = not failed
    verdict["failed"] = failed
    texts = {
        RANK_IC: _with_interval(ic.mean, *intervals[RANK_IC], digits=4),
        ALPHA_SHARPE: _with_interval(sharpe.alpha_sharpe if sharpe else np.nan, *alpha_ci, digits=2),
    }
    if not traded:
        verdict["sentence"] = "No edge after costs: the model never traded."
    elif sharpe is None:
        least = MIN_DAYS_TO_ANNUALISE
        verdict["sentence"] = f"No edge after costs: {days} days are too few to tell, {least} are the least."
    else:
        verdict["sentence"] = _sentence(texts, intervals, failed, corrected)
    return verdict


def _sentence(texts: dict[str, str], intervals: dict[str, tuple[float, float]], failed: list[str], level: float) -> str:
    """The verdict in words, naming each condition that failed and how."""
    sure = f"{100.0 * (1.0 - level):.4g} % interval"
    both = " and ".join(f"the {name} of {text}" for name, text in texts.items())
    if not failed:
        return f"An edge after costs: {both} lie above zero ({sure}s)."
    if all(low <= 0.0 <= high for low, high in intervals.values()):
        return f"No edge after costs: {both} may both be zero ({sure}s)."
    reasons = [f"the {name} of {texts[name]} {_place(*intervals[name])}" for name in failed]
    return f"No edge after costs: {' and '.join(reasons)} ({sure}{'s' if len(failed) > 1 else ''})."


def _place(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "cannot be told from so little data"
    return "lies below zero" if high < 0.0 else "may be zero"


def _with_interval(value: float | None, low: float | None, high: float | None, *, digits: int) -> str:
    if value is None or not np.isfinite(value):
        return "no value"
    if low is None or not np.isfinite(low):
        return _minus(f"{value:.{digits}f}")
    return _minus(f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")


def _minus(text: str) -> str:
    """Numbers with a true minus sign, as everywhere in the report."""
    return text.replace("-", "−")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
