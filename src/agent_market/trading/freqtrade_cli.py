"""freqtrade's own command line in a process of its own, offline."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

import agent_market
from agent_market.errors import AgentMarketError

LAST_WORDS = 15  # lines of freqtrade's log that are shown if it stopped without an error


def backtest_by_command_line(
    config: dict, folder: Path, markets: dict[str, dict]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """`freqtrade backtesting` on a folder of user data: freqtrade's trades and statistics, read from its archive.

    Raises AgentMarketError with the end of freqtrade's log if it left no result.
    """
    from freqtrade.data.btanalysis import load_backtest_data, load_backtest_stats

    results = folder / "backtest_results"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "markets.json").write_text(json.dumps(markets))
    command = [
        *(sys.executable, "-m", "agent_market.trading.freqtrade_offline", str(folder / "markets.json"), "backtesting"),
        *("--config", str(folder / "config.json"), "--userdir", str(folder), "--datadir", str(folder / "data")),
        *("--backtest-directory", str(results), "--export", "signals", "--cache", "none"),
    ]
    # This very package, also where it is not installed but on the path.
    path = os.pathsep.join([str(Path(agent_market.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode or not (results / ".last_result.json").is_file():  # a faulty configuration exits with 0
        raise AgentMarketError(f"freqtrade's command line left no result; its log ends:\n{_last_words(done.stderr)}")
    return load_backtest_data(results), load_backtest_stats(results)


def _last_words(log: str) -> str:
    """From the last error of a log on, or its last lines if it has none."""
    lines = log.strip().splitlines()
    errors = [number for number, line in enumerate(lines) if " - ERROR - " in line]
    return "\n".join(lines[errors[-1] if errors else -LAST_WORDS :])
