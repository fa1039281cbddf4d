import json

import pandas as pd
import pytest

from agent_market.errors import AgentMarketError
from agent_market.trading import run_freqtrade
from agent_market.trading.freqtrade_cli import backtest_by_command_line
from backtests import Backtest, draw_backtest


@pytest.fixture
def backtest() -> Backtest:
    """Shorts, leverage, sizes, funding, stops, and all of it on a market with tiers of its own."""
    return draw_backtest(46)


def test_the_command_line_makes_the_same_trades_as_the_run_in_process(backtest):
    first = backtest.run(run_freqtrade)
    options = backtest.options.model_copy(update={"freqtrade_runner": "command_line"})
    second = Backtest(**vars(backtest) | {"options": options}).run(run_freqtrade)
    assert len(first.trades) > 10
    assert first.trades["leverage"].max() > 1
    assert (first.trades["funding_fees"] != 0).any()
    pd.testing.assert_frame_equal(first.trades, second.trades, rtol=1e-14)
    figures = json.loads(json.dumps(second.summary))
    assert figures == pytest.approx(json.loads(json.dumps(first.summary)), nan_ok=True)
    suffixes = [{name.split(".", 1)[1] for name in result.archive} for result in (first, second)]
    assert suffixes[0] == suffixes[1] == {"last_result.json", "meta.json", "zip"}


def test_a_command_line_that_fails_says_what_freqtrade_said(tmp_path):
    (tmp_path / "backtest_results").mkdir()
    with pytest.raises(
        AgentMarketError, match=r"(?s)left no result; its log ends:\n.* ERROR .*'stake_currency' is a required"
    ):
        backtest_by_command_line({"exchange": {"name": "binance", "pair_whitelist": ["A/USDT"]}}, tmp_path, {})
