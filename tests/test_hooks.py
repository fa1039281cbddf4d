import io
import logging

import pandas as pd
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from rich.console import Console

from agent_market import hooks


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
