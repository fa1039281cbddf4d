"""The real freqtrade backtester, in process and without a network: what the embedded engine is held to.

freqtrade keeps trades, locks and wallets in class attributes. Runs in one process may follow one another, but
must not overlap: parallel runs need processes, not threads.
"""

import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.errors import AgentMarketError
from agent_market.options import timeframe_delta
from agent_market.trading.options import BacktestOptions
from agent_market.trading.trades import as_trades
from agent_market.trading.window import Window, select_window

if TYPE_CHECKING:
    from freqtrade.exchange import Exchange

STRATEGY = "AgentMarketStrategy"
STRATEGY_FILE = Path(__file__).with_name("freqtrade_strategy.py")
EXCHANGE = "binance"  # whose rules freqtrade applies; no request is ever sent there

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
    """

    trades: pd.DataFrame
    summary: dict[str, Any]


def run_freqtrade(
    candles: pd.DataFrame,
    positions: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    *,
    timeframe: str,
    trading_mode: str,
) -> FreqtradeResult:
    """The same backtest as `simulate`, run by freqtrade itself, offline, on copies in a temporary folder.

    Arguments as in `simulate`. Fee and slippage go in as one fee; funding rates are zero; the maintenance
    margin is zero, so that at leverage 1 only the stop at -99 % closes a position besides its signal.

    Raises
    ------
    AgentMarketError
        freqtrade is not installed, or refused the backtest; the message has its reason.
    """
    window = select_window(candles, positions, markets, options, timeframe=timeframe, trading_mode=trading_mode)
    try:
        from freqtrade.exceptions import FreqtradeException
    except ImportError as error:
        raise AgentMarketError(
            f"freqtrade cannot be imported ({error}); install freqtrade, or set backtest.freqtrade to false"
        ) from error
    with tempfile.TemporaryDirectory(prefix="agent_market_") as folder, _quiet():
        config = _config(Path(folder), window.pairs, options, timeframe=timeframe, trading_mode=trading_mode)
        _write_strategy(Path(folder), window)
        try:
            return _backtest(config, window, markets, timeframe=timeframe)
        except FreqtradeException as error:
            raise AgentMarketError(
                f"freqtrade refused the {trading_mode} backtest of {timeframe} candles: {error} "
                "Mend what it names, or set backtest.freqtrade to false to run without it."
            ) from error


def _backtest(config: dict, window: Window, markets: dict[str, dict], *, timeframe: str) -> FreqtradeResult:
    from freqtrade.optimize.backtesting import Backtesting
    from freqtrade.optimize.optimize_reports import generate_backtest_stats

    exchange = _offline_exchange(config, markets)
    try:
        _write_candles(Path(config["datadir"]), window, exchange, timeframe)
        backtesting = Backtesting(config, exchange=exchange, progress_callback=lambda task: None)
        data, timerange = backtesting.load_bt_data()
        start, end = backtesting.backtest_one_strategy(backtesting.strategylist[0], data, timerange)
        stats = generate_backtest_stats(data, backtesting.all_bt_content, min_date=start, max_date=end)
        trades = backtesting.all_bt_content[STRATEGY]["results"]
    finally:
        Backtesting.cleanup()
        exchange.close()
    figures = stats["strategy"][STRATEGY]
    return FreqtradeResult(as_trades(trades), {name: _plain(figures[name]) for name in FIGURES})


def _config(
    folder: Path, pairs: list[str], options: BacktestOptions, *, timeframe: str, trading_mode: str
) -> dict[str, Any]:
    """A configuration of its own for each run: freqtrade writes into it."""
    from freqtrade.configuration.config_validation import validate_config_schema
    from freqtrade.enums import RunMode

    pricing = {
        "price_side": "same",
        "use_order_book": True,
    }  # never asked for a price, but futures insist on it
    config = {
        "dry_run": True,
        "dry_run_wallet": options.starting_balance,
        "stake_currency": options.stake_currency,
        "stake_amount": "unlimited",
        "tradable_balance_ratio": options.tradable_balance_ratio,
        "max_open_trades": options.max_open_trades,
        "fee": options.cost_per_side,
        "timeframe": timeframe,
        "trading_mode": trading_mode,
        "margin_mode": "isolated" if trading_mode == "futures" else "",
        "liquidation_buffer": 0.0,
        "entry_pricing": dict(pricing),
        "exit_pricing": dict(pricing),
        "exchange": {
            "name": EXCHANGE,
            "pair_whitelist": list(pairs),
            "pair_blacklist": [],
            "enable_ws": False,
        },
        "pairlists": [{"method": "StaticPairList"}],
        "datadir": folder / "data",
        "user_data_dir": folder,
        "dataformat_ohlcv": "feather",
        "dataformat_trades": "feather",
        "strategy": STRATEGY,
        "strategy_path": str(folder / "strategies"),
        "agent_market": {"positions": str(folder / "positions.feather")},
        "export": "none",
        "backtest_cache": "none",  # its key does not cover the positions
        "internals": {},
    }
    config["original_config"] = deepcopy({name: value for name, value in config.items() if name != "internals"})
    config["runmode"] = RunMode.BACKTEST
    validate_config_schema(config, preliminary=True)  # also fills in freqtrade's defaults
    return config


def _offline_exchange(config: dict, markets: dict[str, dict]) -> "Exchange":
    """freqtrade's exchange with the stored markets in place of those it would fetch."""
    from freqtrade.resolvers import ExchangeResolver
    from freqtrade.util.datetime_helpers import dt_ts

    exchange = ExchangeResolver.load_exchange(config, validate=False, load_leverage_tiers=False)
    markets = deepcopy(markets)
    exchange._api.set_markets(markets)
    exchange._api_async.set_markets(markets)
    exchange._markets = exchange._api.markets
    exchange._last_markets_refresh = dt_ts()
    exchange._leverage_tiers = {
        pair: [
            {
                "minNotional": 0.0,
                "maxNotional": 1e18,
                "maintenanceMarginRate": 0.0,
                "maxLeverage": 1.0,
                "maintAmt": 0.0,
            }
        ]
        for pair in markets
    }
    exchange.validate_config(config)
    return exchange


def _write_strategy(folder: Path, window: Window) -> None:
    (folder / "strategies").mkdir()
    shutil.copy(STRATEGY_FILE, folder / "strategies")
    window.positions.to_feather(folder / "positions.feather")


def _write_candles(datadir: Path, window: Window, exchange: "Exchange", timeframe: str) -> None:
    from freqtrade.data.history import get_datahandler
    from freqtrade.enums import CandleType, TradingMode

    futures = exchange.trading_mode == TradingMode.FUTURES
    (datadir / "futures" if futures else datadir).mkdir(parents=True)
    handler = get_datahandler(datadir, "feather")
    for pair, rows in window.candles.groupby("pair"):
        handler.ohlcv_store(pair, timeframe, rows, CandleType.FUTURES if futures else CandleType.SPOT)
        if futures:
            mark, funding = (
                exchange.get_option("mark_ohlcv_timeframe"),
                exchange.get_option("funding_fee_timeframe"),
            )
            price_type = CandleType.from_string(exchange.get_option("mark_ohlcv_price"))
            handler.ohlcv_store(pair, mark, _resampled(rows, mark), price_type)
            handler.ohlcv_store(pair, funding, _zero_funding(rows, funding), CandleType.FUNDING_RATE)


def _resampled(rows: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Candles of another length for the mark price; with zero funding their values decide nothing."""
    return rows.set_index("date").drop(columns="pair").resample(timeframe_delta(timeframe)).ffill().reset_index()


def _zero_funding(rows: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    return _resampled(rows, timeframe)[["date"]].assign(funding_rate=0.0)


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
