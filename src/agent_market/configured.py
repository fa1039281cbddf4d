"""The parameters as they are while pipelines are built, checked as a whole before anything runs.

Kedro builds pipelines before nodes get their parameters, so a hook keeps the config loader of the running session.
Without a session (`kedro registry list`, `kedro viz`) the configuration is read from the project.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines, settings
from pydantic import ValidationError

from agent_market import parallel
from agent_market.adapters import stage_of
from agent_market.errors import ParameterError
from agent_market.parameters import Parameters, known_keys

_loader: "OmegaConfigLoader | _Given | None" = None
_project: Path | None = None
_given_by = "--params"
_built_for: dict[str, Any] | None = None
_kept: tuple[Any, Any, dict[str, Any], Parameters] | None = None


class ConfiguredHooks:
    """Remember the session's configuration, and refuse a wrong one with the key and the file that holds it."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Check all parameters, those of pipelines that do not run included, and compute where they say.

        Pipelines are built anew for changed ones.
        """
        global _loader, _project
        _loader, _project = context.config_loader, context.project_path
        parallel.configure(check_parameters(_loader).compute)
        if _built_for is not None and _built_for != _loader["parameters"]:
            # A server, or a notebook, has built them for what it was asked before.
            pipelines.configure(f"{__package__}.pipeline_registry")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let the cluster go."""
        parallel.release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let the cluster go."""
        parallel.release()


def remember_what_was_built() -> None:
    """Note the parameters that the registered pipelines are built for."""
    global _built_for
    _built_for = configuration()["parameters"]


@contextmanager
def configured_as(parameters: dict[str, Any]) -> Iterator[None]:
    """Within it, pipelines are built for this tree of parameters instead of the session's."""
    global _loader
    before, _loader = _loader, _Given(parameters)
    try:
        yield
    finally:
        _loader = before


@contextmanager
def given_by(source: str) -> Iterator[None]:
    """Within it, errors name this source of the parameters that stand in no file of `conf`."""
    global _given_by
    before, _given_by = _given_by, source
    try:
        yield
    finally:
        _given_by = before


class _Given(dict):
    """Parameters that stand in no file, in place of a config loader."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(parameters=parameters)
        self.runtime_params = parameters


def data_folder() -> Path:
    """The folder on this machine's disk that holds the datasets, or, if they are elsewhere, what belongs to them."""
    project = _project or Path.cwd()
    place = str(configuration()["globals"].get("data", "data"))
    return project / "data" if "://" in place else project / place


def state_folder() -> Path:
    """The folder of what runs leave for one another: lock, journal, and what each node was made of."""
    return data_folder() / ".state"


def models_of(stage: str) -> list[str]:
    """Names of the configured models that `stage` trains, in the order of the parameters."""
    return [name for name, block in _models().items() if stage_of(block["adapter"]) == stage]


def all_models() -> list[str]:
    """Names of all configured models."""
    return list(_models())


def explained_models() -> list[str]:
    """Names of the models that look at features themselves, and so can be asked which they rest on."""
    return [name for name, block in _models().items() if stage_of(block["adapter"]) != "ensemble"]


def members_of(ensemble: str) -> list[str]:
    """Names of the models that an ensemble is made of."""
    return list(check_parameters(configuration()).models[ensemble].members)


def in_ensembles() -> set[str]:
    """Names of the models that some ensemble is made of."""
    return {member for ensemble in models_of("ensemble") for member in members_of(ensemble)}


def cross_validated() -> list[str]:
    """Names of the models that combinatorial cross-validation is asked of."""
    parameters = check_parameters(configuration())
    asked = parameters.cross_validation.models
    single = [name for name, options in parameters.models.items() if options.adapter != "ensemble"]
    return single if asked is None else list(asked)


def is_tuned(model: str) -> bool:
    """Whether a model's options are chosen by trial before it is trained."""
    parameters = check_parameters(configuration())
    tuning, made = parameters.tuning, parameters.models[model].adapter == "ensemble"
    return tuning.enabled and not made and (tuning.models is None or model in tuning.models)


def is_compared(model: str) -> bool:
    """Whether a tuned model is also walked forward with the options that it had before."""
    return is_tuned(model) and check_parameters(configuration()).tuning.compare


def scores_features() -> bool:
    """Whether feature_store scores features (`selection.enabled`)."""
    return check_parameters(configuration()).selection.enabled


def credentials() -> dict[str, Any]:
    """What `credentials.yml` holds, an empty mapping if there is no such file."""
    try:
        return dict(configuration()["credentials"])
    except MissingConfigException:
        return {}


def check_parameters(loader: "OmegaConfigLoader | _Given") -> Parameters:
    """The parameters as typed blocks.

    Raises:
        ParameterError: One line per wrong parameter: its path, what is wrong, and the file that sets it.
    """
    return _read(loader)[1]


def _models() -> dict[str, Any]:
    tree, _ = _read(configuration())
    return {name: block for name, block in tree["models"].items() if block is not None}


def _read(loader: "OmegaConfigLoader | _Given") -> tuple[dict[str, Any], Parameters]:
    """The tree of parameters and the typed blocks; pipelines ask a hundred times, and files are read once."""
    global _kept
    state = _state_of(loader)
    if _kept is None or _kept[0] is not loader or _kept[1] != state:
        tree = loader["parameters"]
        try:
            typed = Parameters.model_validate(tree)
        except ValidationError as error:
            lines = [_explain(loader, tree, problem) for problem in error.errors()]
            message = "\n".join(["these parameters are wrong:", *(f"  - {line}" for line in lines)])
            raise ParameterError(message) from None
        _kept = (loader, state, tree, typed)
    return _kept[2], _kept[3]


def _state_of(loader: "OmegaConfigLoader | _Given") -> Any:
    """What changes when a loader would read other parameters: files, what was given, the place of the data."""
    if isinstance(loader, _Given):
        return None
    files = sorted(Path(loader.conf_source).rglob("*.y*ml")) if Path(loader.conf_source).is_dir() else []
    stamps = [(str(file), file.stat().st_mtime_ns) for file in files]
    return stamps, repr(loader.runtime_params), os.environ.get("AGENT_MARKET_DATA")


def configuration() -> "OmegaConfigLoader | _Given":
    """The configuration of the running session, or of the project without one."""
    # A loader that has not read anything yet is an empty, falsy mapping: only None means that there is none.
    return _loader if _loader is not None else _project_configuration(settings.CONF_SOURCE, os.environ.get("KEDRO_ENV"))


@lru_cache(maxsize=1)
def _project_configuration(source: str, env: str | None) -> OmegaConfigLoader:
    return OmegaConfigLoader(source, env=env, **settings.CONFIG_LOADER_ARGS)


def _explain(loader: "OmegaConfigLoader | _Given", tree: dict[str, Any], problem: Any) -> str:
    path = _without_tags(tuple(str(part) for part in problem["loc"]), tree)
    name, place = ".".join(path), _place(loader, path)
    if problem["type"] == "extra_forbidden":
        close = get_close_matches(path[-1], known_keys(path[:-1], tree), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{name}: unknown key{hint} ({place})"
    value = f", got {problem['input']!r}" if not isinstance(problem["input"], dict) else ""
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}{value} ({place})"


def _without_tags(path: tuple[str, ...], parameters: Any) -> tuple[str, ...]:
    """The path without the tags of unions that pydantic puts in: the rule in `backtest.positions.sign.deadband`."""
    kept: list[str] = []
    here = parameters
    for number, part in enumerate(path):
        inside = isinstance(here, dict)
        if inside and part not in here and number < len(path) - 1:
            continue
        kept.append(part)
        here = here.get(part) if inside else None
    return tuple(kept)


def _place(loader: "OmegaConfigLoader | _Given", path: tuple[str, ...]) -> str:
    """Where a parameter is set: the command line, or the file of the strongest environment that has it."""
    if _holds(loader.runtime_params or {}, path):
        return _given_by if not isinstance(loader, _Given) else "given"
    source = Path(loader.conf_source)
    for env in dict.fromkeys([loader.env or loader.default_run_env, loader.base_env]):
        for file in sorted((source / str(env)).rglob("parameters*/**/*.y*ml")) + sorted(
            (source / str(env)).rglob("parameters*.y*ml")
        ):
            if _holds(yaml.safe_load(file.read_text()) or {}, path):
                return str(file.relative_to(source.parent))
    return f"not set in {source.name}/"


def _holds(tree: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True
