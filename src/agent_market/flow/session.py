"""Kedro sessions of a flow: one per round, for the parameters of that round."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from agent_market.configured import given_by
from agent_market.errors import FlowError
from agent_market.flow.archive import Pins
from agent_market.flow.content import ABSENT, content_of, is_parameter
from agent_market.flow.runner import CachedRunner
from agent_market.flow.task import STEPS, Task
from agent_market.parameters import restricted, trained_without, with_members

NEVER = "none"
"""A version that no dataset has: what is read in it is not there."""

LIBRARY, LEDGER = "stored_factor_library", "mining_ledger"


@dataclass(frozen=True)
class Setting:
    """What one round is run with."""

    task: Task
    source: str  # of the task, for errors
    steps: Sequence[str]
    left_out: frozenset[str] = frozenset()  # models
    pins: Pins | None = None
    feedback: str | None = None  # path of the feedback that mining hears

    def versions(self) -> dict[str, str]:
        """Versions of datasets that are read as an earlier round left them."""
        return {} if self.pins is None or "factor_mining" not in self.steps else {LIBRARY: self.pins.library or NEVER}

    def prepare(self, catalog: CatalogProtocol) -> None:
        """Let the ledger show what was in it when the round began."""
        if self.pins is not None and "factor_mining" in self.steps:
            catalog.get(LEDGER).upto = self.pins.ledger


@contextmanager
def opened(setting: Setting) -> Iterator[tuple[KedroSession, Any]]:
    """A session for a round, and its context; parameters are checked.

    Raises:
        ParameterError: They are wrong.
        FlowError: The task names a model that is not configured.
    """
    task = setting.task
    with given_by(f"{setting.source}, parameters"):
        with KedroSession.create(env=task.env, runtime_params=task.parameters) as session:
            configured = session.load_context().config_loader["parameters"]
        parameters = _overrides(setting, configured)
        with KedroSession.create(env=task.env, runtime_params=parameters) as session:
            yield session, session.load_context()


def check_round(setting: Setting) -> Path:
    """Check all that can be before anything runs; the folder of the project.

    Raises:
        FlowError: A step needs what none of the steps makes, and no earlier run has stored.
    """
    with opened(setting) as (_, context):
        _check_inputs(setting, _pipeline(setting.steps), context.catalog)
        return Path(context.project_path)


def run_round(setting: Setting, runner: CachedRunner, started: Any) -> None:
    """Run the steps of a round; `started` is told the id of Kedro's run."""
    with opened(setting) as (session, _):
        started(session.session_id)
        session.run(pipeline_names=list(setting.steps), runner=runner, load_versions=setting.versions())


def planned(setting: Setting, runner: CachedRunner) -> tuple[Pipeline, dict[str, Any]]:
    """The nodes of a round, and what would become of each."""
    with opened(setting) as (_, context):
        pipeline = _pipeline(setting.steps)
        catalog = context._get_catalog(load_versions=setting.versions())
        return pipeline, runner.plan(pipeline, catalog)


def _pipeline(steps: Sequence[str]) -> Pipeline:
    return sum((pipelines[step] for step in steps), Pipeline([]))


def _check_inputs(setting: Setting, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    for name in sorted(pipeline.inputs()):
        dataset = catalog.get(name, fallback_to_runtime_pattern=True)
        if is_parameter(name) or getattr(dataset, "OPTIONAL", False) or content_of(name, dataset) != ABSENT:
            continue
        step = next((step for step in STEPS if name in pipelines[step].all_outputs()), None)
        if step is not None:
            needing = next(node.name for node in pipeline.nodes if name in node.inputs)
            raise FlowError(
                f"{setting.source}: {needing} needs {name}, which is not stored yet; add the step {step}: it makes it"
            )


def _overrides(setting: Setting, configured: dict[str, Any]) -> dict[str, Any]:
    """The task's parameters with its models, seed and feedback."""
    task = setting.task
    overrides: dict[str, Any] = dict(task.parameters)
    all_models = [name for name, block in configured["models"].items() if block is not None]
    wanted = _wanted(setting, configured, all_models)
    if wanted != all_models:
        kept = restricted(configured, wanted)
        for block in ("tuning", "cross_validation"):
            if block in kept:
                overrides[block] = kept[block]
    models: dict[str, Any] = dict(overrides.get("models", {}))
    for name in all_models:
        if name not in wanted:
            models[name] = None
        elif task.seed is not None:
            models[name] = dict(models.get(name) or {}) | {"seed": task.seed}
    overrides["models"] = models
    if task.seed is not None:
        for block in ("mining", "tuning", "placebo"):
            overrides[block] = dict(overrides.get(block) or {}) | {"seed": task.seed}
    if setting.feedback is not None:
        overrides["mining"] = dict(overrides.get("mining") or {}) | {"feedback": setting.feedback}
    return overrides


def _wanted(setting: Setting, configured: dict[str, Any], all_models: list[str]) -> list[str]:
    asked = setting.task.models
    for name in asked or ():
        if name not in all_models:
            raise FlowError(f"{setting.source}: models names {name!r}; configured are {', '.join(all_models)}")
    chosen = all_models if asked is None else [name for name in all_models if name in asked]
    if asked is not None:
        from agent_market.parameters import Parameters

        chosen = with_members(chosen, Parameters.model_validate(configured))
    possible = trained_without(configured, setting.left_out)
    kept = [name for name in chosen if name in possible]
    if not kept:
        raise FlowError(f"{setting.source}: no model is left; {', '.join(sorted(setting.left_out))} failed")
    return kept
