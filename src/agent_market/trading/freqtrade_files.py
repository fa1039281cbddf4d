"""What freqtrade runs from: an ordinary configuration and a `user_data` folder with candles, signals and strategy."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.options import timeframe_delta
from agent_market.trading.options import BacktestOptions
from agent_market.trading.precision import price_decimals
from agent_market.trading.window import PRICES, Window

STRATEGY = "AgentMarketStrategy"
STRATEGY_FILE = Path(__file__).with_name("freqtrade_strategy.py")
EXCHANGE = "binance"  # whose rules freqtrade applies; no request is ever sent there
FUNDING_TIMEFRAME = "1h"  # of the files of funding rates and mark prices, as freqtrade reads them for this exchange
MOST_DECIMALS = 18  # its ticks are 1 / 10**decimals, and 10**19 does not fit its integers

SAME_NAME = (
    "stake_currency", "stake_amount", "tradable_balance_ratio", "max_open_trades", "liquidation_buffer", "stoploss",
    "trailing_stop", "trailing_stop_positive", "trailing_stop_positive_offset", "trailing_only_offset_is_reached",
    "use_exit_signal", "exit_profit_only", "exit_profit_offset", "ignore_roi_if_entry_signal",
)  # fmt: skip


def freqtrade_config(
    folder: Path, pairs: list[str], options: BacktestOptions, *, timeframe: str, trading_mode: str
) -> dict[str, Any]:
    """freqtrade's configuration of a backtest from `folder`, JSON-serialisable; what is None is left out."""
    pricing = {"price_side": "same", "use_order_book": True}  # never asked for a price, but futures insist on it
    config = {
        "dry_run": True,
        "dry_run_wallet": options.starting_balance,
        **{name: getattr(options, name) for name in SAME_NAME},
        "minimal_roi": {str(minutes): profit for minutes, profit in options.minimal_roi.items()},
        "fee": options.cost_per_side,
        "timeframe": timeframe,
        "trading_mode": trading_mode,
        "margin_mode": "isolated" if trading_mode == "futures" else "",
        "entry_pricing": dict(pricing),
        "exit_pricing": dict(pricing),
        "exchange": {"name": EXCHANGE, "pair_whitelist": list(pairs), "pair_blacklist": [], "enable_ws": False},
        "pairlists": [{"method": "StaticPairList"}],
        "dataformat_ohlcv": "feather",
        "dataformat_trades": "feather",
        "strategy": STRATEGY,
        "strategy_path": str(folder / "strategies"),
        "agent_market": {"signals": str(folder / "signals.feather"), "leverage": options.leverage},
        "export": "signals",
        "backtest_cache": "none",  # its key does not cover the signals
    }
    return {name: value for name, value in config.items() if value is not None}


def write_user_data(
    folder: Path, window: Window, funding: pd.DataFrame | None, *, timeframe: str, trading_mode: str
) -> None:
    """Strategy, signals and what `write_candles` writes, where freqtrade looks for them."""
    for name in ("strategies", "backtest_results", "data"):
        (folder / name).mkdir()
    shutil.copy(STRATEGY_FILE, folder / "strategies")
    window.signals.to_feather(folder / "signals.feather")
    write_candles(folder / "data", window.candles, funding, timeframe=timeframe, trading_mode=trading_mode)


def write_candles(
    datadir: Path, candles: pd.DataFrame, funding: pd.DataFrame | None, *, timeframe: str, trading_mode: str
) -> None:
    """Candles and, in futures, funding rates and mark prices of their pairs, as freqtrade's files in a folder.

    Raises DataError for what freqtrade would misread: candles off the grid that starts at midnight, which it moves;
    prices with more decimals than it counts; funding off the full hour, which it passes over, or without a number,
    which sets all funding of a trade to zero.
    """
    from freqtrade.data.history import get_datahandler
    from freqtrade.enums import CandleType

    futures = trading_mode == "futures"
    (datadir / "futures" if futures else datadir).mkdir(parents=True, exist_ok=True)
    handler = get_datahandler(datadir, "feather")
    for pair, rows in candles.groupby("pair", observed=True):
        _check_decimals(pair, rows)
        _check_grid(pair, rows, timeframe)
        handler.ohlcv_store(pair, timeframe, rows, CandleType.FUTURES if futures else CandleType.SPOT)
    if futures and funding is not None:
        known = funding[funding["pair"].isin(candles["pair"].unique())].sort_values(["pair", "date"])
        _check_funding(known)
        for pair, rows in known.groupby("pair", observed=True):
            handler.ohlcv_store(pair, FUNDING_TIMEFRAME, rows, CandleType.FUNDING_RATE)
            handler.ohlcv_store(pair, FUNDING_TIMEFRAME, _mark_candles(rows), CandleType.MARK)


def _check_decimals(pair: str, candles: pd.DataFrame) -> None:
    most = max(int(price_decimals(candles[column].to_numpy()).max()) for column in PRICES)
    if most > MOST_DECIMALS:
        raise DataError(
            f"candles: the prices of {pair} have up to {most} decimals, of which freqtrade counts {MOST_DECIMALS}; "
            "round them to the tick of the market"
        )


def _check_grid(pair: str, candles: pd.DataFrame, timeframe: str) -> None:
    step, day = timeframe_delta(timeframe), pd.Timedelta("1d")
    off = (candles["date"] - candles["date"].dt.floor("D")) % step != pd.Timedelta(0)
    if day % step == pd.Timedelta(0) and off.any():
        raise DataError(
            f"candles: {pair} has a {timeframe} candle at {candles.loc[off, 'date'].iloc[0]}, and freqtrade moves "
            f"candles to multiples of {timeframe} from midnight UTC; set backtest.freqtrade to false to run without it"
        )


def _check_funding(funding: pd.DataFrame) -> None:
    off_grid = funding["date"] != funding["date"].dt.floor(FUNDING_TIMEFRAME)
    unknown = ~np.isfinite(funding[["funding_rate", "mark_price"]]).all(axis=1)
    for bad, what in (
        (off_grid, "is not on the full hour; round its date down"),
        (unknown, "lacks the rate or the mark price; drop the row"),
        (funding.duplicated(["pair", "date"]), "is there more than once; keep one row"),
    ):
        if bad.any():
            row = funding[bad].iloc[0]
            raise DataError(f"funding_rates: the funding of {row['pair']} at {row['date']} {what}")


def _mark_candles(funding: pd.DataFrame) -> pd.DataFrame:
    """Candles of which only the open is known, and only the open counts."""
    return pd.DataFrame(
        {"date": funding["date"], **dict.fromkeys(PRICES, funding["mark_price"]), "volume": 0.0}, index=funding.index
    )
