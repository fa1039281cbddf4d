"""Position rules from outside of this package: found by dotted path, called, and held to what a rule must be."""

import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ParameterError

CUTS = (0.25, 0.5, 0.75)
"""Shares of the dates after which the future is cut off, to see whether a rule looks at it."""


def load_rule(path: str, options: dict[str, Any]) -> Callable[..., Any]:
    """The function at a dotted path, which takes a table of predictions and `options` by name.

    Raises ParameterError if there is no such function, or it does not take these options.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ParameterError(
            f"rule {path!r}: {module_name} cannot be imported: {error}; "
            "write package.module.function, and install the package or put it on PYTHONPATH"
        ) from error
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        functions = [known for known, _ in inspect.getmembers(module, inspect.isfunction)]
        close = get_close_matches(name, functions, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ParameterError(f"rule {path!r}: {module_name} has no function {name}{hint}")
    signature = inspect.signature(function)
    try:
        signature.bind(None, **options)
    except TypeError as error:
        raise ParameterError(
            f"rule {path!r} cannot be called with a table of predictions and the options "
            f"{', '.join(options) or '(none)'}: {error}; its signature is {name}{signature}"
        ) from error
    return function


def follow_rule(predictions: pd.DataFrame, path: str, options: dict[str, Any]) -> np.ndarray:
    """What the rule at `path` makes of predictions: one position per row, float64 in [-1, 1]; NaN becomes flat.

    Raises DataError if the rule does not return one position per row, returns a number outside [-1, 1], or says
    something else about the past once the future is cut off: at a quarter, the half and three quarters of the dates.
    """
    function = load_rule(path, options)

    def decide(rows: pd.DataFrame) -> np.ndarray:
        return _checked(function(rows.copy(), **options), rows, path)

    position = decide(predictions)
    dates = np.sort(predictions["date"].unique())
    for cut in {dates[int(share * (len(dates) - 1))] for share in CUTS if len(dates)}:
        past = (predictions["date"] <= cut).to_numpy()
        rows = predictions[past]
        moved = ~np.isclose(decide(rows.reset_index(drop=True)), position[past], rtol=0, atol=1e-9)
        if moved.any():
            row = rows.iloc[int(np.argmax(moved))]
            raise DataError(
                f"rule {path!r} looks into the future, or is random: its position of {row['pair']} at {row['date']} "
                f"changes when the predictions after {pd.Timestamp(cut)} are cut off; use rows up to each date only"
            )
    return position


def _checked(result: Any, rows: pd.DataFrame, path: str) -> np.ndarray:
    if isinstance(result, pd.Series) and not result.index.equals(rows.index):
        raise DataError(f"rule {path!r} must return positions in the order of its rows, with their index")
    try:
        position = np.asarray(result, dtype="float64")
    except (TypeError, ValueError) as error:
        raise DataError(f"rule {path!r} must return numbers, one position per row: {error}") from error
    if position.shape != (len(rows),):
        raise DataError(
            f"rule {path!r} must return one position per row, shape ({len(rows)},); found shape {position.shape}"
        )
    position = np.where(np.isnan(position), 0.0, position)
    outside = np.abs(position) > 1
    if outside.any():
        row = rows.iloc[int(np.argmax(outside))]
        raise DataError(
            f"rule {path!r} must return positions from -1 to 1; found {position[outside][0]} "
            f"for {row['pair']} at {row['date']}"
        )
    return position
