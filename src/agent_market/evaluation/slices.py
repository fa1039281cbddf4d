"""Where predictions are good: the RankIC and the returns by pair, hour of the day and regime of the market."""

import numpy as np
import pandas as pd

from agent_market.evaluation.panel import build_panel
from agent_market.evaluation.prediction import rank_products
from agent_market.evaluation.regimes import TREND, VOLATILITY
from agent_market.evaluation.significance import mean_interval, overlap_lags

COLUMNS = ("slice", "name", "share", "rank_ic", "rank_ic_low", "rank_ic_high", "net_return", "market_return")


def slice_performance(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    equity: pd.DataFrame,
    benchmark: pd.DataFrame,
    regimes: pd.DataFrame,
    *,
    horizon: int,
) -> pd.DataFrame:
    """One model's figures by `slice`: pair, hour (UTC, of the open of the candle predicted from), volatility, trend.

    Columns: slice, name, share (of the candles, fraction), rank_ic with its 95 % interval corrected for overlap, and
    for regimes net_return and market_return: what the account and buy-and-hold earned on the candles that began in
    that regime, compounded (fraction). Across pairs, the RankIC of a pair is its part of the RankIC of all: the mean
    over pairs is the whole. A regime is known when the position is decided, so it could be acted on.

    Args:
        predictions: pair, date, prediction, kind of one model.
        labels: pair, date and `return_<horizon>`.
        equity, benchmark: date and equity at each close, of the model's account and of buy-and-hold's.
        regimes: as of `market_regimes`.
        horizon: candles.
    """
    panel = build_panel(predictions, labels, horizon=horizon)
    products = rank_products(panel)
    rows = [_row("pair", pair, products[:, at : at + 1], horizon) for at, pair in enumerate(panel.pairs)]
    hour = panel.dates.hour
    rows += [_row("hour", f"{h:02d}", np.where((hour == h)[:, None], products, np.nan), horizon) for h in range(24)]
    regimes = regimes.set_index("date")
    returns = {
        name: table.set_index("date")["equity"].pct_change()
        for name, table in (("net_return", equity), ("market_return", benchmark))
    }
    for kind, names in (("volatility", VOLATILITY), ("trend", TREND)):
        at_close = regimes[kind].reindex(panel.dates)
        for name in names:
            inside = (at_close == name).to_numpy()
            row = _row(kind, name, np.where(inside[:, None], products, np.nan), horizon)
            row["share"] = inside.mean()
            rows.append(row | {key: _earned(change, regimes[kind], name) for key, change in returns.items()})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(COLUMNS[2:], float))


def _row(kind: str, name: str, products: np.ndarray, horizon: int) -> dict[str, float | str]:
    """The mean of a part of the products, with the error of the dates' sums, so that lags stay candles."""
    known = np.isfinite(products)
    size = known.sum(axis=1)
    row: dict[str, float | str] = {"slice": kind, "name": name, "share": float((size > 0).mean())}
    if not size.any():
        return row
    mean = np.where(known, products, 0.0).sum() / size.sum()
    deviation = np.where(known, products - mean, 0.0).sum(axis=1) / size.mean()
    interval = mean_interval(deviation, overlap_lags(horizon, len(deviation)))
    return row | {"rank_ic": mean, "rank_ic_low": mean + interval.low, "rank_ic_high": mean + interval.high}


def _earned(change: pd.Series, regime: pd.Series, name: str) -> float:
    """The compounded return of the candles that follow a close in the regime."""
    before = regime.reindex(change.index).shift(1)
    part = change[(before == name) & change.notna()]
    return float(np.prod(1.0 + part.to_numpy()) - 1.0)
