"""Random changes of a training batch, each from the fit's own generator."""

from collections.abc import Callable

import numpy as np
import torch

from agent_market.adapters.torch.networks import import_function
from agent_market.adapters.torch.options import Augmentation, Options
from agent_market.adapters.torch.windows import Batch

Augment = Callable[[Batch, torch.Generator], Batch]


def build_augment(options: Options) -> Augment | None:
    """The function that changes batches; None where nothing is to be changed."""
    if isinstance(options.augment, str):
        return import_function(options.augment, "augment")
    chosen = options.augment
    steps = [step for name, step in BUILT_IN.items() if getattr(chosen, name) > 0]
    if not steps:
        return None

    def augment(batch: Batch, generator: torch.Generator) -> Batch:
        for step in steps:
            batch = step(batch, generator, chosen)
        return batch

    return augment


def noise(batch: Batch, generator: torch.Generator, options: Augmentation) -> Batch:
    """Gaussian noise on every feature."""
    x = batch["x"]
    drawn = torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)
    return batch | {"x": x + options.noise * drawn}


def feature_dropout(batch: Batch, generator: torch.Generator, options: Augmentation) -> Batch:
    """Some features of each sequence are 0, their mean, at all its candles."""
    x = batch["x"]
    dropped = _chosen((len(x), 1, x.shape[2]), options.feature_dropout, generator, x.device)
    return batch | {"x": x.masked_fill(dropped, 0.0)}


def time_mask(batch: Batch, generator: torch.Generator, options: Augmentation) -> Batch:
    """All features of some candles are 0; the last candle of a sequence stays."""
    x = batch["x"]
    dropped = _chosen((len(x), x.shape[1], 1), options.time_mask, generator, x.device)
    dropped[:, -1] = False
    return batch | {"x": x.masked_fill(dropped, 0.0)}


def mixup(batch: Batch, generator: torch.Generator, options: Augmentation) -> Batch:
    """Each sequence blended with another, labels and weights alike (Zhang et al. 2018, arXiv:1710.09412)."""
    x, y, weight = batch["x"], batch["y"], batch["weight"]
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    share = float(np.random.default_rng(seed).beta(options.mixup, options.mixup))
    other = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    y = share * y + (1 - share) * y[other]  # NaN, no label, where either has none
    blended = torch.where(y.isfinite().any(-1), share * weight + (1 - share) * weight[other], 0.0)
    return batch | {"x": share * x + (1 - share) * x[other], "y": y, "weight": blended}


BUILT_IN = {"noise": noise, "feature_dropout": feature_dropout, "time_mask": time_mask, "mixup": mixup}


def _chosen(shape: tuple[int, ...], share: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    return (torch.rand(shape, generator=generator, device=generator.device) < share).to(device)
