"""The value of the account at the close of every candle."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from agent_market.trading.book import MarketBook
    from agent_market.trading.engine import Position


def mark_to_market(closed: "list[Position]", book: "MarketBook", starting_balance: float) -> pd.DataFrame:
    """Equity, exposure and n_open at the close of each candle of the book, in order of date.

    equity = starting balance + profit of the positions closed by then + what the open ones are worth at the
    close against what they were opened for (costs of the entry included, those of the coming exit not yet).
    """
    realised, unrealised, gross = (np.zeros(book.length) for _ in range(3))
    n_open = np.zeros(book.length, dtype="int64")
    for position in closed:
        held = slice(position.opened, position.closed)  # an exit at candle t is done before the close of t
        worth = position.amount * book.pairs[position.pair].close[held]
        unrealised[held] += position.side * (worth - position.open_value)
        gross[held] += worth
        n_open[held] += 1
        realised[position.closed] += position.profit
    equity = starting_balance + realised.cumsum() + unrealised
    exposure = np.divide(gross, equity, out=np.zeros(book.length), where=equity > 0)
    return pd.DataFrame({"date": book.dates, "equity": equity, "exposure": exposure, "n_open": n_open})
