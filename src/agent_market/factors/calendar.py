"""Calendar operators: of the candle's open time, UTC."""

# ruff: noqa: D103 (what each operator means stands in operators.py)

import numpy as np

from agent_market.factors.panel import Panel


def hour(panel: Panel) -> np.ndarray:
    return panel.spread(panel.dates.hour.to_numpy())


def weekday(panel: Panel) -> np.ndarray:
    return panel.spread(panel.dates.day_of_week.to_numpy())
