"""What a run shows: a progress bar while it works, the leaderboard and the report's path when it is done."""

import logging
import sys
from typing import Any

from kedro.framework.hooks import hook_impl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from agent_market import adapters
from agent_market.progress import unwatch, watch

log = logging.getLogger(__name__)

COLUMNS = {
    "total_return": "{:+.1%}",
    "sharpe": "{:.2f}",
    "max_drawdown": "{:.1%}",
    "rank_ic": "{:+.4f}",
    "rank_ic_t": "{:+.1f}",
    "rank_ic_seed_std": "{:.4f}",
    "trades": "{:.0f}",
    "freqtrade_total_return": "{:+.1%}",
    "edge": "{}",
    "gate": "{}",
}
"""Columns of the leaderboard that the console shows, and how."""


class _Bar(logging.Handler):
    """A live bar of the run, from the runner's records of completed nodes, and below it one of each running fit."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[facts]}"),
            console=console,
        )
        self.task = self.progress.add_task("starting", total=None, facts="")
        self.fits: dict[tuple[str, int], TaskID] = {}
        self.moved: list[logging.StreamHandler] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Completed node: %s":
            self.progress.update(self.task, description=record.args[0])
        elif record.msg == "Completed %d out of %d tasks":
            done, total = record.args
            self.progress.update(self.task, completed=done, total=total)

    def show_fit(self, model: str, fold: int, progress: adapters.Progress) -> None:
        """Move the bar of one fit; it goes when the fit has ended."""
        if progress.step >= progress.steps:
            if (ended := self.fits.pop((model, fold), None)) is not None:
                self.progress.remove_task(ended)
            return
        if (model, fold) not in self.fits:
            self.fits[model, fold] = self.progress.add_task(f"  {model}, fold {fold}", total=None, facts="")
        self.progress.update(
            self.fits[model, fold], completed=progress.step, total=progress.steps, facts=_facts(progress)
        )

    def start(self) -> None:
        """Show the bar; what is logged meanwhile comes to stand above it."""
        terminal = sys.stderr
        self.progress.start()  # from here on sys.stderr is rich's, which keeps the bar below what is written
        named = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
        for handler in {h for logger in (logging.root, *named) for h in logger.handlers}:
            if isinstance(handler, logging.StreamHandler) and handler.stream is terminal:
                handler.setStream(sys.stderr)
                self.moved.append(handler)
        logging.getLogger().addHandler(self)
        watch(self.show_fit)

    def stop(self) -> None:
        """Take the bar away."""
        unwatch(self.show_fit)
        logging.getLogger().removeHandler(self)
        self.progress.stop()
        for handler in self.moved:
            handler.setStream(sys.stderr)


def _facts(progress: adapters.Progress) -> str:
    facts = [f"loss {progress.loss:.4g}"] if progress.loss is not None else []
    facts += [f"IC {progress.ic:+.3f}"] if progress.ic is not None else []
    facts += [f"gain {progress.gain:+.3f}"] if progress.gain is not None else []
    facts += [f"{progress.rate:,.0f} samples/s"] if progress.rate is not None else []
    return ", ".join(facts)


class ProgressHooks:
    """Say which node runs, and show a progress bar while a pipeline runs on a terminal."""

    def __init__(self) -> None:
        self._bar: _Bar | None = None

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Start the bar."""
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = _Bar(console)
            self._bar.start()

    @hook_impl
    def before_node_run(self, node: Any) -> None:
        """Name the node, so that what is logged while it runs has a place."""
        log.info(node.name)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Take the bar away."""
        self._close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Take the bar away, so that the error is the last thing seen."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class SummaryHooks:
    """Print the leaderboard, the verdict, what was mined, and where reports lie, when a run has made them."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Read what reporting saved."""
        made = pipeline.all_outputs()
        console = Console(width=None if Console().is_terminal else 140)
        if "leaderboard" in made:
            console.print(_table(catalog.load("leaderboard")))
        if "feedback" in made:
            console.print(catalog.load("feedback")["verdict"]["sentence"], style="bold", highlight=False)
        if "report" in made:
            folder = catalog["report"]._get_load_path()  # Kedro has no public way to ask a dataset where it lies
            console.print(f"Report: {folder}/index.html", soft_wrap=True, highlight=False)
        if "run_index" in made:
            path = catalog["run_index"]._get_load_path()
            console.print(f"All runs: {path}", soft_wrap=True, highlight=False)
        if "mining_report" in made:
            results, trials = catalog.load("gate_results"), catalog.load("factor_trials")
            accepted = int(results["passed"].astype(bool).sum())
            said = f"{len(trials)} factors tried, {len(results)} tested on the gate segment, {accepted} accepted."
            console.print(said, style="bold", highlight=False)
            folder = catalog["mining_report"]._get_load_path()
            console.print(f"Mining report: {folder}/index.html", soft_wrap=True, highlight=False)


def _table(leaderboard: Any) -> Table:
    table = Table(title="Leaderboard (out of sample, after costs)")
    table.add_column("model")
    shown = {name: style for name, style in COLUMNS.items() if name in leaderboard}
    for name in shown:
        table.add_column(name, justify="right")
    for row in leaderboard.to_dict("records"):
        table.add_row(row["model"], *(_cell(row[name], style) for name, style in shown.items()))
    return table


def _cell(value: Any, style: str) -> str:
    missing = value is None or value != value  # NaN is not equal to itself
    return "" if missing else style.format(value)
