import io
import logging
import os
import sys
import threading

import pandas as pd
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from rich.console import Console

from agent_market import hooks
from agent_market.adapters import Progress
from agent_market.pipelines import training
from agent_market.progress import tell, unwatch, watch


def _run_with_bar(runner):
    pipeline = Pipeline([Node(lambda x: x, "a", "b", name="first"), Node(lambda x: x, "b", "c", name="second")])
    bar = hooks._Bar(Console(file=io.StringIO(), force_terminal=True))
    logger, level = logging.getLogger("kedro"), logging.getLogger("kedro").level
    logging.getLogger().addHandler(bar)
    logger.setLevel(logging.INFO)
    try:
        runner.run(pipeline, DataCatalog({"a": MemoryDataset(1)}))
    finally:
        logging.getLogger().removeHandler(bar)
        logger.setLevel(level)
    (task,) = bar.progress.tasks
    return task


def test_the_progress_bar_follows_kedros_own_messages():
    for runner in (SequentialRunner(), ThreadRunner()):
        task = _run_with_bar(runner)
        assert (task.completed, task.total) == (2, 2)
        assert task.description == "second"


def test_the_leaderboard_on_the_console_shows_missing_values_as_nothing():
    leaderboard = pd.DataFrame(
        {
            "model": ["ridge", "always_flat"],
            "total_return": [0.123, 0.0],
            "sharpe": [1.0, float("nan")],
            "trades": pd.array([7, 0], dtype="Int64"),
            "edge": pd.array([True, None], dtype="boolean"),
        }
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(hooks._table(leaderboard))
    said = console.file.getvalue()
    assert "+12.3%" in said
    assert "nan" not in said.lower()
    assert "NA" not in said


def test_a_fit_has_a_bar_of_its_own_until_it_ends():
    bar = hooks._Bar(Console(file=io.StringIO(), force_terminal=True, width=140))
    bar.show_fit("lstm", 3, Progress(2, 30, loss=0.98765, ic=0.0312, rate=12_345.6))
    bar.show_fit("mlp", 0, Progress(1, 9))
    _, lstm, mlp = bar.progress.tasks
    assert (lstm.description, lstm.completed, lstm.total) == ("  lstm, fold 3", 2, 30)
    assert lstm.fields["facts"] == "loss 0.9877, IC +0.031, 12,346 samples/s"
    assert mlp.fields["facts"] == ""
    bar.progress.refresh()
    bar.show_fit("lstm", 3, Progress(7, 30))
    assert lstm.completed == 7
    bar.show_fit("lstm", 3, Progress(7, 7))
    assert [task.description for task in bar.progress.tasks] == ["starting", "  mlp, fold 0"]
    bar.show_fit("lstm", 3, Progress(7, 7))  # told twice that it is over
    assert len(bar.progress.tasks) == 2


def test_fits_of_several_threads_move_their_own_bars():
    bar = hooks._Bar(Console(file=io.StringIO(), force_terminal=True))
    watch(bar.show_fit)
    try:
        fits = [
            threading.Thread(target=lambda fold=fold: [tell("lstm", fold, Progress(i, 90)) for i in range(40 + fold)])
            for fold in range(4)
        ]
        [fit.start() for fit in fits]
        [fit.join() for fit in fits]
    finally:
        unwatch(bar.show_fit)
    assert {t.description: t.completed for t in bar.progress.tasks[1:]} == {
        f"  lstm, fold {i}": 39 + i for i in range(4)
    }


def test_what_is_logged_beside_the_bar_is_written_once_and_above_it(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(file=terminal, force_terminal=True, width=120)
    logger = logging.getLogger("agent_market.test_of_the_bar")
    handler = logging.StreamHandler(terminal)
    logger.addHandler(handler)
    bar = hooks._Bar(console)
    bar.start()
    try:
        assert tell("lstm", 0, Progress(1, 3))
        logger.warning("a line from a fit")
    finally:
        bar.stop()
        logger.removeHandler(handler)
    assert handler.stream is terminal
    assert not tell("lstm", 0, Progress(2, 3))
    assert terminal.getvalue().count("a line from a fit") == 1
    before, _, after = terminal.getvalue().partition("a line from a fit")
    assert before.endswith("\x1b[2K"), "the bar was wiped before the line was written"
    assert after.startswith("\n")
    assert "lstm, fold 0" in after


def test_a_forked_process_leaves_the_bar_alone(monkeypatch):
    told = []
    watch(told.append)
    try:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert not tell("lstm", 0, Progress(1, 3))
    finally:
        unwatch(told.append)
    assert told == []


def test_without_a_bar_a_long_fit_speaks_up_in_the_log(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    said = []
    monkeypatch.setattr(training.log, "log", lambda level, text, *facts: said.append((level, text % facts)))
    report = training.reporter("lstm")
    for step in range(1, 9):
        report(2, Progress(step, 30, loss=1.0, ic=0.02, rate=1000.0))
    assert said == [
        (
            logging.DEBUG,
            "    lstm, fold 2: step 3 of 30, validation loss 1.00000, validation IC +0.0200, 1,000 samples/s",
        ),
        (
            logging.INFO,
            "    lstm, fold 2: step 4 of 30, validation loss 1.00000, validation IC +0.0200, 1,000 samples/s",
        ),
        (
            logging.DEBUG,
            "    lstm, fold 2: step 6 of 30, validation loss 1.00000, validation IC +0.0200, 1,000 samples/s",
        ),
        (
            logging.INFO,
            "    lstm, fold 2: step 7 of 30, validation loss 1.00000, validation IC +0.0200, 1,000 samples/s",
        ),
    ]
