"""Run the project as a package: `agent-market` and `python -m agent_market` are `kedro run` and its other commands."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kedro.framework.project import configure_project


def main(arguments: Sequence[str] | None = None, **kwargs: Any) -> Any:
    """Entry point of `agent-market`: a command of the project with its arguments; options alone are those of `run`.

    Schedulers that call Python do it Kedro's way: `main(["--env", "test"], standalone_mode=False)`.
    """
    configure_project(Path(__file__).parent.name)
    from agent_market.cli import cli

    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or (given[0].startswith("-") and given[0] != "--help"):
        given = ["run", *given]
    return cli(given, prog_name="agent-market", **kwargs)


if __name__ == "__main__":
    main()
