"""The training of one network: epochs of AdamW, validation after each, and the best weights kept."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agent_market.adapters.torch.augment import Augment, build_augment
from agent_market.adapters.torch.batches import apply, forecast, training_batches
from agent_market.adapters.torch.checkpoint import Tensors, named, within
from agent_market.adapters.torch.losses import LossFunction, build_loss
from agent_market.adapters.torch.networks import EXACT, Dropout, import_function
from agent_market.adapters.torch.options import Options
from agent_market.adapters.torch.windows import Batch, PanelWindows
from agent_market.errors import ModelError


@dataclass(frozen=True)
class Task:
    """What all networks of a fit have in common; `compares_pairs` says whether correlations are taken date by date."""

    options: Options
    train: PanelWindows
    valid: PanelWindows | None
    n_outputs: int
    n_epochs: int
    compares_pairs: bool


@dataclass
class Training:
    """A network in training: all that changes from epoch to epoch, and can be stored and restored."""

    network: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    global_state: bool  # a network of your own may draw from torch's global generator
    epoch: int = 0
    stale: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    best: Tensors = field(default_factory=dict)
    history: list[dict[str, float | None]] = field(default_factory=list)

    @classmethod
    def start(cls, network: nn.Module, options: Options, seed: int, device: torch.device) -> "Training":
        """A training at its beginning."""
        average = None
        if options.ema:
            average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True)
        generator = torch.Generator().manual_seed(seed)
        for module in network.modules():
            if isinstance(module, Dropout) and device.type == "cpu":
                module.generator = generator
        optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        return cls(network, average, optimizer, generator, global_state=not options.is_built_in)

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average.module

    def tensors(self) -> Tensors:
        """All tensors of the state."""
        state = self.optimizer.state_dict()["state"]
        slots = {f"{i}.{name}": value for i, slot in state.items() for name, value in slot.items()}
        parts = named(self.network.state_dict(), "network") | named(slots, "optimizer") | named(self.best, "best")
        if self.average is not None:
            parts |= named(self.average.state_dict(), "average")
        if self.global_state:
            parts["global_generator"] = torch.get_rng_state()
        return parts | {"generator": self.generator.get_state()}

    def facts(self) -> dict[str, Any]:
        """All numbers of the state."""
        names = ("epoch", "stale", "best_score", "best_epoch", "history")
        return {name: getattr(self, name) for name in names}

    def restore(self, tensors: Tensors, facts: dict[str, Any]) -> None:
        """Go back to the state that `tensors` and `facts` were taken of."""
        for name, value in facts.items():
            setattr(self, name, value)
        self.network.load_state_dict(within(tensors, "network"))
        if self.average is not None:
            self.average.load_state_dict(within(tensors, "average"))
        self.best = within(tensors, "best")
        slots: dict[int, Tensors] = {}
        for name, value in within(tensors, "optimizer").items():
            number, _, key = name.partition(".")
            slots.setdefault(int(number), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.generator.set_state(tensors["generator"])
        if self.global_state:
            torch.set_rng_state(tensors["global_generator"])


def train_network(training: Training, task: Task, finished_epoch: Callable[[Training, float], None]) -> None:
    """Train until the epochs are over, or `patience` of them brought nothing; then hold the best weights.

    `finished_epoch` receives the training and its labels per second after each epoch.

    Raises:
        ModelError: The loss is no number; the message names epoch and batch.
    """
    options = task.options
    loss, augment = build_loss(options), build_augment(options)
    collate = import_function(options.collate_fn, "collate_fn") if options.collate_fn else None
    forward = _compiled(training.network, options, task.train.device)
    while training.epoch < task.n_epochs and not (options.patience and training.stale >= options.patience):
        began = time.perf_counter()
        mean_loss = _epoch(training, task, forward, loss, augment, collate)
        rate = len(task.train) / (time.perf_counter() - began)
        training.epoch += 1
        _judge(training, task, loss, mean_loss)
        finished_epoch(training, rate)
    training.judged.load_state_dict(training.best)
    training.network.load_state_dict(training.best)
    for module in training.network.modules():
        if isinstance(module, Dropout):
            module.generator = None
    training.network.eval()


def _epoch(
    training: Training,
    task: Task,
    forward: nn.Module,
    loss: LossFunction,
    augment: Augment | None,
    collate: Callable[[Batch], Batch] | None,
) -> float:
    """Mean loss of one pass over the training rows."""
    options, device = task.options, task.train.device
    amp = device.type == "cuda" and options.amp is not False
    expected = max(1, round(len(task.train) / options.batch_size))
    losses = []
    training.network.train()
    for number, batch in enumerate(training_batches(task.train, options, training.generator)):
        batch = batch if collate is None else collate(batch)
        batch = batch if augment is None else augment(batch, training.generator)
        done = (training.epoch + min(1.0, (number + 1) / expected)) / task.n_epochs
        for group in training.optimizer.param_groups:
            group["lr"] = options.learning_rate * _schedule(done, options.warm_up)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            outputs = apply(forward, batch["x"], options.lookback, task.n_outputs)
        value = batch_loss(loss, outputs.float(), batch, task.compares_pairs)
        training.optimizer.zero_grad(set_to_none=True)
        value.backward()
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(training.network.parameters(), options.clip_norm)
        training.optimizer.step()
        if training.average is not None:
            training.average.update_parameters(training.network)
        losses.append(value.detach())
    values = torch.stack(losses).cpu()  # looked at once an epoch: a GPU need not wait at every step
    if not values.isfinite().all():
        first = int(torch.nonzero(~values.isfinite())[0])
        raise ModelError(
            f"the loss is {float(values[first])} in epoch {training.epoch + 1} at batch {first + 1} of {len(values)} "
            f"(network {options.network}, loss {options.loss}): lower learning_rate ({options.learning_rate:g}) or "
            f"clip_norm ({options.clip_norm}), or keep clip and standardize in preprocessing"
        )
    return float(values.mean())


def batch_loss(loss: LossFunction, outputs: torch.Tensor, batch: Batch, compares_pairs: bool) -> torch.Tensor:
    """The loss of a batch's outputs (b, p, n_outputs)."""
    group = batch["date"].flatten()
    return loss(
        outputs.flatten(0, 1),
        batch["y"].flatten(0, 1),
        batch["weight"].flatten(),
        group if compares_pairs else torch.zeros_like(group),
    )


def point(outputs: torch.Tensor, options: Options) -> torch.Tensor:
    """Predictions (n, n_labels) that outputs (n, n_outputs) stand for: a probability, the median, or the output."""
    if options.loss == "bce":
        return outputs.sigmoid()
    if options.loss == "quantile":
        return outputs[:, options.quantiles.index(0.5) :: len(options.quantiles)]
    return outputs


def information_coefficient(prediction: np.ndarray, y: np.ndarray, date: np.ndarray, *, compares_pairs: bool) -> float:
    """Mean over dates of the rank correlation between pairs, or the plain correlation over all rows.

    Dates at which nothing can be compared do not count; 0 where none is left.
    """
    table = pd.DataFrame({"prediction": prediction, "y": y})
    if compares_pairs:
        table = table.groupby(date).rank()
    else:
        date = np.zeros(len(table), int)
    centred = table - table.groupby(date).transform("mean")
    sums = pd.DataFrame(
        {
            "both": centred["prediction"] * centred["y"],
            "prediction": centred["prediction"] ** 2,
            "y": centred["y"] ** 2,
        }
    ).groupby(date).sum()  # fmt: skip
    scale = np.sqrt(sums["prediction"] * sums["y"])
    known = scale > 1e-12
    return float((sums["both"][known] / scale[known]).mean()) if known.any() else 0.0


def _judge(training: Training, task: Task, loss: LossFunction, mean_loss: float) -> None:
    """Write the epoch into the history, and keep its weights if they are the best so far."""
    facts = {"loss": mean_loss, "valid_loss": None, "ic": None}
    judged, valid, options = training.judged, task.valid, task.options
    better = True
    if valid is not None:
        judged.eval()
        chunk = options.chunk if options.network in EXACT else None
        outputs = forecast(judged, valid, valid.rows, task.n_outputs, chunk=chunk)
        if not outputs.isfinite().all():
            raise ModelError(
                f"the network gives numbers that are none after epoch {training.epoch} (network {options.network}): "
                f"lower learning_rate ({options.learning_rate:g})"
            )
        y, date = valid.y[valid.rows], valid.date[valid.rows]
        weight = torch.ones(len(y), device=y.device) if valid.weight is None else valid.weight[valid.rows]
        batch = {"y": y[:, None], "weight": weight[:, None], "date": date[:, None]}
        facts["valid_loss"] = float(batch_loss(loss, outputs[:, None], batch, task.compares_pairs))
        facts["ic"] = information_coefficient(
            point(outputs, options)[:, 0].cpu().numpy(), y[:, 0].cpu().numpy(), date.cpu().numpy(),
            compares_pairs=task.compares_pairs,
        )  # fmt: skip
        score = facts["ic"] if options.monitor == "ic" else -facts["valid_loss"]
        better = training.best_score is None or score > training.best_score
        training.best_score = score if better else training.best_score
    training.history.append(facts)
    training.stale = 0 if better else training.stale + 1
    if better:
        training.best_epoch = training.epoch
        training.best = {name: value.detach().clone() for name, value in judged.state_dict().items()}


def _schedule(done: float, warm_up: float) -> float:
    """Share of the peak rate when the share `done` of all steps is done: a rise, then half a cosine down to 0."""
    rise = min(1.0, done / warm_up) if warm_up else 1.0
    return rise * 0.5 * (1 + math.cos(math.pi * max(0.0, done - warm_up) / (1 - warm_up)))


def _compiled(network: nn.Module, options: Options, device: torch.device) -> nn.Module:
    wanted = options.network not in ("lstm", "gru") if options.compile == "auto" else options.compile
    return torch.compile(network) if wanted and device.type == "cuda" else network
