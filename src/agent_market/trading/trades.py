"""The table of closed trades that both engines write, in freqtrade's own column names."""

import pandas as pd

DATE = "datetime64[ms, UTC]"

TRADE_DTYPES = {
    "pair": "str",
    "stake_amount": "float64",
    "amount": "float64",
    "open_date": DATE,
    "close_date": DATE,
    "open_rate": "float64",
    "close_rate": "float64",
    "fee_open": "float64",
    "fee_close": "float64",
    "trade_duration": "int64",
    "profit_ratio": "float64",
    "profit_abs": "float64",
    "exit_reason": "str",
    "enter_tag": "str",
    "is_short": "bool",
    "leverage": "float64",
    "funding_fees": "float64",
}
"""Money in stake currency, amount in base currency, fees and profit_ratio fractions, duration in minutes."""


def as_trades(rows: pd.DataFrame | list[dict]) -> pd.DataFrame:
    """Trades with exactly the columns and types of `TRADE_DTYPES`, sorted by open_date and pair."""
    table = pd.DataFrame(rows, columns=list(TRADE_DTYPES)).astype(TRADE_DTYPES)
    return table.sort_values(["open_date", "pair"], kind="stable", ignore_index=True)
