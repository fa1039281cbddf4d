"""Doing an archived run again, from nothing, and comparing what comes out."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from agent_market.configured import data_folder
from agent_market.errors import FlowError
from agent_market.flow.archive import Archive, Pins, Round, Run, code_state
from agent_market.flow.content import content_of, path_of
from agent_market.flow.execute import task_of
from agent_market.flow.guard import alone, holder
from agent_market.flow.records import read_json
from agent_market.flow.runner import CachedRunner
from agent_market.flow.session import LIBRARY, Setting, opened, run_round
from agent_market.parameters import TECHNICAL

MARKET = "data_engineering"

PREFIX = "reproduce-"
FRESH = 3600.0  # seconds in which a folder may not have been locked yet

FROM_OUTSIDE = ("01_raw",)
"""Folders of what comes from outside the project: candles of an exchange, answers of a language model."""


@dataclass(frozen=True)
class Comparison:
    """What repeating a run showed: the first difference, "" if there is none, and how much was compared."""

    first: str
    datasets: int
    rounds: int
    notes: tuple[str, ...] = ()


def reproduce(archive: Archive, run: Run, *, archived: bool, tell: Callable[[str], None]) -> Comparison:
    """Repeat a run in a folder of its own, with nothing taken over but what came from outside.

    With `archived` the run's own parameters are used, whatever the project's are now; without, they must be the same.

    Raises:
        FlowError: The run did not come to its end, or what it read from outside is gone.
    """
    if run.state != "done":
        raise FlowError(f"{run.id} is {run.state}: only a finished run can be reproduced; `kedro flow resume {run.id}`")
    if not archived and (first := _other_parameters(archive, run)):
        return Comparison(first, 0, 0)
    notes = _notes(archive, run)
    before = data_folder()
    markets = [_market_of(archive, run, done, archived=archived) for done in run.rounds]
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=_scratch(before)) as scratch:
        folder = Path(scratch)
        with _data_in(folder), alone(f"kedro flow reproduce {run.id}"):
            _bring(before, folder, run)
            compared = 0
            for done, market in zip(run.rounds, markets, strict=True):
                tell(f"round {done.number} of {len(run.rounds)}")
                made = _repeat(archive, run, done, market, archived=archived)
                if first := _first_difference(run, done, made):
                    return Comparison(first, compared, done.number, notes)
                compared += len(done.contents)
    return Comparison("", compared, len(run.rounds), notes)


def _repeat(
    archive: Archive, run: Run, done: Round, market: dict[str, Path], *, archived: bool
) -> dict[str, str | None]:
    """The contents of all that a round makes, made anew."""
    setting = _setting(archive, run, done, archived=archived)
    brought = {}
    for name, path in market.items():
        place = data_folder() / path.relative_to(archive.folder.parent)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, place)
        brought[name] = done.contents[name]
    steps = [step for step in setting.steps if not market or step != MARKET]
    runner = CachedRunner(prepare=setting.prepare)
    run_round(replace(setting, steps=steps), runner, lambda kedro_run: None)
    return brought | {name: content for name, content in runner.contents.items() if name in runner.versions}


def _market_of(archive: Archive, run: Run, done: Round, *, archived: bool) -> dict[str, Path]:
    """Where the candles lie that a round had of a source that may have others by now; empty for a simulated market.

    Raises:
        FlowError: They are gone.
    """
    setting = _setting(archive, run, done, archived=archived)
    found: dict[str, Path] = {}
    with opened(setting) as (_, context):
        if MARKET not in setting.steps or context.config_loader["parameters"]["market"]["source"] == "simulated":
            return found
        for name in sorted(pipelines[MARKET].all_outputs()):
            dataset, version = context.catalog.get(name), done.versions.get(name)
            path = path_of(dataset, version)
            if path is None or content_of(name, dataset, version) != done.contents.get(name):
                raise FlowError(
                    f"{name} {version}, with which round {done.number} of {run.id} was run, is gone or was changed: "
                    "the run cannot be repeated"
                )
            found[name] = Path(path)
    return found


def _setting(archive: Archive, run: Run, done: Round, *, archived: bool) -> Setting:
    task = task_of(run)
    source = f"{run.id}/run.json"
    if archived:
        kept = read_json(run.round_folder(done.number) / "parameters.json")
        if kept is None:
            raise FlowError(f"{run.id}: round {done.number} has no parameters.json in the archive")
        others = _configured_models(task, source)
        kept["models"] = dict.fromkeys(others) | kept["models"]
        task = replace_task(task, parameters=_without_places(kept), models=None, seed=None)
    steps = [step for step in task.steps if step not in run.left_out]
    feedback = archive.folder / done.pins.feedback if done.pins and done.pins.feedback else None
    pins = None
    if done.pins is not None:
        previous = run.rounds[done.number - 2] if done.number > 1 else None
        # Versions of this folder differ from the archived ones, but for what was brought along.
        library = _newest(data_folder() / "04_feature" / "factor_library.json") if previous else done.pins.library
        pins = Pins(done.pins.ledger, library, done.pins.feedback)
    gone = frozenset(run.left_out)
    return Setting(task, source, steps, gone, pins, str(feedback) if feedback else None)


def replace_task(task: Any, **values: Any) -> Any:
    """A task with other values."""
    return type(task).model_validate(task.model_dump() | values)


def _first_difference(run: Run, done: Round, made: dict[str, str | None]) -> str:
    """The first dataset, in the order in which they are made, that is not as it was; "" if all are."""
    order = _order_of(run)
    for name in sorted(done.contents, key=lambda name: (order.get(name, len(order)), name)):
        if name not in made:
            return f"round {done.number}: {name} was made then, and is not now"
        if made[name] != done.contents[name]:
            maker = next((node for node, outputs in _makers(run).items() if name in outputs), "?")
            return f"round {done.number}: {name}, which {maker} makes, came out otherwise"
    return ""


def _order_of(run: Run) -> dict[str, int]:
    return {name: number for number, name in enumerate(n for outputs in _makers(run).values() for n in outputs)}


def _makers(run: Run) -> dict[str, list[str]]:
    """Nodes of the pipelines as they were last built, in order, and what each makes."""
    steps = [step for step in task_of(run).steps if step not in run.left_out]
    pipeline = sum((pipelines[step] for step in steps), Pipeline([]))
    return {node.name: list(node.outputs) for node in pipeline.nodes}


def _other_parameters(archive: Archive, run: Run) -> str:
    """The first parameter that is not as it was when the run was made; "" if all are."""
    for done in run.rounds:
        kept = read_json(run.round_folder(done.number) / "parameters.json")
        if kept is None:
            return f"round {done.number}: its parameters.json is not in the archive"
        setting = _setting(archive, run, done, archived=False)
        with opened(setting) as (_, context):
            now = context.config_loader["parameters"]
        for path, then, is_now in differences(_without_technical(kept), _without_technical(now)):
            if path != "mining.feedback":
                return f"the parameter {path} was {then!r} then, and is {is_now!r} now"
    return ""


def differences(then: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two trees differ: path, value in the one, value in the other."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in [*then, *(name for name in now if name not in then)]:
            yield from differences(then.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif then != now and not (
        isinstance(then, list | tuple) and isinstance(now, list | tuple) and list(then) == list(now)
    ):
        yield path, then, now


def _without_technical(tree: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for block, value in tree.items():
        keys = TECHNICAL.get(block, ())
        if keys is True:
            continue
        kept[block] = {k: v for k, v in value.items() if k not in keys} if isinstance(value, dict) else value
    return kept


def _without_places(tree: dict[str, Any]) -> dict[str, Any]:
    """Parameters less those that say where things are kept: these follow the folder that is used now."""
    places = {"features": (), "training": ("checkpoints",), "tuning": ("storage",), "placebo": ("folder",)}
    kept = dict(tree)
    for block, keys in places.items():
        if isinstance(kept.get(block), dict):
            kept[block] = {name: value for name, value in kept[block].items() if name not in keys}
    if isinstance(kept.get("mining"), dict):
        kept["mining"] = {name: value for name, value in kept["mining"].items() if name != "feedback"}
    return kept


def _configured_models(task: Any, source: str) -> list[str]:
    with opened(Setting(task, source, task.steps)) as (_, context):
        return list(context.config_loader["parameters"]["models"])


def _notes(archive: Archive, run: Run) -> tuple[str, ...]:
    now = code_state(archive.project)
    if now == run.code and not now.get("changed"):
        return ()
    then = run.code.get("commit", "unknown")[:12] + (" with changes" if run.code.get("changed") else "")
    is_now = now.get("commit", "unknown")[:12] + (" with changes" if now.get("changed") else "")
    return (f"the code was {then}, and is {is_now}",) if then != is_now or "changes" in is_now else ()


def _bring(before: Path, folder: Path, run: Run) -> None:
    """Take over what came from outside, and what was there when the run began."""
    for name in FROM_OUTSIDE:
        for part in (before / name).glob("*"):
            if part.name == "candles.parquet":
                continue
            place = folder / name / part.name
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if part.is_dir() else shutil.copy2)(part, place)
    first = run.rounds[0].pins if run.rounds else None
    if first is None:
        return
    ledger = before / "mining_ledger.jsonl"
    if first.ledger:
        lines = ledger.read_text(encoding="utf-8").splitlines(keepends=True)[: first.ledger]
        (folder / ledger.name).write_text("".join(lines), encoding="utf-8")
    if first.library is not None:
        place = Path("04_feature") / "factor_library.json" / first.library
        if not (before / place).is_dir():
            raise FlowError(
                f"{LIBRARY} {first.library}, with which {run.id} began, is gone: the run cannot be repeated"
            )
        shutil.copytree(before / place, folder / place)


def left_behind(state_folder: Path) -> list[Path]:
    """Folders of reproductions that were killed: nobody holds them, and none has just been made."""
    found = [path for path in sorted(state_folder.glob(f"{PREFIX}*")) if time.time() - path.stat().st_mtime > FRESH]
    return [path for path in found if holder(path / ".state") is None]


def _scratch(before: Path) -> Path:
    folder = before / ".state"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _data_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("AGENT_MARKET_DATA")
    os.environ["AGENT_MARKET_DATA"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["AGENT_MARKET_DATA"]
        else:
            os.environ["AGENT_MARKET_DATA"] = before


def _newest(folder: Path) -> str | None:
    versions = sorted(path.parent.name for path in folder.glob("*/*"))
    return versions[-1] if versions else None
