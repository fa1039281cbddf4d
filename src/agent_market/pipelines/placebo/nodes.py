"""Nodes of placebo."""

import logging
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from agent_market.evaluation.placebo import certify
from agent_market.learning.trained import data_fingerprint
from agent_market.mining.library import names_of
from agent_market.parallel import count_workers, run_parallel
from agent_market.parameters import Parameters, digest_of
from agent_market.pipelines.placebo.worlds import Base, certified_models, plan_worlds, run_world
from agent_market.source import code_fingerprint

log = logging.getLogger(__name__)


def certify_placebo(
    candles: pd.DataFrame,
    funding_rates: pd.DataFrame,
    market_snapshot: dict[str, Any],
    parameters: dict[str, Any],
    factor_library: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """How often this configuration claims something on markets without a signal and on features moved in time."""
    configured = Parameters.model_validate(parameters)
    options = configured.placebo
    models = certified_models(configured)
    facts = {
        "data": data_fingerprint(candles),
        "parameters": digest_of(configured, models),
        "code": code_fingerprint(),
        "models": models,
        "library": names_of(factor_library),
    }
    base = Base.of(candles, funding_rates, market_snapshot, parameters, models, factor_library)
    store = _folder(options.folder, facts | {"seed": options.seed, "min_offset": options.min_offset})
    worlds = plan_worlds(base, configured)
    rows = {world: row for world in worlds if (row := world.stored(store)) is not None}
    if rows:
        log.info("    placebo: %d of %d runs were there already", len(rows), len(worlds))
    todo = [world for world in worlds if world not in rows]
    workers = count_workers(options.n_jobs)
    for start in range(0, len(todo), 2 * workers):
        batch = todo[start : start + 2 * workers]
        calls = [joblib.delayed(run_world)(base, world, store) for world in batch]
        rows |= zip(batch, run_parallel(calls, n_jobs=options.n_jobs, backend="loky"), strict=True)
        log.info("    placebo: %d of %d runs done", len(rows), len(worlds))
    return certify([rows[world] for world in worlds], facts, level=options.level)


def _folder(root: str | None, facts: dict[str, Any]) -> Path | None:
    """Where runs of these facts are kept: another configuration, other candles or other code have another place."""
    from agent_market.learning.checkpoints import CheckpointPlace

    return None if root is None else Path(root).absolute() / CheckpointPlace.of(Path(root), facts).key
