import json
import logging
import os
import socket
import subprocess
import sys
import tempfile

import pandas as pd
import pytest

from agent_market.errors import AgentMarketError, DataError
from agent_market.trading import BacktestOptions, run_freqtrade, snapshot_markets
from agent_market.trading.freqtrade_files import SAME_NAME, freqtrade_config
from agent_market.trading.signals import signals_of

PAIRS = ["AAA/USDT:USDT", "BBB/USDT:USDT"]
WHOLE = {"starting_balance": 1000, "tradable_balance_ratio": 1, "max_open_trades": 1, "fee": 0.001, "slippage": 0}


@pytest.fixture
def trades_of(written_candles, written_positions):
    """A function that backtests one pair by freqtrade: opens, positions decided at their closes, options."""

    def trade(opens, positions, *, funding=None, **options) -> pd.DataFrame:
        candles = written_candles(AAA_USDT_USDT=opens)
        options = BacktestOptions(**WHOLE | options)
        markets = snapshot_markets(candles, fee=options.fee, trading_mode="futures")
        how = {"timeframe": "1h", "trading_mode": "futures", "funding": funding}
        return run_freqtrade(
            candles, signals_of(written_positions(AAA_USDT_USDT=positions)), markets, options, **how
        ).trades

    return trade


def test_a_position_is_entered_at_the_next_open_and_left_at_the_open_after_it_is_given_up(trades_of):
    (trade,) = trades_of([99.5, 100, 110, 120, 120], [1, 1, 0, 0, 0]).to_dict("records")
    assert (trade["open_rate"], trade["close_rate"], trade["exit_reason"]) == (100, 120, "exit_signal")
    assert trade["amount"] == 10  # 1000 / 100
    assert trade["profit_abs"] == pytest.approx(10 * (120 * 0.999 - 100 * 1.001))


def test_size_scales_the_stake_that_the_wallet_proposes(trades_of):
    opens, positions = [99.5, 100, 100, 110, 110, 110], [0.5, 0.5, 0, -0.25, 0, 0]
    first, second = trades_of(opens, positions).to_dict("records")
    assert first["amount"] == 5  # half of 1000, at 100
    assert first["profit_abs"] == pytest.approx(5 * (110 * 0.999 - 100 * 1.001))  # 48.95
    # a quarter of 1048.95, at 110, is 2.38397…, of which the market's step leaves 2.3839
    assert second["amount"] == 2.3839
    assert second["is_short"]


def test_size_scales_a_fixed_stake_too_and_counts_at_the_entry_alone(trades_of):
    (trade,) = trades_of([99.5, 100, 100, 110, 110], [0.25, 1, 0.5, 0, 0], stake_amount=400).to_dict("records")
    assert trade["stake_amount"] == 100


def test_size_below_the_smallest_stake_of_the_market_is_no_trade(trades_of):
    # at least 5 x 1.05 / 0.95 = 5.53 at stake, to which 4.25 is raised (by at most 30 %); 4.26 / 1.3 is too little
    assert trades_of([99.5, 100, 110, 110], [0.00425, 0, 0, 0]).empty
    (trade,) = trades_of([99.5, 100, 110, 110], [0.0043, 0, 0, 0]).to_dict("records")
    assert trade["stake_amount"] == pytest.approx(5.52, abs=0.01)


@pytest.fixture
def funding() -> pd.DataFrame:
    """Four hourly rates from the candle of the entry on; the second is unknown."""
    dates = pd.date_range("2024-01-29 01:00", periods=4, freq="h", tz="UTC", unit="ms")
    rates = {"funding_rate": [0.001, 0.002, 0.001, 0.004], "mark_price": [100.0, 101.0, 102.0, 103.0]}
    return pd.DataFrame({"pair": "AAA/USDT:USDT", "date": dates, **rates})


@pytest.mark.parametrize(("position", "sign"), [(1, -1), (-1, 1)])
def test_longs_pay_funding_from_entry_to_exit_inclusive_and_shorts_get_it(trades_of, funding, position, sign):
    opens, positions = [99.5, 100, 100, 100, 100, 100], [position, position, 0, 0, 0, 0]
    (trade,) = trades_of(opens, positions, funding=funding).to_dict("records")
    paid = 10 * (0.001 * 100 + 0.002 * 101 + 0.001 * 102)  # 4.04
    assert trade["funding_fees"] == pytest.approx(sign * paid)
    assert trade["profit_abs"] == pytest.approx(sign * paid - 2 * 0.001 * 1000)


def test_no_funding_is_due_where_the_table_has_no_row(trades_of, funding):
    opens, positions = [99.5, 100, 100, 100, 100, 100], [1, 1, 0, 0, 0, 0]
    (trade,) = trades_of(opens, positions, funding=funding.drop(index=1)).to_dict("records")
    assert trade["funding_fees"] == pytest.approx(-10 * (0.001 * 100 + 0.001 * 102))
    for none in (None, funding[:0]):
        (trade,) = trades_of(opens, positions, funding=none).to_dict("records")
        assert trade["funding_fees"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"date": pd.Timestamp("2024-01-29 01:00:00.005", tz="UTC")}, "AAA/USDT:USDT .* not on the full hour"),
        ({"mark_price": float("nan")}, "lacks the rate or the mark price"),
        ({"date": pd.Timestamp("2024-01-29 02:00", tz="UTC")}, "more than once"),
    ],
)
def test_funding_that_freqtrade_would_misread_is_refused(trades_of, funding, change, message):
    for column, value in change.items():
        funding.loc[0, column] = value
    with pytest.raises(DataError, match=message):
        trades_of([99.5, 100, 100], [1, 0, 0], funding=funding)


def test_a_leveraged_position_is_liquidated_before_the_exchange_would(trades_of):
    opens = [99.25, 100, 100, 91.25, 91.25]
    (trade,) = trades_of(opens, [1, 1, 0, 0, 0], stake_amount=100, leverage=10).to_dict("records")
    # margin 100 and maintenance of 2.5 %: (100 - 10 x 100) / (10 x 0.025 - 10) = 92.31, and 5 % of the distance: 92.69
    assert (trade["exit_reason"], trade["close_rate"], trade["leverage"]) == ("liquidation", 92.69, 10)
    assert trade["amount"] == 10
    assert trade["profit_abs"] == pytest.approx(10 * (92.69 * 0.999 - 100 * 1.001))
    assert trade["profit_ratio"] == pytest.approx(trade["profit_abs"] / (1000 * 1.001) * 10)


def test_the_liquidation_buffer_is_the_configured_one(trades_of):
    opens = [99.25, 100, 100, 91.25, 91.25]
    (trade,) = trades_of(opens, [1, 1, 0, 0, 0], stake_amount=100, leverage=10, liquidation_buffer=0.5).to_dict(
        "records"
    )
    assert trade["close_rate"] == 96.15  # half way from 92.31 to 100


def test_leverage_is_capped_by_the_tiers_of_the_market(trades_of):
    (trade,) = trades_of([99.5, 100, 100, 100], [1, 0, 0, 0], stake_amount=100, leverage=40).to_dict("records")
    assert trade["leverage"] == 20


def test_every_option_reaches_freqtrade(tmp_path):
    """An option that is added to the account must be handed on, too."""
    options = BacktestOptions(minimal_roi={0: 0.1}, trailing_stop_positive=0.01, leverage=3)
    config = freqtrade_config(tmp_path, PAIRS, options, timeframe="1h", trading_mode="futures")
    assert set(SAME_NAME) <= set(config)
    assert config["agent_market"]["leverage"] == 3
    assert config["minimal_roi"] == {"0": 0.1}
    assert config["fee"] == 0.0012
    assert config["dry_run_wallet"] == 10_000
    own = {"positions", "freqtrade", "freqtrade_runner"}
    assert set(BacktestOptions.model_fields) - own == {
        *SAME_NAME,
        *("starting_balance", "fee", "slippage", "leverage", "minimal_roi"),
    }
    assert json.loads(json.dumps(config)) == config


@pytest.fixture
def small(random_candles, random_positions):
    """Arguments of a small backtest."""
    candles = random_candles(PAIRS, 60)
    options = BacktestOptions()
    markets = snapshot_markets(candles, fee=options.fee, trading_mode="futures")
    return (candles, signals_of(random_positions(candles, change=0.3)), markets, options), {
        "timeframe": "1h",
        "trading_mode": "futures",
    }


def test_no_connection_is_tried(small, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"network access: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(run_freqtrade(*small[0], **small[1]).trades) > 5


def test_repeated_runs_are_identical_and_leave_nothing_behind(small, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers, level = list(logging.root.handlers), logging.getLogger("freqtrade").level
    before = json.dumps(small[0][2])
    first, second = (run_freqtrade(*small[0], **small[1]) for _ in range(2))
    pd.testing.assert_frame_equal(first.trades, second.trades, check_exact=True)
    assert json.loads(json.dumps(first.summary, allow_nan=False)) == second.summary
    assert json.dumps(small[0][2]) == before
    assert os.listdir(tmp_path) == []
    assert (logging.root.handlers, logging.getLogger("freqtrade").level) == (handlers, level)
    assert capfd.readouterr() == ("", "")


def test_new_signals_give_new_trades(small):
    """freqtrade's own cache of results does not see that the signals changed; it must stay off."""
    (candles, signals, markets, options), how = small
    mirror = {"enter_long": "enter_short", "enter_short": "enter_long", "exit_long": "exit_short"}
    other = signals.rename(columns=mirror | {"exit_short": "exit_long"})
    first, second = (run_freqtrade(candles, table, markets, options, **how) for table in (signals, other))
    assert not first.trades["is_short"].equals(second.trades["is_short"])


def test_backtest_without_trades_gives_an_empty_table(small):
    (candles, signals, markets, options), how = small
    none = signals.assign(enter_long=False, enter_short=False)
    result = run_freqtrade(candles, none, markets, options, **how)
    assert result.trades.empty
    assert result.summary["total_trades"] == 0
    assert result.summary["final_balance"] == options.starting_balance


def test_refusal_of_freqtrade_is_an_error_that_says_why(small):
    (candles, signals, markets, options), how = small
    candles, signals = (
        table.assign(date=table["date"].iloc[0] + (table["date"] - table["date"].iloc[0]) / 60 * 7)
        for table in (candles, signals)
    )
    with pytest.raises(AgentMarketError, match=r"Invalid timeframe '7m'.*set backtest\.freqtrade to false"):
        run_freqtrade(candles, signals, markets, options, **how | {"timeframe": "7m"})


def test_prices_finer_than_freqtrade_can_count_are_refused(small):
    (candles, signals, markets, options), how = small
    candles[["open", "high", "low", "close"]] *= 1.2345678901234e-9
    with pytest.raises(DataError, match=r"AAA/USDT:USDT.*decimals.*round"):
        run_freqtrade(candles, signals, markets, options, **how)


def test_candles_that_freqtrade_would_move_are_refused(small):
    """A market that opens at half past has hourly candles from then on; freqtrade would find none of their signals."""
    (candles, signals, markets, options), how = small
    late = pd.Timedelta("30min")
    candles, signals = (table.assign(date=table["date"] + late) for table in (candles, signals))
    with pytest.raises(DataError, match=r"AAA/USDT:USDT .*00:30.* from midnight.*backtest\.freqtrade to false"):
        run_freqtrade(candles, signals, markets, options, **how)


def test_missing_freqtrade_is_an_error_that_says_what_to_do(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "freqtrade.exceptions", None)
    with pytest.raises(AgentMarketError, match=r"install freqtrade, or set backtest\.freqtrade to false"):
        run_freqtrade(*small[0], **small[1])


def test_importing_the_package_does_not_import_freqtrade():
    code = "import sys, agent_market.trading; print([m for m in ('freqtrade', 'ccxt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
