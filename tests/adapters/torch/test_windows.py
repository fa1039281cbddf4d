import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from agent_market.adapters.torch.batches import training_batches
from agent_market.adapters.torch.windows import PanelWindows
from agent_market.learning.samples import FeatureTensor, Samples


def _by_hand(samples, row, lookback, stop=None):
    """The window of one row, candle by candle, in plain Python."""
    first = samples.tensor.segment_start[row]
    rows = range(row - lookback + 1, (row if stop is None else stop) + 1)
    zeros = np.zeros(samples.tensor.values.shape[1], np.float32)
    return np.stack([samples.tensor.values[r] if r >= first else zeros for r in rows])


@pytest.mark.parametrize("lookback", [1, 5, 300])
def test_a_window_holds_the_last_candles_of_its_segment_and_zeros_before_them(panel, lookback):
    windows = PanelWindows(panel, lookback)
    batch = windows.take(torch.arange(len(panel)))
    expected = np.stack([_by_hand(panel, row, lookback) for row in range(len(panel))])
    np.testing.assert_array_equal(batch["x"], expected)
    np.testing.assert_array_equal(batch["y"][:, 0], panel.y.astype(np.float32))


def test_complete_windows_are_those_of_the_numpy_sampler(panel):
    reference = panel.windows(8)
    rows = np.flatnonzero(reference.complete)
    np.testing.assert_array_equal(PanelWindows(panel, 8).take(torch.from_numpy(rows))["x"], reference[rows])


def test_no_window_or_chunk_holds_a_candle_of_another_pair_or_from_before_a_hole(panel):
    segment = panel.tensor.segment_start
    marked = panel.with_values(np.repeat((segment + 1).astype(np.float32)[:, None], 4, axis=1))
    windows = PanelWindows(marked, 20)
    spans = windows.spans(windows.rows, 32, offset=5)
    for x, row in [
        (windows.take(windows.rows)["x"], windows.rows),
        (windows.chunks(spans.first, spans.stop, 32)["x"], spans.first),
    ]:
        own = torch.from_numpy(segment)[row].float() + 1
        assert ((x == own[:, None, None]) | (x == 0)).all()
    assert len(np.unique(segment)) == 4  # three pairs, one of them with a hole


def test_a_window_longer_than_the_whole_panel_is_filled_up(panel):
    short = Samples(panel.tensor, np.array([2]))
    batch = PanelWindows(short, len(panel) + 10).take(torch.tensor([2]))
    assert batch["x"].shape == (1, len(panel) + 10, 4)
    np.testing.assert_array_equal(batch["x"][0, -3:], panel.tensor.values[:3])
    assert not batch["x"][0, :-3].any()


@pytest.mark.parametrize("offset", [0, 7])
def test_chunks_hold_each_label_once_and_nothing_after_their_last_label(train, offset):
    rows = train.rows[(train.rows % 5) > 1]  # labels are missing here and there
    samples = Samples(train.tensor, rows, train.y[(train.rows % 5) > 1], weight=np.linspace(1, 2, len(rows)))
    windows = PanelWindows(samples, 8)
    spans = windows.spans(windows.rows, 32, offset)
    batch = windows.chunks(spans.first, spans.stop, 32)
    row = (spans.first[:, None] + torch.arange(32))[batch["weight"] > 0]
    assert row.tolist() == rows.tolist()
    np.testing.assert_array_equal(batch["y"][batch["weight"] > 0], samples.y.astype(np.float32))
    np.testing.assert_allclose(batch["weight"][batch["weight"] > 0], samples.weight, rtol=1e-6)
    for i in range(len(spans)):
        first, n = int(spans.first[i]), int(spans.stop[i] - spans.first[i])
        np.testing.assert_array_equal(batch["x"][i, : 7 + n], _by_hand(samples, first, 8, first + n - 1))
        assert not batch["x"][i, 7 + n :].any()


@pytest.mark.parametrize("training", ["window", "chunked"])
@pytest.mark.parametrize("batch", ["shuffled", "dates"])
def test_an_epoch_has_every_label_once_in_batches_of_about_the_wanted_size(train, tiny, training, batch):
    options = tiny(training=training, batch=batch)
    windows = PanelWindows(train, options.lookback)
    parts = list(training_batches(windows, options, torch.Generator().manual_seed(0)))
    labels = np.concatenate([part["y"][part["weight"] > 0].numpy()[:, 0] for part in parts])
    np.testing.assert_array_equal(np.sort(labels), np.sort(train.y[:, 0].astype(np.float32)))
    sizes = [int((part["weight"] > 0).sum()) for part in parts]
    assert len(sizes) == round(len(train) / options.batch_size)
    assert max(sizes) < 2 * options.batch_size


@pytest.mark.parametrize("training", ["window", "chunked"])
def test_batches_of_dates_hold_all_pairs_of_a_date(train, tiny, training):
    options = tiny(training=training, batch="dates")
    parts = training_batches(PanelWindows(train, options.lookback), options, torch.Generator().manual_seed(0))
    dates = [set(part["date"][part["weight"] > 0].tolist()) for part in parts]
    assert len(dates) > 1
    assert sum(map(len, dates)) == len(set().union(*dates))


def test_batches_of_one_epoch_are_another_order_than_those_of_the_next(train, tiny):
    options, generator = tiny(training="window"), torch.Generator().manual_seed(0)
    windows = PanelWindows(train, options.lookback)
    first, second = (next(training_batches(windows, options, generator))["y"] for _ in range(2))
    assert first.shape != second.shape or not torch.equal(first, second)


def test_batches_written_into_one_place_are_the_same_as_batches_of_their_own(train):
    windows = PanelWindows(train, 8)
    spans = windows.spans(windows.rows, 32)
    room = windows.room(30, 32)
    for part in torch.arange(len(spans)).split(25):  # the last one is smaller, and some chunks have less before them
        own = windows.chunks(spans.first[part], spans.stop[part], 32)
        shared = windows.chunks(spans.first[part], spans.stop[part], 32, room)
        assert shared["x"].data_ptr() == room.data_ptr()
        for name, value in own.items():
            torch.testing.assert_close(shared[name], value, rtol=0, atol=0, equal_nan=True)


def test_a_data_loader_gathers_whole_batches(train):
    windows = PanelWindows(train, 8)
    loader = torch.utils.data.DataLoader(windows, batch_size=100, collate_fn=lambda batch: batch)
    x = torch.cat([batch["x"] for batch in loader])
    assert torch.equal(x, windows.take(windows.rows)["x"])
    assert torch.equal(windows[3]["x"], x[3])


def test_features_are_looked_into_and_not_copied(panel):
    windows = PanelWindows(panel, 64)
    assert windows.base.data_ptr() == panel.tensor.values.ctypes.data


def test_read_only_features_are_taken_without_a_warning(panel, recwarn):
    frozen = panel.tensor.values.copy()
    frozen.flags.writeable = False
    PanelWindows(panel.with_values(frozen), 8)
    assert not recwarn.list


@pytest.mark.parametrize("training", ["window", "chunked"])
def test_memory_stays_that_of_the_features_at_a_look_back_of_256(tiny, training):
    n, d = 100_000, 250
    dates = pd.date_range("2010", periods=n // 4, freq="h", tz="UTC")
    values = np.ones((n, d), np.float32)
    tensor = FeatureTensor(
        values, tuple(map(str, range(d))), pd.Categorical(np.repeat(list("ABCD"), n // 4)),
        pd.DatetimeIndex(np.tile(dates, 4)), np.repeat(np.arange(4) * (n // 4), n // 4),
    )  # fmt: skip
    samples = Samples(tensor, np.arange(n), np.ones((n, 1)))
    options = tiny(lookback=256, batch_size=8, chunk=8, training=training)
    before = _resident()
    windows = PanelWindows(samples, 256)
    peak = 0
    for number, _ in enumerate(training_batches(windows, options, torch.Generator().manual_seed(0))):
        peak = max(peak, _resident())
        if number == 100:
            break
    assert windows.nbytes <= 1.2 * values.nbytes
    assert peak - before <= 0.2 * values.nbytes  # the features themselves were there before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
