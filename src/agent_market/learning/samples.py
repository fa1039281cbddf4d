"""The one view of features and labels that every model gets."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from agent_market.errors import DataError
from agent_market.market.candles import contiguous_segments
from agent_market.market.execution import ExecutionPrices

KEYS = ("pair", "date")


@dataclass(frozen=True)
class FeatureTensor:
    """All features of all pairs as one contiguous array, which every fold and every window looks into.

    `values` is (n_rows, n_features) float32, rows sorted by (pair, date); `segment_start` holds for each row the
    first row of its segment, the stretch of one pair without a hole, beyond which no window may reach back.
    `execution` has what orders are filled at, row by row, for models that trade while they learn; else None.
    """

    values: np.ndarray
    names: tuple[str, ...]
    pair: pd.Categorical
    date: pd.DatetimeIndex
    segment_start: np.ndarray
    execution: ExecutionPrices | None = None

    @classmethod
    def from_frame(cls, features: pd.DataFrame, *, timeframe: str, max_gap: int = 0) -> "FeatureTensor":
        """The tensor of a features table."""
        names = tuple(column for column in features if column not in KEYS)
        starts = contiguous_segments(features, timeframe, max_gap)
        return cls(
            values=np.ascontiguousarray(features[list(names)].to_numpy(np.float32)),
            names=names,
            pair=features["pair"].array,
            date=pd.DatetimeIndex(features["date"]),
            segment_start=np.repeat(starts[:-1], np.diff(starts)),
        )


@dataclass(frozen=True)
class Samples:
    """Some rows of the feature tensor, in the tensor's order, with their labels.

    `rows` (n,) are positions in the tensor, `y` is (n, n_horizons) float64 or None where labels are not needed,
    `weight` (n,) or None.
    """

    tensor: FeatureTensor
    rows: np.ndarray
    y: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def X(self) -> np.ndarray:  # noqa: N802 - the name that scikit-learn users look for
        """Feature matrix (n, n_features) float32: a view where the rows are adjacent, else one copy."""
        if len(self.rows) and self.rows[-1] - self.rows[0] + 1 == len(self.rows):
            return self.tensor.values[self.rows[0] : self.rows[-1] + 1]
        return self.tensor.values[self.rows]

    @property
    def pair(self) -> pd.Categorical:
        """Pair of each row (n,)."""
        return self.tensor.pair[self.rows]

    @property
    def date(self) -> pd.DatetimeIndex:
        """Open time of each row's candle (n,)."""
        return self.tensor.date[self.rows]

    @property
    def market(self) -> ExecutionPrices:
        """Prices and funding of all rows of the tensor, which `rows` are positions in.

        Raises DataError if the tensor was made without them.
        """
        if self.tensor.execution is None:
            raise DataError(
                "these samples have no execution prices: pass candles to walk_forward, or `execution` to the "
                "FeatureTensor (ExecutionPrices.from_candles)"
            )
        return self.tensor.execution

    def windows(self, lookback: int) -> "Windows":
        """The last `lookback` candles up to and including each row, gathered on demand."""
        return Windows(self.tensor, self.rows, lookback)

    def with_values(self, values: np.ndarray) -> "Samples":
        """The same samples over transformed features (n_rows of the tensor, n_features)."""
        return replace(self, tensor=replace(self.tensor, values=values))

    def to_pandas(self) -> pd.DataFrame:
        """Features (and labels `y_0`, …) with pair and date, one row per sample."""
        frame = pd.DataFrame(self.X, columns=list(self.tensor.names))
        frame.insert(0, "date", self.date)
        frame.insert(0, "pair", self.pair)
        for column, values in enumerate(() if self.y is None else self.y.T):
            frame[f"y_{column}"] = values
        return frame

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray | None]:
        """X (n, n_features) and y (n, n_horizons)."""
        return self.X, self.y

    def to_torch(self):
        """X and y as torch tensors; X shares memory with the feature tensor where it is a view."""
        import torch

        x = torch.from_numpy(self.X)
        return x, None if self.y is None else torch.from_numpy(self.y)


@dataclass(frozen=True)
class Windows:
    """An index sampler: memory stays that of the feature tensor whatever the look-back.

    Windows may reach back before a fold's first row, but never across pairs or holes; rows with too little
    history are not `complete`, and asking for them is an error.
    """

    tensor: FeatureTensor
    rows: np.ndarray
    lookback: int

    @property
    def complete(self) -> np.ndarray:
        """Which samples have a whole window behind them, (n,) bool."""
        return self.rows - self.tensor.segment_start[self.rows] >= self.lookback - 1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Windows of the samples `index` (b,): (b, lookback, n_features), oldest candle first."""
        index = np.atleast_1d(index)
        if not self.complete[index].all():
            raise DataError(
                f"{int((~self.complete[index]).sum())} samples have fewer than {self.lookback} candles behind them "
                "in their pair without a hole; ask only for samples where `complete` is true"
            )
        last = self.rows[index]
        return self.tensor.values[last[:, None] + np.arange(1 - self.lookback, 1)]  # (b, lookback, d)


def build_samples(
    features: FeatureTensor | pd.DataFrame,
    labels: pd.DataFrame | None,
    rows: np.ndarray,
    *,
    target: tuple[str, ...] = (),
    weight: np.ndarray | None = None,
    timeframe: str = "1h",
) -> Samples:
    """Samples of the given rows, weighted by `weight` (n,); a features table is turned into a tensor first
    (`timeframe` finds its holes).

    Raises:
        DataError: Labels and features do not have the same (pair, date) rows, or a target is no label.
    """
    tensor = features
    if isinstance(features, pd.DataFrame):
        tensor = FeatureTensor.from_frame(features, timeframe=timeframe)
    if labels is None:
        return Samples(tensor, rows, weight=weight)
    check_aligned(tensor, labels)
    if unknown := [name for name in target if name not in labels]:
        known = [column for column in labels if column not in KEYS and not column.startswith("label_end")]
        raise DataError(
            f"no label {unknown}; the labels table has {known} (labels.horizons and labels.kinds say which are built)"
        )
    return Samples(tensor, rows, y=labels[list(target)].to_numpy(float)[rows], weight=weight)


def check_aligned(tensor: FeatureTensor, labels: pd.DataFrame) -> None:
    """Raise DataError unless the labels have the rows of the features, in the same order."""
    same = len(tensor.date) == len(labels) and (tensor.date == pd.DatetimeIndex(labels["date"])).all()
    if not same or not (np.asarray(tensor.pair) == np.asarray(labels["pair"])).all():
        raise DataError(
            f"features ({len(tensor.date)} rows) and labels ({len(labels)} rows) do not have the same (pair, date) "
            "rows: they come from different runs; run the feature_store pipeline again"
        )
