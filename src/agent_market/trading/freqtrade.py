"""The real freqtrade backtester, offline: what the embedded engine is held to.

freqtrade keeps trades, locks and wallets in class attributes. Runs in one process may follow one another, but
must not overlap: parallel runs need processes, not threads.
"""

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.errors import AgentMarketError
from agent_market.trading.freqtrade_cli import backtest_by_command_line
from agent_market.trading.freqtrade_files import STRATEGY, freqtrade_config, write_user_data
from agent_market.trading.freqtrade_offline import offline_exchange_class
from agent_market.trading.options import BacktestOptions
from agent_market.trading.trades import as_trades
from agent_market.trading.window import select_window

if TYPE_CHECKING:
    from freqtrade.optimize.backtesting import Backtesting

FIGURES = (
    "total_trades", "trade_count_long", "trade_count_short", "rejected_signals", "timedout_exit_orders",
    "starting_balance", "final_balance", "profit_total", "profit_total_abs", "profit_total_long",
    "profit_total_short", "profit_mean", "profit_median", "profit_factor", "expectancy",
    "expectancy_ratio", "winrate", "wins", "draws", "losses", "cagr", "sharpe", "sortino", "calmar",
    "sqn", "p_value", "market_change", "max_drawdown_account", "max_relative_drawdown",
    "max_drawdown_abs", "csum_min", "csum_max", "trades_per_day", "avg_stake_amount", "total_volume",
    "backtest_days", "backtest_start", "backtest_end",
)  # fmt: skip


@dataclass(frozen=True)
class FreqtradeResult:
    """What freqtrade's own backtest leaves behind.

    trades: one row per closed trade, columns of `trades.TRADE_DTYPES`, sorted by open_date and pair.
    summary: freqtrade's own figures under its own names, JSON-serialisable; a figure that is not finite is
    None.
    archive: the files of freqtrade's result folder, by name: a folder with them is read by freqtrade's own tools.
    """

    trades: pd.DataFrame
    summary: dict[str, Any]
    archive: dict[str, bytes]


def run_freqtrade(
    candles: pd.DataFrame,
    signals: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
) -> FreqtradeResult:
    """The same backtest as `simulate`, run by freqtrade itself, offline, on copies in a temporary folder.

    Arguments as in `simulate`. Fee and slippage go in as one fee. `options.freqtrade_runner` says whether it runs
    here, `in_process`, or as the `command_line` of a process of its own, which takes seconds to start.

    Raises
    ------
    AgentMarketError
        freqtrade is not installed, or refused the backtest; the message has its reason.
    """
    how = {"timeframe": timeframe, "trading_mode": trading_mode}
    window = select_window(candles, signals, markets, options, **how)
    try:
        from freqtrade.exceptions import FreqtradeException
    except ImportError as error:
        raise AgentMarketError(
            f"freqtrade cannot be imported ({error}); install freqtrade, or set backtest.freqtrade to false"
        ) from error
    with tempfile.TemporaryDirectory(prefix="agent_market_") as name, _quiet():
        folder = Path(name)
        config = freqtrade_config(folder, window.pairs, options, **how)
        write_user_data(folder, window, funding, **how)
        run = backtest_by_command_line if options.freqtrade_runner == "command_line" else _backtest_in_process
        try:
            trades, stats = run(config, folder, markets)
        except FreqtradeException as error:
            raise AgentMarketError(
                f"freqtrade refused the {trading_mode} backtest of {timeframe} candles: {error} "
                "Mend what it names, or set backtest.freqtrade to false to run without it."
            ) from error
        archive = {path.name: path.read_bytes() for path in sorted((folder / "backtest_results").iterdir())}
    figures = stats["strategy"][STRATEGY]
    return FreqtradeResult(as_trades(trades), {name: _plain(figures[name]) for name in FIGURES}, archive)


def _backtest_in_process(config: dict, folder: Path, markets: dict[str, dict]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """freqtrade's trades and statistics; its archive is left in the folder."""
    from freqtrade.optimize.backtesting import Backtesting
    from freqtrade.optimize.optimize_reports import generate_backtest_stats

    config = _completed(config, folder)
    exchange = offline_exchange_class(markets)(config, load_leverage_tiers=True)
    try:
        backtesting = Backtesting(config, exchange=exchange, progress_callback=lambda task: None)
        data, timerange = backtesting.load_bt_data()
        backtesting.load_prior_backtest()  # with the cache off it names the run, no more
        start, end = backtesting.backtest_one_strategy(backtesting.strategylist[0], data, timerange)
        stats = generate_backtest_stats(data, backtesting.all_bt_content, min_date=start, max_date=end)
        _store(backtesting, stats, data)
    finally:
        Backtesting.cleanup()
        exchange.close()
    return backtesting.all_bt_content[STRATEGY]["results"], stats


def _completed(config: dict, folder: Path) -> dict[str, Any]:
    """The configuration as freqtrade's command line would hand it to a backtest; freqtrade writes into it."""
    from freqtrade.configuration.config_validation import validate_config_schema
    from freqtrade.enums import RunMode

    completed = deepcopy(config) | {
        "user_data_dir": folder,
        "datadir": folder / "data",
        "exportdirectory": folder / "backtest_results",
        "original_config": config,
        "internals": {},
        "runmode": RunMode.BACKTEST,
    }
    validate_config_schema(completed, preliminary=True)  # also fills in freqtrade's defaults
    return completed


def _store(backtesting: "Backtesting", stats: Any, data: dict[str, pd.DataFrame]) -> None:
    """Write freqtrade's result archive, named after the last candle and not after the wall clock."""
    from freqtrade.data.metrics import combined_dataframes_with_rel_mean
    from freqtrade.optimize.optimize_reports import store_backtest_results

    figures, content = stats["strategy"][STRATEGY], backtesting.all_bt_content[STRATEGY]
    start, end = (pd.Timestamp(figures[name], tz="UTC") for name in ("backtest_start", "backtest_end"))
    store_backtest_results(
        backtesting.config,
        stats,
        f"{end:%Y-%m-%d_%H-%M-%S}",
        market_change_data=combined_dataframes_with_rel_mean(data, start, end),
        analysis_results=backtesting.analysis_results,
        wallet_summary={STRATEGY: content["wallet_summary"]},
        strategy_files={STRATEGY: backtesting.strategylist[0].__file__},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Only freqtrade's errors are logged; handlers and other loggers stay as they are."""
    logger = logging.getLogger("freqtrade")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _plain(figure: Any) -> Any:
    number = figure.item() if hasattr(figure, "item") else figure
    return None if isinstance(number, float) and not math.isfinite(number) else number
