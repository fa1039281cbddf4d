"""Runs in MLflow, if `tracking.enabled`: parameters, metrics, models and figures, a run within the run per model.

kedro-mlflow (the extra `tracking`) reads `mlflow.yml`, starts the run and ends it. Its own way of logging does not suit
typed parameters and versioned datasets, so what is in the run is put there at its end, from what was stored: it is then
the same with every runner.
"""

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from agent_market.configured import check_parameters
from agent_market.errors import ParameterError
from agent_market.parameters import Parameters

OF_MODELS = ("importance", "fits", "attribution", "prediction_drift", "learning_curve", "slices", "gate", "intervals")
"""Datasets of a model that are kept as files, beside the model itself."""
OF_RUNS = ("report", "feedback", "leaderboard", "verdicts", "significance", "run_facts", "data_quality")
LONGEST = 6000
"""Characters that MLflow takes of a parameter."""
BATCH = 100
"""Parameters that MLflow takes in one call."""


class TrackingHooks:
    """Log runs to MLflow where the parameters say so; else do nothing, and import nothing."""

    def __init__(self) -> None:
        self._mlflow: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Let kedro-mlflow read its configuration."""
        self._mlflow = None
        parameters = check_parameters(context.config_loader)
        if parameters.tracking.enabled:
            self._parameters = parameters
            self._mlflow = _kedro_mlflow().MlflowHook()
            self._mlflow.after_context_created(context=context)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Start the run."""
        if self._mlflow is not None:
            self._mlflow.before_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Log what was stored, and end the run."""
        if self._mlflow is not None:
            log_run(self._mlflow.run_id, self._parameters, pipeline, catalog)
            self._mlflow.after_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """End the run as failed."""
        if self._mlflow is not None and self._mlflow.run_id is not None:
            how = {"run_params": run_params, "pipeline": pipeline, "catalog": catalog}
            self._mlflow.on_pipeline_error(error=error, **how)


def log_run(run_id: str, parameters: Parameters, pipeline: Any, catalog: Any) -> None:
    """Put what the pipeline stored into the MLflow run, and what is of one model into a run of its namespace within."""
    from mlflow.tracking import MlflowClient

    client, made = MlflowClient(), pipeline.all_outputs()
    tree = parameters.model_dump(mode="json", exclude={"models", "tracking"})
    _log_parameters(client, run_id, flat(tree))
    if "verdicts" in made:
        claims = [verdict["claim"] for verdict in catalog.load("verdicts").values()]
        client.log_metric(run_id, "models", len(claims))
        client.log_metric(run_id, "claims", sum(claims))
    for name in (*OF_RUNS, *sorted(name for name in made if name.endswith("_figure"))):
        if name in made:
            _log_files(client, run_id, catalog, name, "figures" if name.endswith("_figure") else None)
    rows = {}
    if "leaderboard" in made:
        table = catalog.load("leaderboard")
        rows = {row["model"]: row for row in table.to_dict("records")}
        client.log_text(run_id, table.to_csv(index=False), "leaderboard.csv")
    experiment = client.get_run(run_id).info.experiment_id
    for namespace, model in _model_namespaces(pipeline):
        tags = {"mlflow.parentRunId": run_id, "mlflow.runName": namespace, "model": model}
        child = client.create_run(experiment, tags=tags).info.run_id
        _log_parameters(client, child, flat(parameters.models[model].model_dump(mode="json")))
        _log_model(client, child, model, made, catalog, rows.get(model, {}))
        client.set_terminated(child)


def _log_model(client: Any, run_id: str, model: str, made: set[str], catalog: Any, row: Mapping[str, Any]) -> None:
    """Metrics, model, tables and figures of one model."""
    metrics = catalog.load(f"{model}.metrics") if f"{model}.metrics" in made else {}
    for name, value in _numbers({**metrics, **row}):
        client.log_metric(run_id, name, value)
    if f"{model}.model" in made:
        _log_files(client, run_id, catalog, f"{model}.model", None)
    for what in OF_MODELS:
        if f"{model}.{what}" in made:
            _log_files(client, run_id, catalog, f"{model}.{what}", "tables")
    if f"{model}.page" in made:
        for section in catalog.load(f"{model}.page")["sections"]:
            for figure in section["figures"]:
                client.log_text(run_id, figure["json"], f"figures/{figure['id']}.json")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A tree of parameters as dotted names and text: what is no text is written as JSON."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _log_parameters(client: Any, run_id: str, parameters: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    params = [Param(name, value[:LONGEST]) for name, value in parameters.items()]
    for first in range(0, len(params), BATCH):
        client.log_batch(run_id, params=params[first : first + BATCH])


def _log_files(client: Any, run_id: str, catalog: Any, name: str, folder: str | None) -> None:
    """The dataset as it lies on the disk: a file, or a folder of its name."""
    path = Path(str(catalog[name]._get_load_path()))  # Kedro has no public way to ask a dataset where it lies
    if path.is_dir():
        client.log_artifacts(run_id, str(path), "/".join(filter(None, (folder, path.name))))
    else:
        client.log_artifact(run_id, str(path), folder)


def _model_namespaces(pipeline: Any) -> Iterator[tuple[str, str]]:
    """The namespaces in which models were trained, with the model's name."""
    trained = {node.namespace for node in pipeline.nodes if any(name.endswith(".model") for name in node.outputs)}
    for namespace in sorted(trained):
        yield namespace, namespace.rpartition(".")[2]


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Finite numbers and flags (as 0 and 1) by name."""
    for name, value in values.items():
        if isinstance(value, bool | int | float) and math.isfinite(value):
            yield name, float(value)


def _kedro_mlflow() -> Any:
    try:
        return importlib.import_module("kedro_mlflow.framework.hooks.mlflow_hook")
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"tracking.enabled is true, but {error.name} is not installed: install the extra `tracking` "
            "(docs/tracking.md says how, and why in an environment of its own), or set tracking.enabled to false"
        ) from error
