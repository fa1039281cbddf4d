"""Thousands of backtests over one market in one call: the market is prepared once, the figures are computed inside."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.trading.book import MarketArrays, prepare_market
from agent_market.trading.engine import check_stakes, is_full, rules_of, scratch
from agent_market.trading.kernels.layout import ACCOUNT, TRADE, Signals
from agent_market.trading.options import BacktestOptions
from agent_market.trading.packing import empty_signals, pack_scores, prepare_scores, prepare_signals
from agent_market.trading.signals import SIGNALS
from agent_market.trading.window import check_currency, select_window

FIGURES = ("final_balance", "total_return", "trades", "win_rate", "max_drawdown", "sharpe")
LEVELS = ("enter_long", "exit_long", "enter_short", "exit_short")
NO_SHORTS = {"enter_short": -np.inf, "exit_short": -np.inf}


def sweep_options(
    candles: pd.DataFrame,
    signals: pd.DataFrame,
    markets: dict[str, dict],
    options: Sequence[BacktestOptions],
    *,
    timeframe: str,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
    threads: int | None = None,
    trading_days: int = 365,
) -> pd.DataFrame:
    """The figures of the same signals under each of many options.

    Parameters
    ----------
    candles, signals, markets, timeframe, trading_mode, funding
        As in `simulate`.
    options
        One `BacktestOptions` per backtest; all in one stake currency.
    threads
        Backtests that run at the same time; None: as many as there are processors.
    trading_days
        Daily returns in a year of this market, by which the Sharpe ratio is annualised.

    Returns
    -------
    DataFrame with one row per element of `options`, in their order, of figures that equal those of `simulate`:
    final_balance (stake currency, at the last close), total_return (fraction), trades (closed ones), win_rate (fraction
    of trades with a profit above 0; NaN without trades), max_drawdown (0 or less, fraction of the highest equity
    before, the starting balance included, over all closes), sharpe (mean over deviation, ddof 1, of the simple returns
    of UTC days, annualised, risk-free rate 0; NaN without a deviation). An account whose equity fell to 0 stays there.

    Raises
    ------
    ParameterError, DataError
        As `simulate`, and for options that cannot share a market.
    """
    options = list(options)
    _check_options(options)
    how = {"timeframe": timeframe, "trading_mode": trading_mode}
    window = select_window(candles, signals, markets, options[0], **how)
    market = prepare_market(window.candles, markets, step=window.step, trading_mode=trading_mode, funding=funding)
    prepared = prepare_signals(window.signals, market)
    rules = np.concatenate([rules_of(each, market) for each in options])
    figures = _run_all(market, rules, options, prepared, np.empty((0, 0, 0)), np.empty((0, 0)), threads, trading_days)
    return _table(figures)


def sweep_thresholds(
    candles: pd.DataFrame,
    predictions: pd.DataFrame,
    markets: dict[str, dict],
    options: BacktestOptions,
    levels: pd.DataFrame,
    *,
    timeframe: str,
    trading_mode: str,
    funding: pd.DataFrame | None = None,
    threads: int | None = None,
    trading_days: int = 365,
) -> pd.DataFrame:
    """The figures of one model's predictions for each of many levels at which positions are entered and left.

    Each row of `levels` is a backtest with the signals that `threshold_signals` makes of it.

    Parameters
    ----------
    predictions
        One model's pair, date, prediction, known at the close of `date`; a missing one is flat.
    levels
        enter_long, exit_long and, for shorts in futures, enter_short, exit_short, in units of the prediction.
    candles, markets, options, timeframe, trading_mode, funding, threads, trading_days
        As in `sweep_options`.

    Returns
    -------
    The rows of `levels` with the figures of `sweep_options` beside them.
    """
    flat = {"pair": predictions["pair"], "date": predictions["date"], **dict.fromkeys(SIGNALS, False), "size": 1.0}
    how = {"timeframe": timeframe, "trading_mode": trading_mode}
    window = select_window(candles, pd.DataFrame(flat), markets, options, **how)
    market = prepare_market(window.candles, markets, step=window.step, trading_mode=trading_mode, funding=funding)
    return _sweep(market, prepare_scores(predictions, market), levels, options, threads, trading_days)


def sweep_scores(
    market: MarketArrays,
    scores: np.ndarray,
    levels: pd.DataFrame,
    options: BacktestOptions,
    *,
    threads: int | None = None,
    trading_days: int = 365,
) -> pd.DataFrame:
    """`sweep_thresholds` without tables of candles and predictions: a market of `market_arrays`, an array of scores.

    Parameters
    ----------
    scores
        float64 of shape (candles, pairs), on the dates and pairs of `market`, known at the close of the candle; NaN is
        flat.
    levels, options, threads, trading_days
        As in `sweep_thresholds`.
    """
    check_currency(market.pairs, options, market.trading_mode)
    return _sweep(market, pack_scores(market, scores), levels, options, threads, trading_days)


def _sweep(
    market: MarketArrays,
    scores: np.ndarray,
    levels: pd.DataFrame,
    options: BacktestOptions,
    threads: int | None,
    trading_days: int,
) -> pd.DataFrame:
    levels = levels.reset_index(drop=True)
    table = _checked_levels(levels, market.trading_mode)
    rules = np.repeat(rules_of(options, market), len(table))
    figures = _run_all(market, rules, [options] * len(table), None, scores, table, threads, trading_days)
    return _table(figures, beside=levels)


def threshold_signals(predictions: pd.DataFrame, levels: dict[str, float] | pd.Series) -> pd.DataFrame:
    """The signals (as of `signals_of`, size 1) that one row of levels makes of predictions.

    A long is entered where the prediction is above `enter_long` and left where it is below `exit_long`; a short is
    entered below `enter_short` and left above `exit_short`, and without these two levels there are no shorts. Where
    the prediction is missing, both sides are left.
    """
    levels = NO_SHORTS | dict(levels)
    prediction = predictions["prediction"].astype("float64")
    return predictions[["pair", "date"]].assign(
        enter_long=prediction > levels["enter_long"],
        exit_long=~(prediction >= levels["exit_long"]),
        enter_short=prediction < levels["enter_short"],
        exit_short=~(prediction <= levels["exit_short"]),
        size=1.0,
    )


def _run_all(
    market: MarketArrays,
    rules: np.ndarray,
    options: Sequence[BacktestOptions],
    signals: Signals | None,
    scores: np.ndarray,
    levels: np.ndarray,
    threads: int | None,
    trading_days: int,
) -> np.ndarray:
    """The figures of each set, (n_sets, figures): of `signals`, or of those that `levels` make of `scores`."""
    from agent_market.trading.kernels.loop import run

    figures, periods = np.empty((len(rules), len(FIGURES))), _periods_per_year(market, trading_days)
    full = is_full(rules, market)
    n_slots = min(int(rules["max_open"].max()), len(market.pairs))

    counter, nothing = np.zeros(1, dtype="int64"), np.empty(0, dtype=TRADE)

    def work(_: int) -> np.ndarray:
        """Run one set after the other that no thread has begun, in scratch space that no other thread writes to."""
        own = empty_signals(market) if signals is None else signals
        trace, daily = np.zeros((2, len(market.dates) if n_slots > 1 else 0)), np.empty(len(market.arrays.day_ends))
        accounts, desk = np.zeros(len(rules), dtype=ACCOUNT), scratch(market, n_slots)
        run(
            market.arrays, own, scores, levels, rules, counter, periods, *desk, accounts, nothing, trace, daily,
            figures, full,
        )  # fmt: skip
        return accounts

    n_threads = min(threads or len(os.sched_getaffinity(0)), len(rules))
    if n_threads == 1:
        shared = [work(0)]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            shared = list(pool.map(work, range(n_threads)))
    for accounts in shared:
        for number in np.flatnonzero(accounts["refused"]):
            check_stakes(accounts[number], market, options[number])
    return figures


def _table(figures: np.ndarray, beside: pd.DataFrame | None = None) -> pd.DataFrame:
    columns = {} if beside is None else {name: values.array for name, values in beside.items()}
    columns |= zip(FIGURES, figures.T, strict=True)
    return pd.DataFrame(columns | {"trades": columns["trades"].astype("int64")})


def _periods_per_year(market: MarketArrays, trading_days: int) -> float:
    """Returns per year, as `evaluation.metrics.periods_per_year`: fewer where candles are longer than a day."""
    if trading_days <= 0:
        raise ParameterError(f"market.trading_days is {trading_days}; expected a number like 365 or 252")
    days = market.step / pd.Timedelta("1D")
    return float(trading_days) if days <= 1 else 365.25 / days


def _check_options(options: list[BacktestOptions]) -> None:
    if not options:
        raise ParameterError("options: the list is empty, so there is nothing to backtest")
    currencies = {each.stake_currency for each in options}
    if len(currencies) > 1:
        raise ParameterError(
            f"backtest.stake_currency differs between the sets: {', '.join(sorted(currencies))}; the pairs of one "
            "market are paid in one currency"
        )


def _checked_levels(levels: pd.DataFrame, trading_mode: str) -> np.ndarray:
    unknown = sorted(set(LEVELS[:2]) - set(levels.columns))
    if unknown or levels.empty:
        raise DataError(f"levels need rows with {' and '.join(LEVELS[:2])}; missing: {', '.join(unknown) or 'rows'}")
    if taken := sorted(set(FIGURES) & set(levels.columns)):
        raise DataError(f"levels: {', '.join(taken)} are names of figures that are put beside them; rename the columns")
    if trading_mode == "spot" and set(LEVELS[2:]) & set(levels.columns):
        raise ParameterError("levels for shorts need market.trading_mode futures; drop enter_short and exit_short")
    columns = [levels[name] if name in levels else np.full(len(levels), NO_SHORTS[name]) for name in LEVELS]
    table = np.column_stack(columns).astype("float64")
    if np.isnan(table).any():
        raise DataError("levels: a level is missing; give each row all of its levels")
    enter_long, exit_long, enter_short, exit_short = table.T
    bad = (exit_long > enter_long) | (exit_short < enter_short)
    if bad.any():
        number = int(np.argmax(bad))
        raise ParameterError(
            f"levels, row {number}: a long is left below exit_long, which may not be above enter_long, and a short "
            f"above exit_short, which may not be below enter_short; found {levels.iloc[number].to_dict()}"
        )
    return table
