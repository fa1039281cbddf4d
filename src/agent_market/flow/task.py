"""The task file of an agent flow: what is run, how often, when it stops, and what happens when something fails."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from agent_market.errors import FlowError
from agent_market.options import Options

STEPS = (
    "data_engineering",
    "factor_mining",
    "feature_store",
    "ml_training",
    "dl_training",
    "rl_training",
    "ensemble",
    "backtest",
    "attribution",
    "reporting",
    "robustness",
    "placebo",
)
"""Pipelines that a flow can be made of, in the order in which they are told."""

DEFAULT_STEPS = tuple(step for step in STEPS if step not in ("robustness", "placebo"))


class StopOptions(Options):
    """When no further round is begun; none of them ends a round that runs."""

    nothing_accepted: int | None = Field(
        None, ge=1, description="rounds in a row in which mining accepted no factor; none = all rounds"
    )
    hours: float | None = Field(None, gt=0, description="hours since the flow was begun, pauses included")
    trials: int | None = Field(None, ge=1, description="factors that all rounds together may try")
    llm_tokens: int | None = Field(None, ge=1, description="tokens that all rounds together may ask and be answered in")


class ErrorOptions(Options):
    """What happens when a node fails."""

    policy: Literal["stop", "continue"] = Field(
        "stop", description="stop: the flow ends there; continue: all goes on that does not need what failed"
    )
    retries: int = Field(0, ge=0, le=20, description="times that a round is taken up again after a failure")
    wait: float = Field(5.0, ge=0, description="seconds before that")


class Task(Options):
    """A task file."""

    name: str = Field("flow", pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="in the names of its runs")
    env: str | None = Field(None, description="Kedro's configuration environment; none = that of the project")
    parameters: dict[str, Any] = Field({}, description="what differs from conf/, as a tree")
    steps: tuple[str, ...] = Field(DEFAULT_STEPS, min_length=1, description="pipelines of each round")
    models: tuple[str, ...] | None = Field(None, description="configured models that are trained; none = all")
    rounds: int = Field(1, ge=1, le=1000, description="rounds of mining, and of what follows from it")
    seed: int | None = Field(None, ge=0, description="seed of mining and of all models; none = as they are configured")
    feedback: Literal["none", "latest"] = Field(
        "none", description="what the first round hears: nothing, or what the latest finished run found out"
    )
    stop: StopOptions = StopOptions()
    on_error: ErrorOptions = ErrorOptions()
    keep: int | None = Field(None, ge=1, description="finished runs of this name that `gc` leaves; none = all")

    @field_validator("steps", "models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("steps")
    @classmethod
    def _are_steps(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        for step in steps:
            if step not in STEPS:
                close = get_close_matches(step, STEPS, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(STEPS)}"
                raise ValueError(f"{step!r} is no step; {hint}")
        return tuple(step for step in STEPS if step in steps)

    @model_validator(mode="after")
    def _rounds_differ(self) -> "Task":
        if self.rounds > 1 and "factor_mining" not in self.steps:
            raise ValueError("rounds differ by what is mined in them: without the step factor_mining, set rounds: 1")
        return self


def read_task(path: Path) -> Task:
    """The task in a YAML or JSON file.

    Raises:
        FlowError: The file cannot be read, or one line per key that is wrong in it, with what was probably meant.
    """
    try:
        content = (json.loads if path.suffix == ".json" else yaml.safe_load)(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FlowError(f"{path} cannot be read as a task file: {error}") from None
    if not isinstance(content, dict):
        raise FlowError(
            f"{path} is no task file: it holds no keys such as steps and rounds (`kedro flow init` writes one)"
        )
    return parse_task(content, str(path))


def parse_task(content: dict[str, Any], source: str) -> Task:
    """The task that a tree of keys says; `source` is named in errors."""
    try:
        return Task.model_validate(content)
    except ValidationError as error:
        lines = [f"  - {_explain(problem)}" for problem in error.errors()]
        raise FlowError("\n".join([f"{source}: this task is wrong:", *lines])) from None


def with_steps(task: Task, steps: str | None) -> Task:
    """The task for some of its steps, as `--steps` names them.

    Raises:
        FlowError: One of them is no step of the task.
    """
    if steps is None:
        return task
    wanted = steps.replace(",", " ").split()
    for step in wanted:
        if step not in task.steps:
            close = get_close_matches(step, task.steps, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the task has {', '.join(task.steps)}"
            raise FlowError(f"--steps: {step!r} is no step of this task; {hint}")
    return parse_task(task.model_dump() | {"steps": wanted}, "--steps")


def _explain(problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path) or "the task"
    if problem["type"] == "extra_forbidden":
        here: Any = Task
        for part in path[:-1]:
            here = here.model_fields[part].annotation
        close = get_close_matches(path[-1], here.model_fields, n=1)
        return f"{name}: unknown key" + (
            f"; did you mean {close[0]}?" if close else f"; there are {', '.join(here.model_fields)}"
        )
    value = f", got {problem['input']!r}" if not isinstance(problem["input"], dict) else ""
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}{value}"
