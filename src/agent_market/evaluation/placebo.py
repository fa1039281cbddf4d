"""The placebo certificate: how often each claim of the report is made where there is nothing to find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator
from scipy.special import betaincinv

from agent_market.evaluation.formatting import format_value
from agent_market.evaluation.jsonable import to_jsonable
from agent_market.options import Options, Span

SCHEMA_VERSION = 1
WORLDS = {"markets": "simulated markets without a signal", "rotations": "rotations of the features in time"}
SURE = 0.95
"""Of a deflated or plain probabilistic Sharpe ratio: above it, people speak of skill."""


class PlaceboOptions(Options):
    """What the placebo certificate runs; its cost is (markets + rotations) x that of training `models` once."""

    markets: int = Field(20, ge=0, description="simulated markets of the same shape without a signal")
    rotations: int = Field(20, ge=0, description="runs on the configured market with its features moved in time")
    models: tuple[str, ...] | None = Field(
        None, description="models to certify; null = those of the stage ml_training; as text, separated by spaces"
    )
    min_offset: Span = Field("30d", description="the least that features are moved; more where they look back further")
    level: float = Field(0.05, gt=0, lt=0.5, description="chance of any false claim that the report promises")
    seed: int = Field(0, ge=0, description="same seed, same markets and offsets")
    n_jobs: int = Field(
        -1, description="runs side by side, each in a process of its own, where compute says; -1 = one per processor"
    )
    folder: str | None = Field(
        None, description="where finished runs are kept, so that a killed certificate goes on; null = nowhere"
    )

    @field_validator("models", mode="before")
    @classmethod
    def _names_from_text(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value


@dataclass(frozen=True)
class Claim:
    """What a report may say, and the share of runs without anything to find in which it may at most say so.

    `markets` and `rotations` are that promise as a multiple of the level; None where none is made. Of one and the same
    market, moved in time, nothing is promised of what its own rise or fall decides.
    """

    title: str
    markets: float | None
    rotations: float | None


CLAIMS = {
    "edge": Claim("an edge after costs", 1.0, 1.0),
    "rank_ic": Claim("RankIC above zero, corrected for the models", 0.5, 0.5),
    "alpha_sharpe": Claim("alpha Sharpe ratio above zero, corrected for the models", 0.5, 0.5),
    "alpha_dsr": Claim("deflated alpha Sharpe ratio above 95 %", 1.0, 1.0),
    "dsr": Claim("deflated Sharpe ratio above 95 %", 1.0, None),
    "alpha_spa": Claim("SPA: the best model has an alpha", 1.0, 1.0),
    "spa": Claim("SPA: the best model beats buy-and-hold", 1.0, None),
    "reality_check": Claim("reality check: the best model beats buy-and-hold", 1.0, None),
    "gate": Claim("a policy passes the go-live gate", 1.0, 1.0),
    "pbo": Claim("probability of backtest overfitting below 5 %", None, None),
    "rank_ic_alone": Claim("RankIC above zero, not corrected for the models", None, None),
    "psr": Claim("probabilistic Sharpe ratio above 95 %, trials not counted", None, None),
}
"""Made by any model of a run. The last three are what a report would say that does not count what was tried."""


def claims_of(
    verdicts: Mapping[str, Mapping[str, Any]],
    significance: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    *,
    level: float = 0.05,
) -> dict[str, list[str]]:
    """Claim → models that make it, of one run; claims of all models together name the best one.

    Arguments are the datasets `verdicts`, `significance` and, by model, `<model>.metrics`.
    """
    models = significance["models"]

    def above(name: str) -> list[str]:
        return [model for model, found in models.items() if (found[name] or 0.0) > SURE]

    def below(name: str, best: str, limit: float) -> list[str]:
        return [significance[best] or "any"] if significance[name] is not None and significance[name] < limit else []

    return {
        "edge": [model for model, verdict in verdicts.items() if verdict["claim"]],
        "rank_ic": [model for model, verdict in verdicts.items() if (verdict["ic_ci"][0] or 0.0) > 0.0],
        "alpha_sharpe": [model for model, verdict in verdicts.items() if (verdict["alpha_sharpe_ci"][0] or 0.0) > 0.0],
        "alpha_dsr": above("alpha_dsr"),
        "dsr": above("dsr"),
        "alpha_spa": below("alpha_spa_p", "alpha_spa_best", level),
        "spa": below("spa_p", "spa_best", level),
        "reality_check": below("reality_check_p", "spa_best", level),
        "gate": [model for model, figures in metrics.items() if figures.get("gate")],
        "pbo": below("pbo", "spa_best", 0.05),
        "rank_ic_alone": [model for model, figures in metrics.items() if (figures["rank_ic_low"] or 0.0) > 0.0],
        "psr": above("psr"),
    }


def binomial_interval(count: int, n: int, level: float = 0.05) -> tuple[float, float]:
    """The interval of 1 - `level` of a share of which `count` of `n` were seen (Clopper & Pearson 1934)."""
    low = float(betaincinv(count, n - count + 1, level / 2.0)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, n - count, 1.0 - level / 2.0)) if count < n else 1.0
    return low, high


def certify(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], *, level: float = 0.05) -> dict[str, Any]:
    """The certificate, JSON-ready: false-positive rates of all claims on runs without anything to find.

    A claim is made too often if its rate is above the promise beyond what chance explains: outside the one-sided
    binomial bound of `level` / number of promises checked. The certificate passes if none is.

    Args:
        rows: one per run: `world` (of `WORLDS`), `claims` (as of `claims_of`), `figures` (model → rank_ic and
            alpha_sharpe).
        facts: what identifies the run: `data`, `parameters`, `code`, `models`; kept as they are.
        level: as of the report.

    Returns:
        schema_version, facts, level, passed, sentence, too_often (titles), and worlds: world → runs, claims (claim →
        title, promise, count, rate, low, high (95 %), too_often, models: model → count), figures (model → mean and sd
        of its RankIC and alpha Sharpe ratio).
    """
    by_world = {world: [row for row in rows if row["world"] == world] for world in WORLDS}
    by_world = {world: own for world, own in by_world.items() if own}
    promises = {
        (world, name): getattr(claim, world) * level
        for world in by_world
        for name, claim in CLAIMS.items()
        if getattr(claim, world) is not None
    }
    worlds: dict[str, Any] = {}
    for world, own in by_world.items():
        claims = {
            name: _rate(claim, [row["claims"][name] for row in own], promises.get((world, name)), level / len(promises))
            for name, claim in CLAIMS.items()
        }
        worlds[world] = {"runs": len(own), "claims": claims, "figures": _figures(own)}
    too_often = [
        f"{found['title']} ({WORLDS[world]})"
        for world, part in worlds.items()
        for found in part["claims"].values()
        if found["too_often"]
    ]
    return to_jsonable(
        {
            "schema_version": SCHEMA_VERSION,
            **facts,
            "level": level,
            "passed": bool(rows) and not too_often,
            "too_often": too_often,
            "sentence": _sentence(worlds, too_often, level),
            "worlds": worlds,
        }
    )


def certificate_for(
    certificate: Mapping[str, Any] | None, *, data: str, parameters: str, models: Sequence[str]
) -> dict[str, Any] | None:
    """What a report may show of a certificate: `valid`, `passed`, a `sentence`, and if valid its `worlds`.

    None where there is none. One of other candles or parameters is not valid for this run, and does not pass, whatever
    it says.
    """
    if certificate is None:
        return None
    mine = {"candles": (certificate["data"], data), "parameters": (certificate["parameters"], parameters)}
    other = [name for name, (theirs, own) in mine.items() if theirs != own]
    if other:
        sentence = (
            f"made for other {' and '.join(other)}, so it says nothing of this run: kedro run --pipelines placebo"
        )
        return {"valid": False, "passed": False, "sentence": sentence}
    left_out = [model for model in models if model not in certificate["models"]]
    beyond = f" Not certified: {', '.join(left_out)}." if left_out else ""
    said = certificate["sentence"] + beyond
    return {"valid": True, "passed": certificate["passed"], "sentence": said, "worlds": certificate["worlds"]}


def _rate(claim: Claim, made: list[list[str]], promise: float | None, level: float) -> dict[str, Any]:
    count, n = sum(bool(models) for models in made), len(made)
    low, high = binomial_interval(count, n)
    least, _ = binomial_interval(count, n, 2.0 * level)
    models = sorted({model for names in made for model in names})
    return {
        "title": claim.title,
        "promise": promise,
        "count": count,
        "rate": count / n,
        "low": low,
        "high": high,
        "too_often": promise is not None and least > promise,
        "models": {model: sum(model in names for names in made) for model in models},
    }


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each model the mean and the deviation over runs of its RankIC and alpha Sharpe ratio."""
    import pandas as pd

    table = pd.DataFrame([{"model": model} | found for row in rows for model, found in row["figures"].items()])
    if table.empty:
        return {}
    spread = table.groupby("model").agg(["mean", "std"])
    return {
        model: {f"{figure}_{how}": values[figure, how] for figure, how in spread.columns}
        for model, values in spread.iterrows()
    }


def _sentence(worlds: Mapping[str, Any], too_often: list[str], level: float) -> str:
    if not worlds:
        return "no run was made"
    told = []
    for world, part in worlds.items():
        edge = part["claims"]["edge"]
        told.append(f"in {edge['count']} of {part['runs']} {WORLDS[world]}")
    count = sum(part["claims"]["edge"]["count"] for part in worlds.values())
    n = sum(part["runs"] for part in worlds.values())
    _, high = binomial_interval(count, n)
    most = f"at most {format_value(high, 'percent')} with 97.5 % confidence; the promise is {100 * level:g} %"
    said = f"with nothing to find, this pipeline claims an edge {' and '.join(told)} ({most})."
    if too_often:
        said += f" Made more often than promised: {'; '.join(too_often)}."
    return said
