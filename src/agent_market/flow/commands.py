"""`kedro flow`: the commands. Their exit codes are for schedulers.

0: done, or nothing to do. 1: something failed. 2: wrong usage, task file or parameters; nothing was begun. 3: another
run holds the data. 4: stopped by a budget of the task, with rounds left. 130: interrupted.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent_market.errors import BusyError, FlowError
from agent_market.words import USER_ERRORS, in_words

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol

    from agent_market.flow.archive import Archive
    from agent_market.flow.execute import Flow, Outcome

FAILED, WRONG, BUSY, STOPPED, INTERRUPTED = 1, 2, 3, 4, 130


@click.group()
def flow() -> None:
    """Rounds of research from one task file: idempotent, resumable, archived."""


class _Exit(click.ClickException):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def _with_codes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of the user's as one message, and the exit code that says which kind it is."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except BusyError as error:
            raise _Exit(str(error), BUSY) from error
        except USER_ERRORS as error:
            raise _Exit(in_words(error), WRONG) from error
        except KeyboardInterrupt:
            raise _Exit("interrupted; `kedro flow resume` goes on with it", INTERRUPTED) from None
        if code:
            raise SystemExit(code)

    return wrapped


task_file = click.argument("task", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Events as JSON lines on the standard output.")
environment = click.option("--env", "-e", help="Kedro's configuration environment, in place of the task's.")


@flow.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("conf/flows/flow.yml"))
@_with_codes
def init(file: Path) -> None:
    """Write a task file with every key explained."""
    if file.exists():
        raise FlowError(f"{file} is there already; give another name")
    template = (resources.files("agent_market.flow") / "task.yml").read_text(encoding="utf-8")
    name = "".join(letter if letter.isalnum() else "_" for letter in file.stem.lower()) or "flow"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(template.replace("name: NAME", f"name: {name}").replace("THIS_FILE", str(file)), encoding="utf-8")
    click.echo(f"{file} is written; look at it, then: kedro flow run {file} --dry-run")


@flow.command()
@task_file
@click.option("--steps", help="Some of the task's steps, such as backtest,reporting.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and why; run nothing.")
@click.option("--new", "anew", is_flag=True, help="Begin a new run, even if this task is done or unfinished.")
@as_json
@environment
@_with_codes
def run(task: Path, steps: str | None, dry_run: bool, anew: bool, as_json: bool, env: str | None) -> int:
    """Do what TASK asks for: nothing if it is done, the rest if it was interrupted."""
    from agent_market.flow.execute import Flow
    from agent_market.flow.task import parse_task, read_task, with_steps

    read = with_steps(read_task(task), steps)
    if env is not None:
        read = parse_task(read.model_dump() | {"env": env}, "--env")
    if dry_run:
        return _dry_run(Flow(read, str(task)))
    with _telling(as_json) as listen:
        return _ended(Flow(read, str(task), listen), lambda this: this.run(anew=anew), as_json)


@flow.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@as_json
@_with_codes
def resume(run_id: str | None, as_json: bool) -> int:
    """Go on with RUN, or the latest one, from its last finished node."""
    from agent_market.flow.execute import Flow, task_of

    found = _archive().get(run_id)
    with _telling(as_json) as listen:
        return _ended(Flow(task_of(found), found.task_file, listen), lambda this: this.resume(found.id), as_json)


@flow.command()
@environment
@_with_codes
def status(env: str | None) -> None:
    """Say what is running, and how far the latest run is."""
    from agent_market.configured import state_folder
    from agent_market.flow.tell import status_lines

    _say(status_lines(_archive(env).latest(), state_folder()))


@flow.command("list")
@as_json
@environment
@_with_codes
def list_runs(as_json: bool, env: str | None) -> None:
    """List all runs, the newest first."""
    from agent_market.configured import state_folder
    from agent_market.flow.tell import list_lines

    runs = _archive(env).all()
    if as_json:
        for found in runs:
            click.echo((found.folder / "run.json").read_text(encoding="utf-8").replace("\n", " "))
    elif runs:
        _say(list_lines(runs, state_folder()))
    else:
        click.echo("no flow has run yet; kedro flow run conf/flows/demo.yml")


@flow.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@environment
@_with_codes
def show(run_id: str | None, env: str | None) -> None:
    """Show what RUN, or the latest one, was made of, and what came of it."""
    from agent_market.configured import state_folder
    from agent_market.flow.tell import show_lines

    _say(show_lines(_archive(env).get(run_id), state_folder()))


@flow.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@environment
@_with_codes
def diff(one: str, other: str, env: str | None) -> None:
    """Say where runs A and B differ."""
    from agent_market.flow.tell import diff_lines

    archive = _archive(env)
    _say(diff_lines(archive.get(one), archive.get(other)))


@flow.command("reproduce")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--archived", is_flag=True, help="With the parameters of then, whatever the project's are now.")
@environment
@_with_codes
def reproduce_run(run_id: str | None, archived: bool, env: str | None) -> int:
    """Do RUN again from nothing, and say whether the same comes out; the exit code is 1 if it does not."""
    from agent_market.flow.reproduce import reproduce

    archive = _archive(env)
    found = archive.get(run_id)
    with redirect_stdout(sys.stderr):
        compared = reproduce(archive, found, archived=archived, tell=lambda text: click.echo(text, err=True))
    for note in compared.notes:
        click.echo(note)
    if compared.first:
        click.echo(f"different: {compared.first}")
        return FAILED
    click.echo(f"identical: {compared.datasets} datasets of {compared.rounds} rounds")
    return 0


@flow.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Task file to write; conf/flows/<name>.yml without.")
@_with_codes
def import_file(file: Path, output: Path | None) -> None:
    """Write FILE, an agent_flow_*.json of the older tool, as a task file, and list what has no counterpart."""
    import yaml

    from agent_market.flow.older import read_older
    from agent_market.flow.task import parse_task

    imported = read_older(file)
    parse_task(imported.task, str(file))
    target = output or Path("conf/flows") / f"{imported.task['name']}.yml"
    if target.exists():
        raise FlowError(f"{target} is there already; give another name with --output")
    target.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(imported.task, sort_keys=False, allow_unicode=True)
    target.write_text(f"# Made of {file.name} by kedro flow import.\n{text}", encoding="utf-8")
    for line in imported.unmatched:
        click.echo(f"no counterpart: {line}")
    click.echo(f"{target} is written; look at it, then: kedro flow run {target} --dry-run")


@flow.command()
@click.option("--keep", type=click.IntRange(min=1), help="Finished runs of each name that stay; else as the task says.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@environment
@_with_codes
def gc(keep: int | None, dry_run: bool, env: str | None) -> None:
    """Remove old runs, and versions of datasets that only they refer to."""
    from agent_market.flow.gc import find_garbage, remove
    from agent_market.flow.guard import alone

    archive, catalog = _opened(env)
    with alone("kedro flow gc"):
        garbage = find_garbage(archive, catalog, keep)
        for found in garbage.runs:
            click.echo(found.id)
        if not dry_run:
            remove(archive, catalog, garbage)
    told = f"{len(garbage.runs)} runs and {len(garbage.versions)} versions of datasets"
    if garbage.cut_off:
        told += f", {len(garbage.cut_off)} folders of `reproduce` that was cut off"
    told += f", {garbage.size / 1e6:.1f} MB"
    click.echo(f"{told} {'would go' if dry_run else 'are gone'}")


def _dry_run(this: "Flow") -> int:
    from agent_market.flow.tell import plan_lines

    total, number = 0, 0
    for number, decisions in this.plan():
        total += sum(decision.record is None for decision in decisions.values())
        _say(plan_lines(number, decisions))
    if number < this.task.rounds:
        click.echo(f"what rounds {number + 1} to {this.task.rounds} do depends on what round {number} finds")
    elif not total:
        click.echo("nothing to do")
    return 0


def _ended(this: "Flow", go: "Callable[[Flow], Outcome]", as_json: bool) -> int:
    try:
        outcome = go(this)
    except (BusyError, KeyboardInterrupt):
        raise
    except Exception as error:
        if this.begun is None:
            raise
        if not isinstance(error, USER_ERRORS):
            traceback.print_exc()
        click.echo(f"Error: {in_words(error)}", err=True)
        click.echo(f"{this.begun.id} failed; mend the cause, then: kedro flow resume", err=True)
        return FAILED
    found = outcome.run
    if as_json:
        return STOPPED if found.state == "stopped" else 0
    if outcome.did_nothing:
        click.echo(f"nothing to do: {found.id} did all of this, and all that it made is as it was")
    elif found.state == "stopped":
        click.echo(f"stopped: {found.reason}")
    else:
        click.echo(f"done{': ' + found.reason if found.reason else ''}; kedro flow show")
    click.echo(f"archived in {found.folder}")
    return STOPPED if found.state == "stopped" else 0


@contextmanager
def _telling(as_json: bool) -> "Iterator[Callable[[dict[str, Any]], None]]":
    """A listener that shows events to people, or writes all of them as JSON lines and nothing else beside them."""
    from agent_market.flow.tell import event_line

    out = sys.stdout
    if as_json:
        with redirect_stdout(sys.stderr):
            yield lambda event: print(json.dumps(event, default=str), file=out, flush=True)
    else:
        yield lambda event: click.echo(line) if (line := event_line(event)) is not None else None


def _archive(env: str | None = None) -> "Archive":
    return _opened(env)[0]


def _opened(env: str | None) -> "tuple[Archive, CatalogProtocol]":
    """The archive of the project's data, and its catalog."""
    from kedro.framework.session import KedroSession

    from agent_market.configured import data_folder
    from agent_market.flow.archive import Archive

    with KedroSession.create(env=env) as session:
        context = session.load_context()
    return Archive(data_folder() / "runs", Path(context.project_path)), context.catalog


def _say(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)
