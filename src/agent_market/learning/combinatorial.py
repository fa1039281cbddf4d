"""Combinatorial purged cross-validation: every group of candles is tested many times, and trained around.

López de Prado 2018, chapter 12. A model is trained on what lies before *and after* a test window, so that what it
earns there is no track record: it shows how much a result hangs on one course of time.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from agent_market.adapters import ModelOptions, Progress
from agent_market.errors import ParameterError
from agent_market.learning.walk_forward import TrainingOptions, fit_side_by_side, predicted_kind, prepare_task
from agent_market.options import Options, timeframe_delta

MOST_SPLITS = 500
COLUMNS = ("fold", "role", "group", "path", "start", "end")


class CombinatorialOptions(Options):
    """Into how many groups candles are divided, and how many of them each split tests."""

    groups: int = Field(6, ge=3, description="groups of candles, one after the other, equally long")
    test_groups: int = Field(2, ge=1, description="groups that each split tests; all choices of so many are made")
    models: tuple[str, ...] | None = Field(
        None, description="which, also as 'lightgbm xgboost'; null = all but ensembles"
    )

    @field_validator("models", mode="before")
    @classmethod
    def _names_in_a_row(cls, models: Any) -> Any:
        return models.split() if isinstance(models, str) else models

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if self.test_groups >= self.groups:
            raise ValueError(f"test_groups ({self.test_groups}) must be fewer than groups ({self.groups})")
        if (splits := math.comb(self.groups, self.test_groups)) > MOST_SPLITS:
            raise ValueError(
                f"{self.test_groups} of {self.groups} groups can be chosen in {splits} ways, each of which is a fit "
                f"of every model; {MOST_SPLITS} are the most: lower groups or test_groups"
            )
        return self

    @property
    def paths(self) -> int:
        """How often each group is tested, and so how many times the candles are gone through."""
        return math.comb(self.groups - 1, self.test_groups - 1)


def make_splits(
    dates: pd.Series,
    options: CombinatorialOptions,
    *,
    timeframe: str,
    horizon: int,
    embargo: int = 0,
    valid: str | None = None,
) -> pd.DataFrame:
    """The windows of every split, half-open ``[start, end)``: fold (the split), role, group, path, start, end.

    `role` is `test`, one row per tested group, with the `path` that it belongs to; `train`, one row per stretch between
    them; and `valid`, the last `valid` of the longest such stretch, in which nothing trains. (group and path are -1
    where they say nothing.) Rows train whose label, of up to `horizon` candles, is known by the end of their stretch,
    and a stretch after a test group begins when all labels of that group are known, and `embargo` candles later: no
    label of a test row shares a candle with one that was trained on. A path has each group once.

    Raises:
        ParameterError: The candles are too few for so many groups.
    """
    step = timeframe_delta(timeframe)
    first, end = dates.min(), dates.max() + step
    length = (end - first) // options.groups // step * step
    edges = [*(first + number * length for number in range(options.groups)), end]
    gap = (horizon + embargo) * step
    keep = pd.Timedelta(0) if valid is None else timeframe_delta(valid) + embargo * step
    if length <= 2 * gap + 2 * keep:
        raise ParameterError(
            f"cross_validation.groups: {options.groups} groups of {length} each are too short for a purge of {horizon} "
            f"candles, an embargo of {embargo} and a validation window of {valid}: lower groups, or load more candles"
        )
    rows, tested = [], np.zeros(options.groups, int)
    for split, chosen in enumerate(itertools.combinations(range(options.groups), options.test_groups)):
        stretches = _stretches(chosen, edges, gap)
        if valid is not None:
            longest = max(range(len(stretches)), key=lambda at: (stretches[at][1] - stretches[at][0], at))
            start, stop = stretches[longest]
            rows.append((split, "valid", -1, -1, stop - timeframe_delta(valid), stop))
            stretches[longest] = (start, stop - keep)
        rows += [(split, "train", -1, -1, *stretch) for stretch in stretches]
        for group in chosen:
            rows.append((split, "test", group, int(tested[group]), edges[group], edges[group + 1]))
            tested[group] += 1
    times = dict.fromkeys(COLUMNS[4:], "datetime64[ms, UTC]")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(times)


def cross_validate(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    options: ModelOptions,
    training: TrainingOptions,
    *,
    timeframe: str,
    max_gap: int = 0,
    name: str | None = None,
    candles: pd.DataFrame | None = None,
    funding: pd.DataFrame | None = None,
    report: Callable[[int, Progress], None] | None = None,
) -> pd.DataFrame:
    """Predictions of every path: path, pair, date, fold (the split), group, prediction, kind.

    Each path has every row with a known feature once, predicted by models that were not trained on it. The models are
    not kept: what was trained on the future of its test window is not to be traded. Splits have no order, so that
    `warm_start` does not count.
    """
    options = options.model_copy(update={"warm_start": False})
    name = name or options.adapter
    how = {"timeframe": timeframe, "max_gap": max_gap}
    task = prepare_task(name, features, labels, options, training, **how, candles=candles, funding=funding)
    parts = fit_side_by_side(task, [_as_fold(split, part) for split, part in splits.groupby("fold")], report)
    predictions = pd.concat([table for _, table in parts], ignore_index=True)
    tests = splits[splits["role"] == "test"]
    groups = tests.drop_duplicates("group").sort_values("start")
    at = np.searchsorted(groups["start"].to_numpy(), predictions["date"].to_numpy(), side="right") - 1
    predictions["group"] = groups["group"].to_numpy()[at]
    path = tests.set_index(["fold", "group"])["path"]
    predictions["path"] = path.loc[list(zip(predictions["fold"], predictions["group"], strict=True))].to_numpy()
    predictions["kind"] = predicted_kind(options, task.targets[0])
    columns = ["path", "pair", "date", "fold", "group", "prediction", "kind"]
    return predictions.sort_values(columns[:3], ignore_index=True)[columns]


def _stretches(
    chosen: tuple[int, ...], edges: list[pd.Timestamp], gap: pd.Timedelta
) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """What lies between the chosen groups; after each of them `gap` is left out."""
    stretches, begun = [], edges[0]
    for group in chosen:
        if edges[group] > begun:
            stretches.append((begun, edges[group]))
        begun = edges[group + 1] + gap
    if begun < edges[-1]:
        stretches.append((begun, edges[-1]))
    return stretches


def _as_fold(split: int, windows: pd.DataFrame) -> dict:
    """A split in the form in which fits take folds, but with several windows of a role."""
    by_role = windows.groupby("role")[["start", "end"]]
    named = {f"{role}_windows": list(part.itertuples(index=False, name=None)) for role, part in by_role}
    return {"fold": split, "valid_windows": [], **named}
