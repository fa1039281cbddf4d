"""Commands of this project; `kedro run` is Kedro's own, but the user's mistakes end in one plain message."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from agent_market.errors import AgentMarketError

USER_ERRORS = (AgentMarketError, DatasetError, ParameterValidationError)


@click.group(name=__package__)
def cli() -> None:
    """Commands of agent_market."""


def _plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except USER_ERRORS as error:
            raise click.ClickException(str(error)) from error

    return wrapped


run = click.Command("run", params=kedro_run.params, callback=_plainly(kedro_run.callback), help=kedro_run.help)
cli.add_command(run)
