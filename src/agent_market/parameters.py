"""The whole tree of parameters, so that a typo anywhere is an error before anything runs."""

import hashlib
import json
import types
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, field_validator

from agent_market.adapters import ModelOptions, get_adapter, parse_model_options
from agent_market.errors import ParameterError
from agent_market.evaluation.placebo import PlaceboOptions
from agent_market.factors.options import FeatureOptions
from agent_market.learning.attribution import AttributionOptions
from agent_market.learning.combinatorial import CombinatorialOptions
from agent_market.learning.folds import FoldOptions
from agent_market.learning.gate import GateOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.selection import SelectionOptions
from agent_market.learning.tuning import TuningOptions
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.mining.options import MiningOptions
from agent_market.options import Options
from agent_market.parallel import ComputeOptions
from agent_market.trading.options import BacktestOptions

RESERVED = {
    "always_flat",
    "backtest",
    "break_even_costs",
    "buy_and_hold",
    "candles",
    "engine_comparison",
    "equity",
    "folds",
    "freqtrade_metrics",
    "labels",
    "leaderboard",
    "market",
    "run_facts",
    "significance",
    "stability",
    "trading_metrics",
    "training",
    "verdicts",
}
"""Names that a model cannot have: those of the benchmarks, and of arguments that stand beside models in a node."""


FIXED = {"adapter", "task", "warm_start"}
"""Options that say what a model is: no trial changes them."""


def _parse(block: Any) -> ModelOptions:
    block = getattr(block, "root", block)  # as a node gets it, in a tree that Kedro has given types
    if isinstance(block, ModelOptions):
        return block
    if not isinstance(block, dict):
        raise ValueError("a model is a block of options with the key `adapter`")
    try:
        return parse_model_options(block)
    except ParameterError as error:
        raise ValueError(str(error)) from error


def _switched_on(models: Any) -> Any:
    """The blocks that hold something: `catboost: null` leaves out a model that another file configures."""
    return {name: block for name, block in models.items() if block is not None} if isinstance(models, dict) else models


def _model_name(name: str) -> str:
    if not name.isidentifier() or name != name.lower() or name in RESERVED:
        raise ValueError(
            f"{name!r} cannot be a model's name: use lower-case letters, digits and _, and none of "
            f"{', '.join(sorted(RESERVED))}"
        )
    return name


class TrackingOptions(Options):
    """Whether runs are logged to MLflow; where to, says `mlflow.yml`."""

    enabled: bool = Field(False, description="log each run to MLflow; needs the extra `tracking`")


def _single(models: dict[str, ModelOptions]) -> dict[str, ModelOptions]:
    """Models that are not made of others."""
    return {name: options for name, options in models.items() if options.adapter != "ensemble"}


def _check_named(what: str, names: Iterable[str], single: dict[str, ModelOptions]) -> None:
    for name in names:
        if name not in single:
            close = get_close_matches(name, single, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(single)}"
            raise ValueError(f"{what}: {name!r} is none of the models that are not made of others; {hint}")


class Parameters(Options):
    """All parameters of the project, one block per concern."""

    market: MarketOptions
    features: FeatureOptions
    labels: LabelOptions
    folds: FoldOptions
    training: TrainingOptions
    models: Annotated[
        dict[Annotated[str, AfterValidator(_model_name)], Annotated[ModelOptions, BeforeValidator(_parse)]],
        BeforeValidator(_switched_on),
    ] = Field(min_length=1)
    backtest: BacktestOptions
    gate: GateOptions = GateOptions()
    selection: SelectionOptions = SelectionOptions()
    mining: MiningOptions = MiningOptions()
    placebo: PlaceboOptions = PlaceboOptions()
    attribution: AttributionOptions = AttributionOptions()
    tracking: TrackingOptions = TrackingOptions()
    compute: ComputeOptions = ComputeOptions()
    tuning: TuningOptions = TuningOptions()
    cross_validation: CombinatorialOptions = CombinatorialOptions()

    @field_validator("models")
    @classmethod
    def _members_are_models(cls, models: dict[str, ModelOptions]) -> dict[str, ModelOptions]:
        single = _single(models)
        for name, options in models.items():
            if name not in single:
                _check_named(f"{name}.members", options.members, single)
        return models

    @field_validator("cross_validation")
    @classmethod
    def _validates_what_is_there(cls, options: CombinatorialOptions, info: ValidationInfo) -> CombinatorialOptions:
        if (models := info.data.get("models")) is not None:
            _check_named("models", options.models or (), _single(models))
        return options

    @field_validator("tuning")
    @classmethod
    def _tunes_what_is_there(cls, tuning: TuningOptions, info: ValidationInfo) -> TuningOptions:
        if (models := info.data.get("models")) is None:  # wrong themselves
            return tuning
        single = _single(models)
        _check_named("models", tuning.models or (), single)
        _check_named("space", tuning.space, single)
        for name, space in tuning.space.items():
            for option in space:
                fields = type(single[name]).model_fields
                if option.split(".")[0] not in fields or option in FIXED:
                    close = get_close_matches(option, fields, n=1)
                    hint = f"; did you mean {close[0]}?" if close and option not in FIXED else ""
                    raise ValueError(f"space.{name}.{option} is no option of the model that can be tuned{hint}")
        if tuning.enabled and tuning.objective == "logloss":
            for name in tuning.models or single:
                if single[name].task != "classification":
                    raise ValueError(
                        f"objective: logloss measures probabilities, and {name} is no model of task classification; "
                        "name those that are in tuning.models, or take another objective"
                    )
        return tuning


def trained_without(parameters: dict[str, Any], left_out: Iterable[str]) -> list[str]:
    """Names of the configured models that can be trained without some others, and so without ensembles of those."""
    gone = set(left_out)
    single = [name for name, block in parameters["models"].items() if block is not None and name not in gone]
    return [name for name in single if not gone & set(_members_of(parameters["models"][name]))]


def _members_of(block: Any) -> Iterable[str]:
    members = block.get("members", ()) if isinstance(block, dict) else ()
    return members.replace(",", " ").split() if isinstance(members, str) else members


def restricted(parameters: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The tree of parameters for some of its models only; what other blocks say of the others is left out."""
    tree = parameters | {"models": {name: parameters["models"][name] for name in models}}
    for block in ("tuning", "cross_validation"):
        options = dict(tree.get(block) or {})
        if isinstance(named := options.get("models"), str):
            named = named.split()
        if named is not None:
            options["models"] = [name for name in named if name in models]
        if "space" in options:
            options["space"] = {name: space for name, space in options["space"].items() if name in models}
        tree[block] = options
    return tree


def with_members(models: Iterable[str], configured: Parameters) -> list[str]:
    """Names of models, and of those that the ensembles among them are made of; in the order of the parameters."""
    wanted = set(models)
    for name in list(wanted):
        wanted |= set(getattr(configured.models[name], "members", ()))
    return [name for name in configured.models if name in wanted]


CHANGE_NOTHING = {
    "attribution": True,
    "mining": True,
    "placebo": True,
    "cross_validation": True,
    "tuning": {"storage", "compare"},
    "selection": True,
    "tracking": True,
    "features": {"append", "threads"},
    "training": {"n_jobs", "checkpoints"},
    "compute": True,
    "backtest": {"freqtrade", "freqtrade_runner"},
}
"""Parameters that results do not depend on."""


TECHNICAL: dict[str, Any] = {
    "compute": True,
    "features": {"append", "threads"},
    "market": {"download_folder"},
    "placebo": {"n_jobs", "folder"},
    "training": {"n_jobs", "checkpoints"},
    "tuning": {"storage"},
}
"""Parameters that say where and how something is computed, and not what: no node is run again for them."""


def digest_of(parameters: Parameters, models: Sequence[str]) -> str:
    """A short hash of all that the results of some models depend on beside their candles; equal for equal results."""
    unused = {"models": True} if parameters.tuning.enabled else {"models": True, "tuning": True}
    tree = parameters.model_dump(mode="json", exclude=CHANGE_NOTHING | unused)
    tree["models"] = {
        name: parameters.models[name].model_dump(mode="json") for name in sorted(models) if name in parameters.models
    }
    return hashlib.blake2b(json.dumps(tree, sort_keys=True).encode(), digest_size=8).hexdigest()


def known_keys(path: tuple[str, ...], parameters: dict[str, Any]) -> list[str]:
    """The keys that the block at `path` may have, for a hint at a misspelt one."""
    if len(path) >= 2 and path[0] == "models":
        block = parameters["models"][path[1]]
        return list(get_adapter(block["adapter"]).Options.model_fields)
    keys = list(Parameters.model_fields)
    here: Any = Parameters
    for part in path:
        options = [here] if isinstance(here, type) else _members(here)
        fields = {name: field for option in options for name, field in option.model_fields.items()}
        if part not in fields:
            continue  # pydantic puts the tag of a union into the path
        here = fields[part].annotation
        keys = [name for option in _members(here) for name in option.model_fields]
    return keys


def _members(annotation: Any) -> list[type[BaseModel]]:
    """The options classes of an annotation: itself, or the members of a union."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [member for part in get_args(annotation) for member in _members(part)]
