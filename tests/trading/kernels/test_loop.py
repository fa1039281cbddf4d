"""The compiled loop beside itself as plain Python, which checks every index and knows no compiler."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from agent_market.trading import simulate
from backtests import draw_backtest

SEEDS = (0, 3, 4, 7, 10, 12)
PROGRAM = """
import sys, json
from agent_market.trading import simulate
from backtests import draw_backtest
results = [draw_backtest(int(seed)).run(simulate) for seed in sys.argv[1:]]
tables = [(result.trades, result.equity) for result in results]
json.dump([[table.to_json(double_precision=15, date_format="iso") for table in each] for each in tables], sys.stdout)
"""


@pytest.fixture(scope="module")
def plain():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *map(str, SEEDS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(zip(SEEDS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_compiled_result_is_that_of_plain_python(seed, plain):
    result = draw_backtest(seed).run(simulate)
    assert [table.to_json(double_precision=15, date_format="iso") for table in (result.trades, result.equity)] == plain[
        seed
    ]


def test_the_compared_backtests_trade():
    trades = pd.concat([draw_backtest(seed).run(simulate).trades for seed in SEEDS])
    assert len(trades) > 50
    assert trades["is_short"].any()
    assert trades["exit_reason"].nunique() >= 4
