"""Worlds without anything to find: which there are, what happens in one, and where its row is kept."""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from kedro.pipeline.node import Node

from agent_market.adapters import stage_of
from agent_market.errors import ParameterError
from agent_market.evaluation.placebo import claims_of
from agent_market.factors import look_back
from agent_market.learning.rotation import draw_offsets, least_offset, rotate_features
from agent_market.market.silent import silent_twin
from agent_market.options import timeframe_delta
from agent_market.parameters import Parameters, restricted, with_members
from agent_market.pipelines.placebo.rerun import START, nodes_for, run_nodes

MOVED = ("factors", "features", "labels", "folds")
"""Datasets that all rotations share; each moves the features by its own offset."""


@dataclass(frozen=True)
class World:
    """One run: the `number`-th of `markets` or `rotations`, by its seed or its offset in candles."""

    world: str
    number: int
    draw: int

    def stored(self, folder: Path | None) -> dict[str, Any] | None:
        """The row that an earlier certificate left."""
        if folder is None or not self._file(folder).exists():
            return None
        return json.loads(self._file(folder).read_text())

    def store(self, row: dict[str, Any], folder: Path) -> None:
        """Keep the row; the file is there whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        draft = self._file(folder).with_suffix(".draft")
        draft.write_text(json.dumps(row))
        draft.replace(self._file(folder))

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.world}-{self.number:04d}-{self.draw}.json"


@dataclass(frozen=True)
class Base:
    """What all worlds start from: the configured market, the tree of parameters, and the nodes to run."""

    parameters: dict[str, Any]
    models: list[str]
    market: dict[str, Any]  # candles, funding_rates, market_snapshot
    moved: dict[str, Any]  # factors, features, labels, folds; empty if nothing is rotated
    nodes: dict[str, list[Node]]  # world → nodes
    start: dict[str, Any]  # what a run starts from, whatever its candles

    @classmethod
    def of(
        cls,
        candles: pd.DataFrame,
        funding_rates: pd.DataFrame,
        market_snapshot: dict[str, Any],
        parameters: dict[str, Any],
        models: list[str],
        factor_library: dict[str, Any] | None = None,
    ) -> Self:
        """The base of a configuration: features, labels and folds are made once, in memory."""
        tree = restricted(copy.deepcopy(parameters), models)
        tree["training"] = tree["training"] | {"n_jobs": 1, "checkpoints": None}
        tree["tuning"] = tree["tuning"] | {"storage": None, "compare": False}  # studies of worlds are of no further use
        configured = Parameters.model_validate(tree)
        market = {"candles": candles, "funding_rates": funding_rates, "market_snapshot": market_snapshot}
        start = START | {"factor_library": factor_library}
        given = start | market
        moved = {}
        if configured.placebo.rotations:
            moved = run_nodes(nodes_for(tree, MOVED, given), configured, given, MOVED)
        wanted = _wanted(models)
        simulated = configured.market.source == "simulated"
        silent = start if simulated else start | dict.fromkeys(["raw_candles", "funding_rates", "market_snapshot"])
        nodes = {
            "markets": nodes_for(tree, wanted, silent) if configured.placebo.markets else [],
            "rotations": nodes_for(tree, wanted, given | moved) if moved else [],
        }
        return cls(tree, models, market, moved, nodes, start)


def certified_models(configured: Parameters) -> list[str]:
    """Names of the models to certify, members of ensembles too: those asked for, or all that train in a few seconds.

    Raises:
        ParameterError: A name is none of the configured models.
    """
    asked = configured.placebo.models
    if asked is None:
        asked = tuple(name for name, options in configured.models.items() if stage_of(options.adapter) == "ml_training")
    if unknown := [name for name in asked if name not in configured.models]:
        raise ParameterError(f"placebo.models names {', '.join(unknown)}; models are {', '.join(configured.models)}")
    if not asked:
        raise ParameterError("placebo.models: there is no model of ml_training; name those to certify")
    return with_members(asked, configured)


def plan_worlds(base: Base, configured: Parameters) -> list[World]:
    """All worlds of the certificate; more of them only adds to the list."""
    options = configured.placebo
    seeds = [
        int(np.random.SeedSequence([options.seed, number]).generate_state(1)[0]) for number in range(options.markets)
    ]
    offsets: list[int] = []
    if options.rotations:
        candle = timeframe_delta(configured.market.timeframe)
        look_backs = [look_back(text) for text in base.moved["factors"]["factors"].values()]
        asked = int(timeframe_delta(options.min_offset) / candle)
        least = least_offset(asked, look_backs, max(configured.labels.horizons))
        n_dates = base.market["candles"]["date"].nunique()
        offsets = draw_offsets(n_dates, least, options.rotations, seed=options.seed)
    drawn = {"markets": seeds, "rotations": offsets}
    return [World(name, number, draw) for name, draws in drawn.items() for number, draw in enumerate(draws)]


def run_world(base: Base, world: World, folder: Path | None) -> dict[str, Any]:
    """One whole run, from candles or moved features to the claims of its report; its row is kept in `folder`."""
    tree, given = base.parameters, dict(base.start)
    if world.world == "rotations":
        given |= base.market | base.moved
        given["features"] = rotate_features(base.moved["features"], world.draw)
    elif tree["market"].get("source", "simulated") == "simulated":
        tree = tree | {"market": tree["market"] | {"signal_strength": 0.0, "seed": world.draw}}
    else:
        given |= _twin(base.market, world.draw)
    configured = Parameters.model_validate(tree)
    with _quietly():
        made = run_nodes(base.nodes[world.world], configured, given, _wanted(base.models))
    metrics = {name: made[f"{name}.metrics"] for name in base.models}
    verdicts = made["verdicts"]
    row = asdict(world) | {
        "claims": claims_of(verdicts, made["significance"], metrics, level=configured.placebo.level),
        "figures": {
            name: {"rank_ic": metrics[name]["rank_ic"], "alpha_sharpe": verdicts[name]["alpha_sharpe"]}
            for name in base.models
        },
    }
    if folder is not None:
        world.store(row, folder)
    return row


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the messages of nodes: what one run says once, all would say again."""
    loggers = [logging.getLogger(name) for name in ("agent_market", "kedro")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _wanted(models: list[str]) -> list[str]:
    return ["verdicts", "significance", *(f"{name}.metrics" for name in models)]


def _twin(market: dict[str, Any], seed: int) -> dict[str, Any]:
    """A silent market in the shape of the configured one; rates are paid as they were, on the twin's prices."""
    raw = silent_twin(market["candles"], seed=seed)
    rates = market["funding_rates"]
    if len(rates):
        opens = raw[["pair", "date", "open"]].astype({"pair": "str"}).rename(columns={"open": "mark_price"})
        rates = rates.drop(columns="mark_price").astype({"pair": "str"}).merge(opens, on=["pair", "date"])
        rates = rates.assign(pair=pd.Categorical(rates["pair"]))
    return {"raw_candles": raw, "funding_rates": rates, "market_snapshot": market["market_snapshot"]}
