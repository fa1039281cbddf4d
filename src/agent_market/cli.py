"""Commands of this project; `kedro run` is Kedro's own, but the user's mistakes end in one plain message."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from agent_market.errors import BusyError
from agent_market.flow.commands import BUSY, flow
from agent_market.words import USER_ERRORS, in_words


@click.group(name=__package__)
def cli() -> None:
    """Commands of agent_market."""


def _plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except USER_ERRORS as error:
            told = click.ClickException(in_words(error))
            told.exit_code = BUSY if isinstance(error, BusyError) else told.exit_code
            raise told from error

    return wrapped


run = click.Command("run", params=kedro_run.params, callback=_plainly(kedro_run.callback), help=kedro_run.help)
cli.add_command(run)
cli.add_command(flow)


@cli.group()
def factor() -> None:
    """Check, show and convert factor expressions."""


@factor.command()
@click.argument("file")
@click.option("--strict", is_flag=True, help="Reject what depends on the unit of price or volume, too.")
@_plainly
def check(file: str, strict: bool) -> None:
    """Check each factor of FILE: a YAML or JSON file, a freqai_*.json, or the name of a packaged set.

    Prints one line per factor; the exit code is 1 if one is rejected.
    """
    from agent_market.factors.inspection import check_source

    rows = check_source(file, strict=strict)
    width = max((len(str(name)) for name in rows["name"]), default=0)
    for row in rows.itertuples(index=False):
        said = f"{row.look_back:>5}  {row.canonical}" if row.canonical and row.accepted else f"       {row.reason}"
        click.echo(f"{'ok' if row.accepted else 'NO':<4}{row.name!s:<{width}} {said}{row.note and f'  ({row.note})'}")
    n_rejected = int((~rows["accepted"].astype(bool)).sum())
    click.echo(f"{len(rows) - n_rejected} of {len(rows)} accepted; the number is the look-back in candles")
    if n_rejected:
        raise SystemExit(1)


_SIGNS_ARE_NO_OPTIONS = {"ignore_unknown_options": True}  # -Ref($close, 5) is an expression


@factor.command(context_settings=_SIGNS_ARE_NO_OPTIONS)
@click.argument("expression")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("factor.html"), show_default=True
)
@_plainly
def show(expression: str, output: Path) -> None:
    """Show the canonical form, look-back, unit and keys of EXPRESSION, and plot it on a simulated market."""
    from agent_market.factors.inspection import describe, draw

    portrait = describe(expression)
    for line in portrait.lines():
        click.echo(line)
    click.echo(f"plot       {draw(portrait.checked.canonical, output)}")


@factor.command("convert", context_settings=_SIGNS_ARE_NO_OPTIONS)
@click.argument("factors")
@click.option("--to", "dialect", type=click.Choice(["native", "qlib"]), required=True)
@_plainly
def convert_factors(factors: str, dialect: str) -> None:
    """Write FACTORS, an expression, a file or a packaged set, in this project's language or in Qlib's.

    A file comes out as `name: expression`, which is YAML; what cannot be written is named, and the exit code is 1.
    """
    from agent_market.factors.inspection import convert

    lines, failed = convert(factors, dialect)
    for line in lines:
        click.echo(line)
    for line in failed:
        click.echo(line, err=True)
    if failed:
        raise SystemExit(1)


@factor.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--env", "-e", help="Kedro's configuration environment.")
@_plainly
def vault(yes: bool, env: str | None) -> None:
    """Open the vault: test the library of mined factors on the segment that nothing has seen.

    It can be opened once without loss; each opening adds a line to the ledger, and the report counts them.
    """
    from agent_market.opening import open_vault

    if not yes:
        click.confirm("The vault is sealed so that one honest test is left. Open it?", abort=True)
    for line in open_vault(env=env):
        click.echo(line)


@cli.group()
def freqtrade() -> None:
    """Take trained models to freqtrade."""


@freqtrade.command()
@click.option("--model", required=True, help="A configured model, such as lightgbm or ml_training.lightgbm.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("user_data"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--version", help="The run whose model is wanted, by its timestamp; the newest without it.")
@click.option("--data/--no-data", default=True, show_default=True, help="Write the candles as well.")
@click.option(
    "--force",
    is_flag=True,
    help="Replace what an earlier export wrote (other files stay in any case), and export a policy that did not pass "
    "its go-live gate.",
)
@click.option("--env", "-e", help="Kedro's configuration environment.")
@_plainly
def export(model: str, output: Path, version: str | None, data: bool, force: bool, env: str | None) -> None:
    """Write strategy, configuration, model and candles of MODEL as a user_data folder of freqtrade."""
    from agent_market.exporting import export_model

    for line in export_model(model, output, version=version, data=data, force=force, env=env):
        click.echo(line)
