"""Windows and chunks gathered by index from the one feature tensor; none is ever stored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from agent_market.learning.samples import Samples

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Spans:
    """Chunks of rows: chunk i has the labels of rows [first[i], stop[i]), all of one pair without a hole.

    `group` (n,) says which stretch of the calendar a chunk lies in: chunks of one group have the same dates.
    """

    first: torch.Tensor
    stop: torch.Tensor
    group: torch.Tensor

    def __len__(self) -> int:
        return len(self.first)


class PanelWindows:
    """Batches of the last `lookback` candles up to each row, or of chunks of rows with that much before them.

    The feature tensor is looked into, not copied: memory stays 1× the features whatever the look-back. No window
    reaches across pairs or holes: what lies before the segment's first candle is zeros, the mean of standardized
    features. `samples.y` and `samples.weight` may be None. A batch is a dict:

    - `x` (b, lookback - 1 + p, n_features) float32: p = 1 for windows, the chunk's length for chunks;
    - `y` (b, p, n_labels): NaN where a candle has no label;
    - `weight` (b, p), 0 where a candle has no label, and `date` (b, p): the date's number in the calendar.

    It may be given to a `torch.utils.data.DataLoader` with an identity as `collate_fn`, since `__getitems__` gathers
    a whole batch at once.
    """

    def __init__(self, samples: "Samples", lookback: int, device: torch.device | str = "cpu") -> None:
        tensor, device = samples.tensor, torch.device(device)
        values = np.ascontiguousarray(tensor.values, np.float32)
        if not values.flags.writeable:  # torch shares memory with writable arrays only
            values = values.copy()
        n_rows, n_features = values.shape
        self.lookback, self.n_features, self.device = lookback, n_features, device
        self.base = torch.from_numpy(values).to(device)
        self.rows = torch.from_numpy(np.ascontiguousarray(samples.rows, np.int64)).to(device)
        self.segment_start = torch.from_numpy(np.asarray(tensor.segment_start, np.int64)).to(device)
        self.date = torch.from_numpy(np.unique(tensor.date.asi8, return_inverse=True)[1].astype(np.int32)).to(device)
        self.y, self.weight = _by_row(samples, n_rows, device)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return {name: part[0] for name, part in self.__getitems__([index]).items()}

    def __getitems__(self, index: list[int]) -> Batch:
        return self.take(self.rows[torch.as_tensor(index, device=self.device)])

    @property
    def nbytes(self) -> int:
        """Bytes held, those shared with the feature tensor included."""
        held = (self.base, self.rows, self.segment_start, self.date, self.y, self.weight)
        return sum(part.untyped_storage().nbytes() for part in held if part is not None)

    def take(self, rows: torch.Tensor, room: torch.Tensor | None = None) -> Batch:
        """The windows that end at `rows` (b,), with p = 1."""
        return self.chunks(rows, rows + 1, 1, room)

    def chunks(self, first: torch.Tensor, stop: torch.Tensor, length: int, room: torch.Tensor | None = None) -> Batch:
        """The chunks [first, stop) (b,), none longer than `length`: the shorter ones are filled up with zeros.

        `x` is written into `room`, if given: a batch is then good until the next one.
        """
        batch = {"x": self._gather(first, stop, length, room)}
        row = first[:, None] + torch.arange(length, device=self.device)  # (b, p)
        inside = row < stop[:, None]
        row = torch.where(inside, row, stop[:, None] - 1)
        batch["date"] = self.date[row]
        if self.y is not None:
            batch["y"] = self.y[row].masked_fill_(~inside[..., None], torch.nan)
            labelled = batch["y"].isfinite().any(-1)
            weight = torch.ones((), device=self.device) if self.weight is None else self.weight[row]
            batch["weight"] = torch.where(labelled, weight, 0.0)
        return batch

    def room(self, n: int, length: int = 1) -> torch.Tensor:
        """Where `x` of batches of up to `n` chunks can lie, one after the other.

        Memory asked for anew with each batch may be new to the process each time; clearing it can take longer than
        the gathering.
        """
        return torch.empty((n, self.lookback - 1 + length, self.n_features), device=self.device)

    def spans(self, rows: torch.Tensor, length: int, offset: int = 0) -> Spans:
        """The fewest chunks of at most `length` candles that hold all `rows` (n,), cut by the calendar.

        Cuts lie where a candle's number plus `offset` is a multiple of `length`, at all pairs alike.
        """
        group = (self.date[rows].long() + offset) // length
        segment = self.segment_start[rows]
        new = torch.ones(len(rows), dtype=torch.bool, device=self.device)
        new[1:] = (group[1:] != group[:-1]) | (segment[1:] != segment[:-1])
        begin = torch.nonzero(new).squeeze(1)
        end = torch.cat([begin[1:], torch.tensor([len(rows)], device=self.device)]) - 1
        return Spans(rows[begin], rows[end] + 1, group[begin])

    def _gather(
        self, first: torch.Tensor, stop: torch.Tensor, length: int, room: torch.Tensor | None = None
    ) -> torch.Tensor:
        n_rows, d = self.base.shape
        steps = self.lookback - 1 + length
        begin = first - (self.lookback - 1)
        whole = (begin >= self.segment_start[first]) & (stop - first == length)
        if n_rows < steps:  # there is not even one such window: nothing to look through
            return self._padded(begin, first, stop, steps)
        view = self.base.as_strided((n_rows - steps + 1, steps, d), (d, d, 1))
        rows = begin.clamp(0, n_rows - steps)
        x = view.index_select(0, rows) if room is None else torch.index_select(view, 0, rows, out=room[: len(rows)])
        if not whole.all():
            short = torch.nonzero(~whole).squeeze(1)
            x[short] = self._padded(begin[short], first[short], stop[short], steps)
        return x

    def _padded(self, begin: torch.Tensor, first: torch.Tensor, stop: torch.Tensor, steps: int) -> torch.Tensor:
        row = begin[:, None] + torch.arange(steps, device=self.device)  # (b, steps)
        outside = (row < self.segment_start[first][:, None]) | (row >= stop[:, None])
        x = self.base[row.clamp(0, len(self.base) - 1)]
        return x.masked_fill_(outside[..., None], 0.0)


def _by_row(samples: "Samples", n_rows: int, device: torch.device) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Labels and weights laid out by row of the feature tensor, NaN and 0 where there are none."""
    if samples.y is None:
        return None, None
    rows = torch.from_numpy(np.ascontiguousarray(samples.rows, np.int64))
    y = torch.full((n_rows, samples.y.shape[1]), torch.nan)
    y[rows] = torch.from_numpy(np.asarray(samples.y, np.float32))
    weight = None
    if samples.weight is not None:
        weight = torch.zeros(n_rows)
        weight[rows] = torch.from_numpy(np.asarray(samples.weight, np.float32))
        weight = weight.to(device)
    return y.to(device), weight
