"""What an account did: returns, risk, and trading figures from bar-by-bar marked-to-market equity."""

import math
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError
from agent_market.evaluation.jsonable import to_jsonable

DAY = pd.Timedelta(days=1)
MIN_DAYS_TO_ANNUALISE = 30
"""Below this number of daily returns a compound annual figure is left undefined."""


def trading_metrics(
    equity: pd.DataFrame, trades: pd.DataFrame, *, starting_balance: float, trading_days: int
) -> dict[str, Any]:
    """The trading figures of one account, JSON-safe; a figure that is not defined is None.

    Args:
        equity: one row per candle of one account: `date` (candle open, UTC), `equity` (stake currency, marked to
            market at the candle's close), `exposure` (fraction of equity, optional).
        trades: closed trades of that account in freqtrade's columns; may be empty.
        starting_balance: stake currency before the first candle; it is the first peak of the drawdown.
        trading_days: daily returns in a year of this market: 365 for crypto, 252 for equities.

    Returns:
        Fractions (0.1 is 10 %) for returns, volatility, drawdown, rates; ratios are annualised from simple daily
        returns of UTC days with a risk-free rate of 0 and ddof 1. `docs/metrics.md` has each formula and each rule
        for the undefined.

    Raises:
        DataError: equity is empty, not finite, out of order, or of more than one model.
        ParameterError: a starting balance or number of trading days that is not positive.
    """
    times, values = _account_curve(equity, starting_balance)
    returns = daily_returns(equity, starting_balance=starting_balance)
    periods = periods_per_year(returns.index, trading_days)
    years = len(returns) / periods
    drawdown = values / np.maximum.accumulate(values) - 1.0
    max_drawdown = float(drawdown.min())

    metrics: dict[str, Any] = {"total_return": values[-1] / values[0] - 1.0}
    metrics |= _return_metrics(returns.to_numpy(), periods)
    metrics["annual_return"] = _annual_return(values[-1] / values[0], years, len(returns))
    metrics["max_drawdown"] = max_drawdown
    metrics["calmar"] = _ratio(metrics["annual_return"], -max_drawdown)
    metrics["drawdown_days"] = _longest_drawdown(times, values) / DAY
    metrics["exposure"] = float(equity["exposure"].mean()) if "exposure" in equity else None
    metrics |= _trade_metrics(trades)
    metrics |= _cost_metrics(trades, years, float(values[1:].mean()), starting_balance)
    metrics |= {
        "days": len(returns),
        "starting_balance": float(starting_balance),
        "final_balance": float(values[-1]),
        "first_date": equity["date"].iloc[0],
        "last_date": equity["date"].iloc[-1],
    }
    return to_jsonable(metrics)


def daily_returns(equity: pd.DataFrame, *, starting_balance: float) -> pd.Series:
    """Simple returns of UTC days, indexed by day; the first is measured from the starting balance.

    A candle belongs to the day in which it opens, so the day's equity is that at its last close. Days without a
    candle (weekends of a stock exchange, an outage) have no row: the next return spans them. An account at or below
    zero is wiped out: that day returns -1 and every later day 0.
    """
    times, values = _account_curve(equity, starting_balance)
    closes = pd.Series(values[1:], index=times[:-1].floor("D")).groupby(level=0).last()
    base = np.concatenate([values[:1], closes.to_numpy()[:-1]])
    returns = np.divide(closes.to_numpy(), base, out=np.ones(len(base)), where=base > 0.0) - 1.0
    return pd.Series(returns, index=pd.DatetimeIndex(closes.index, name="date"), name="return")


def monthly_returns(equity: pd.DataFrame, *, starting_balance: float) -> pd.DataFrame:
    """Compound returns (fractions) of calendar months in UTC: one row per year, columns 1..12 and `year`."""
    growth = 1.0 + daily_returns(equity, starting_balance=starting_balance)
    by_month = growth.groupby([growth.index.year, growth.index.month]).prod() - 1.0
    table = by_month.unstack().reindex(columns=range(1, 13))
    table["year"] = growth.groupby(growth.index.year).prod() - 1.0
    return table.rename_axis(index="year", columns="month")


def periods_per_year(dates: pd.DatetimeIndex, trading_days: int) -> float:
    """Returns per year of an index of days: `trading_days`, or fewer where candles are longer than a day."""
    if trading_days <= 0:
        raise ParameterError(f"trading days per year are {trading_days}; expected a number like 365 or 252")
    if len(dates) < 2:
        return float(trading_days)
    spacing = pd.Series(dates).diff().median() / DAY
    return float(trading_days) if spacing <= 1.0 else 365.25 / spacing


def _account_curve(equity: pd.DataFrame, starting_balance: float) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Times and equity with the starting balance put first, at the first candle's open; ruin is kept at zero.

    Value i + 1 is at the close of candle i, so `times[:-1]` are the candles' open times.
    """
    if not starting_balance > 0:
        raise ParameterError(f"starting balance is {starting_balance}; expected an amount above 0")
    if len(equity) == 0:
        raise DataError("the equity table has no rows; expected one per candle of the test span")
    if "model" in equity and equity["model"].nunique() > 1:
        raise DataError(f"equity of {equity['model'].nunique()} models in one call; select the rows of one model")
    dates = pd.DatetimeIndex(equity["date"])
    if not (dates.is_monotonic_increasing and dates.is_unique):
        raise DataError("equity dates are out of order or repeated; sort by date and keep one row per candle")
    values = equity["equity"].to_numpy(dtype=float)
    if not np.isfinite(values).all():
        raise DataError(f"equity has {int((~np.isfinite(values)).sum())} values that are not finite numbers")
    candle = pd.Series(dates).diff().median() if len(dates) > 1 else DAY
    ruined = np.logical_or.accumulate(values <= 0.0)
    values = np.concatenate([[float(starting_balance)], np.where(ruined, 0.0, values)])
    return dates.append(pd.DatetimeIndex([dates[-1] + candle])), values


def _return_metrics(returns: np.ndarray, periods: float) -> dict[str, float | None]:
    if len(returns) < 2:
        return {"volatility": None, "sharpe": None, "sortino": None}
    deviation = float(returns.std(ddof=1))
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    mean = float(returns.mean())
    return {
        "volatility": deviation * math.sqrt(periods),
        "sharpe": _ratio(mean * math.sqrt(periods), deviation),
        "sortino": _ratio(mean * math.sqrt(periods), downside),
    }


def _annual_return(growth: float, years: float, days: int) -> float | None:
    if days < MIN_DAYS_TO_ANNUALISE:
        return None
    if growth <= 0.0:
        return -1.0
    exponent = math.log(growth) / years
    return math.expm1(exponent) if exponent < 700.0 else None


def _longest_drawdown(times: pd.DatetimeIndex, values: np.ndarray) -> pd.Timedelta:
    """The longest time from a peak until equity is back at it, or until the last close."""
    at_peak = values >= np.maximum.accumulate(values)
    since = np.maximum.accumulate(np.where(at_peak, np.arange(len(values)), 0))
    previous = np.concatenate([[0], since[:-1]])
    stretch = np.where(at_peak, np.arange(len(values)) - previous, np.arange(len(values)) - since)
    under = np.where(at_peak, stretch > 1, stretch > 0)  # neighbouring peaks are no drawdown
    if not under.any():
        return pd.Timedelta(0)
    start = np.where(at_peak, previous, since)
    return (times - times[start])[under].max()


def _trade_metrics(trades: pd.DataFrame) -> dict[str, float | int | None]:
    closed = trades
    if "is_open" in trades and len(trades):
        closed = trades[~trades["is_open"].astype(bool)]
    names = ("win_rate", "profit_factor", "expectancy", "holding_hours")
    if len(closed) == 0:
        return {"trades": 0} | dict.fromkeys(names)
    profit = closed["profit_abs"].to_numpy(dtype=float)
    held = pd.to_datetime(closed["close_date"]) - pd.to_datetime(closed["open_date"])
    return {
        "trades": len(closed),
        "win_rate": float((profit > 0.0).mean()),
        "profit_factor": _ratio(float(profit[profit > 0].sum()), float(-profit[profit < 0].sum())),
        "expectancy": float(closed["profit_ratio"].mean()),
        "holding_hours": held.mean() / pd.Timedelta(hours=1),
    }


def _cost_metrics(
    trades: pd.DataFrame, years: float, mean_equity: float, starting_balance: float
) -> dict[str, float | None]:
    if len(trades) == 0:
        return {"turnover": 0.0, "fees_paid": 0.0, "fee_share": 0.0}
    bought = (trades["amount"] * trades["open_rate"]).astype(float)
    sold = (trades["amount"] * trades["close_rate"]).astype(float)
    fees = float((bought * trades["fee_open"] + sold * trades["fee_close"]).sum())
    return {
        "turnover": _ratio(float(bought.sum() + sold.sum()) / years, mean_equity),
        "fees_paid": fees,
        "fee_share": fees / starting_balance,
    }


def _ratio(numerator: float | None, denominator: float) -> float | None:
    """The quotient, or None where the denominator is zero up to rounding: never an infinity."""
    if numerator is None or not denominator > 1e-15:
        return None
    return numerator / denominator
