"""The compiled loop beside itself as plain Python, which checks every index and knows no compiler."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from agent_market.trading import engine, simulate
from backtests import draw_backtest

SEEDS = (0, 3, 4, 7, 10, 12)
PROGRAM = """
import sys, json
from agent_market.trading import engine, simulate
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


def _plain_options(seed):
    """A random backtest in spot whose options ask for nothing that only the full kernel has."""
    backtest = draw_backtest(seed)
    if backtest.trading_mode != "spot":
        return None
    nothing = {"minimal_roi": {}, "trailing_stop": False, "exit_profit_only": False}
    return replace(backtest, options=backtest.options.model_copy(update=nothing))


def test_the_plain_kernel_trades_as_the_full_one(monkeypatch):
    """What the plain kernel leaves out is what its options do not ask for."""
    backtests = [each for seed in range(60) if (each := _plain_options(seed)) is not None]
    plain = [each.run(simulate) for each in backtests]
    monkeypatch.setattr(engine, "is_full", lambda rules, market: True)
    for one, backtest in zip(plain, backtests, strict=True):
        full = backtest.run(simulate)
        pd.testing.assert_frame_equal(one.trades, full.trades, check_exact=True)
        pd.testing.assert_frame_equal(one.equity, full.equity, check_exact=True)
    assert sum(len(one.trades) for one in plain) > 200


def test_options_of_the_full_kernel_are_not_left_to_the_plain_one(monkeypatch):
    """The plain kernel would not see them: this is why `is_full` asks."""
    backtests = [draw_backtest(seed) for seed in range(60)]
    asking = [each for each in backtests if each.options.minimal_roi or each.options.trailing_stop]
    full = [each.run(simulate).trades for each in asking if each.trading_mode == "spot"]
    monkeypatch.setattr(engine, "is_full", lambda rules, market: None)
    plain = [each.run(simulate).trades for each in asking if each.trading_mode == "spot"]
    assert sum(not one.equals(other) for one, other in zip(full, plain, strict=True)) >= 3


def test_the_compared_backtests_trade():
    trades = pd.concat([draw_backtest(seed).run(simulate).trades for seed in SEEDS])
    assert len(trades) > 50
    assert trades["is_short"].any()
    assert trades["exit_reason"].nunique() >= 4
