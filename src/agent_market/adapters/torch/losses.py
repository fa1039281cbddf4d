"""What a fit makes small: means over labels, each by its weight; labels that are NaN have no say."""

from collections.abc import Callable

import torch
from torch.nn import functional

from agent_market.adapters.torch.options import Options

LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs (n, n_outputs), y (n, n_labels), weight (n,), group (n,)) -> loss."""


def build_loss(options: Options) -> LossFunction:
    """The loss that the options name."""
    if options.loss == "quantile":
        levels = torch.tensor(options.quantiles)
        return lambda outputs, y, weight, group: quantile_loss(outputs, y, weight, levels.to(outputs.device))
    if options.loss == "ic":
        return ic_loss
    pointwise = {
        "mse": lambda p, y: (p - y).square(),
        "huber": lambda p, y: functional.huber_loss(p, y, reduction="none", delta=options.huber_delta),
        "bce": lambda p, y: functional.binary_cross_entropy_with_logits(p, y, reduction="none"),
    }[options.loss]
    return lambda outputs, y, weight, group: _mean(pointwise(outputs, y.nan_to_num()), weight[:, None] * y.isfinite())


def quantile_loss(outputs: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Mean pinball loss; outputs (n, n_labels * n_levels) hold the levels of the first label, then of the next."""
    error = y.nan_to_num()[..., None] - outputs.unflatten(-1, (y.shape[-1], len(levels)))  # (n, n_labels, n_levels)
    pinball = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    return _mean(pinball, weight[:, None] * y.isfinite())


def ic_loss(outputs: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """1 - the mean over groups (dates) of the weighted correlation of outputs with labels, mean over labels.

    Groups count by their weight; those with fewer than two labelled rows do not.
    """
    _, inverse = torch.unique(group, return_inverse=True)
    n_groups = int(inverse.max()) + 1

    def total(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros((n_groups, values.shape[1])).index_add(0, inverse, values)

    w = weight[:, None] * y.isfinite()
    sum_w, rows = total(w), total((w > 0).to(w.dtype))

    def centred(values: torch.Tensor) -> torch.Tensor:
        return values - (total(w * values) / sum_w.clamp_min(1e-12))[inverse]

    p, y = centred(outputs), centred(y.nan_to_num())
    scale = (total(w * p * p) * total(w * y * y)).clamp_min(1e-12).sqrt()
    counts = torch.where(rows >= 2, sum_w, 0.0)
    return 1 - (counts * total(w * p * y) / scale).sum() / counts.sum().clamp_min(1e-12)


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1e-12)
