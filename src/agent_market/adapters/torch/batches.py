"""In which order a fit sees its labels, and how all rows asked for get their outputs."""

from collections.abc import Iterator

import torch
from torch import nn

from agent_market.adapters.torch.options import Options
from agent_market.adapters.torch.windows import Batch, PanelWindows
from agent_market.errors import ModelError

_GATHERED = 2**22  # feature values gathered at once in inference: 16 MiB


def training_batches(windows: PanelWindows, options: Options, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: every labelled row once, in an order drawn from `generator`, about `batch_size` labels a batch.

    Chunks are cut at another place in each epoch, so that no candle is always the first after the burn-in. The next
    batch is written where `x` of the one before is.
    """
    n_batches = max(1, round(len(windows) / options.batch_size))
    if options.training == "chunked":
        offset = int(torch.randint(options.chunk, (1,), generator=generator, device=generator.device))
        spans = windows.spans(windows.rows, options.chunk, offset)
        keys = spans.group if options.batch == "dates" else torch.arange(len(spans), device=windows.device)
        parts = _shuffled(keys, n_batches, generator)
        room = windows.room(max(map(len, parts)), options.chunk)
        for part in parts:
            yield windows.chunks(spans.first[part], spans.stop[part], options.chunk, room)
    else:
        by_date = options.batch == "dates"
        keys = windows.date[windows.rows] if by_date else torch.arange(len(windows), device=windows.device)
        parts = _shuffled(keys, n_batches, generator)
        room = windows.room(max(map(len, parts)))
        for part in parts:
            yield windows.take(windows.rows[part], room)


def apply(network: nn.Module, x: torch.Tensor, lookback: int, n_outputs: int) -> torch.Tensor:
    """Outputs (b, p, n_outputs) of x (b, lookback - 1 + p, n_features); with p = 1 a network may leave that axis out.

    Raises:
        ModelError: The outputs have another shape.
    """
    b, p = len(x), x.shape[1] - lookback + 1
    outputs = network(x)
    if p == 1 and outputs.shape in ((b, n_outputs), (b,)):
        return outputs.reshape(b, 1, n_outputs)
    if outputs.shape != (b, p, n_outputs):
        raise ModelError(
            f"the network gives {tuple(outputs.shape)} for {tuple(x.shape)}, expected {(b, p, n_outputs)}: {n_outputs} "
            f"outputs for each of the last {p} candles. A network that gives one output per window needs "
            "training: window"
        )
    return outputs


@torch.no_grad()
def forecast(
    network: nn.Module, windows: PanelWindows, rows: torch.Tensor, n_outputs: int, *, chunk: int | None
) -> torch.Tensor:
    """Outputs (n, n_outputs) of ascending `rows` (n,), each from exactly `lookback` candles.

    `chunk` may be given for networks that say the same of a candle in a chunk as in its window: that saves work where
    rows are dense.
    """
    if len(rows) == 0:
        return torch.zeros((0, n_outputs), device=windows.device)
    back = windows.lookback - 1
    if chunk is not None:
        spans = windows.spans(rows, chunk)
        length = int((spans.stop - spans.first).max())
        if len(spans) * (back + length) < len(rows) * (back + 1):
            size = max(1, _GATHERED // ((back + length) * windows.n_features))
            parts = [
                apply(network, windows.chunks(first, stop, length)["x"], windows.lookback, n_outputs)
                for first, stop in zip(spans.first.split(size), spans.stop.split(size), strict=True)
            ]
            span = torch.searchsorted(spans.first, rows, right=True) - 1
            return torch.cat(parts)[span, rows - spans.first[span]].float()
    size = max(1, _GATHERED // ((back + 1) * windows.n_features))
    parts = [apply(network, windows.take(part)["x"], windows.lookback, n_outputs) for part in rows.split(size)]
    return torch.cat(parts).squeeze(1).float()


@torch.no_grad()
def check_causal(network: nn.Module, options: Options, n_features: int, n_outputs: int, device: torch.device) -> None:
    """Raise ModelError if later candles of a chunk change what a network says of earlier ones."""
    generator = torch.Generator().manual_seed(0)
    back, length = options.lookback - 1, max(2, min(options.chunk, 16))
    x = torch.randn((2, back + length, n_features), generator=generator)
    other = x.clone()
    known = length // 2
    other[:, back + known :] = torch.randn((2, length - known, n_features), generator=generator)
    network.eval()
    before, after = (apply(network, part.to(device), options.lookback, n_outputs)[:, :known] for part in (x, other))
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise ModelError(
            f"network {options.network} looks ahead: what it says of a candle changes with the candles after it (by up "
            f"to {float((before - after).abs().max()):.2g}). Make it causal, or use training: window"
        )


def _shuffled(keys: torch.Tensor, n_batches: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Positions in `keys` (n,) in batches of about equal size; equal keys are in one batch."""
    _, inverse = torch.unique(keys, return_inverse=True)
    n_keys = int(inverse.max()) + 1
    n_batches = min(n_batches, n_keys)
    place = torch.randperm(n_keys, generator=generator, device=generator.device).to(keys.device)
    batch = place[inverse] * n_batches // n_keys
    order = torch.argsort(batch, stable=True)  # ascending rows within a batch: neighbours are gathered together
    return list(order.split(torch.bincount(batch, minlength=n_batches).tolist()))
