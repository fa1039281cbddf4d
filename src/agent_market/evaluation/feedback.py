"""The facts of a run for the next one to read."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from agent_market.evaluation.figures import importance_shares
from agent_market.evaluation.jsonable import to_jsonable
from agent_market.evaluation.verdict import overall_verdict

SCHEMA_VERSION = 1


def build_feedback(
    *,
    run: Mapping[str, Any],
    verdicts: Mapping[str, Mapping[str, Any]],
    leaderboard: pd.DataFrame,
    importance: pd.DataFrame | None = None,
    caveats: list[str] | None = None,
    top: int = 10,
) -> dict[str, Any]:
    """What was run and what came out, as JSON: schema_version, run, verdict, models, benchmarks, caveats.

    Every number stands in the tables already; nothing is advised. A model has its leaderboard row, its verdict and
    `top_features`: the `top` features by mean share (fraction) of importance over folds, empty where it has none.
    """
    rows = {str(row["model"]): row for row in to_jsonable(leaderboard)}
    models = {
        model: {
            "metrics": {key: value for key, value in rows[model].items() if key != "model"},
            "verdict": verdict,
            "top_features": _top_features(importance, model, top),
        }
        for model, verdict in verdicts.items()
    }
    return to_jsonable(
        {
            "schema_version": SCHEMA_VERSION,
            "run": dict(run),
            "verdict": overall_verdict(verdicts),
            "models": models,
            "benchmarks": {model: row for model, row in rows.items() if model not in verdicts},
            "caveats": caveats or [],
        }
    )


def _top_features(importance: pd.DataFrame | None, model: str, top: int) -> list[dict[str, Any]]:
    if importance is None:
        return []
    part = importance[importance["model"] == model]
    return [] if part.empty else to_jsonable(importance_shares(part).head(top))
