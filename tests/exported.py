"""Running freqtrade on an exported folder, and what comes of it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from projects import PROJECT


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python …` in a folder, with this project importable."""
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "src")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def trades_in(folder: Path) -> pd.DataFrame:
    """The trades of the one backtest that freqtrade has stored in a user_data folder."""
    (archive,) = (folder / "backtest_results").glob("*.zip")
    with zipfile.ZipFile(archive) as zipped:
        name = next(name for name in zipped.namelist() if name.endswith(f"{archive.stem}.json"))
        (result,) = json.loads(zipped.read(name))["strategy"].values()
    trades = pd.DataFrame(result["trades"])
    for date in ("open_date", "close_date"):
        trades[date] = pd.to_datetime(trades[date]).dt.as_unit("ms")
    return trades.sort_values(["open_date", "pair"], ignore_index=True)


def assert_same_trades(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Assert that two tables have the same trades: pair, dates, reason, rates, amount, stake and profit."""
    expected = expected.sort_values(["open_date", "pair"], ignore_index=True)
    assert len(found) == len(expected) > 10
    for name in ("pair", "open_date", "close_date", "exit_reason"):
        assert found[name].astype(str).tolist() == expected[name].astype(str).tolist(), name
    for name in ("open_rate", "close_rate", "amount", "stake_amount", "profit_abs"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-7, err_msg=name)
