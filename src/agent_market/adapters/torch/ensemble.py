"""Networks of several seeds, trained one after another and averaged."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from agent_market.adapters import Progress
from agent_market.adapters.torch.batches import check_causal, forecast
from agent_market.adapters.torch.checkpoint import Checkpoint, Tensors, fit_fingerprint, named, within
from agent_market.adapters.torch.loop import Task, Training, point, train_network
from agent_market.adapters.torch.networks import EXACT, build_network
from agent_market.adapters.torch.options import STRUCTURE, Options
from agent_market.adapters.torch.windows import PanelWindows
from agent_market.errors import ModelError, ParameterError

if TYPE_CHECKING:
    from agent_market.learning.samples import Samples

_CALIBRATION_ROWS = 20_000

# Networks are made, and those of your own trained, while no other fit draws from torch's global generator.
_global_generator = threading.RLock()


@dataclass(frozen=True)
class Member:
    """A trained network, whose prediction of each label is `slope` × what it says + `intercept`, (n_labels,) each.

    `facts` tell how it came about: `seed`, `best_epoch`, and `history` with one entry per epoch.
    """

    network: nn.Module
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    facts: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """All but the network, JSON-ready."""
        return {"slope": self.slope, "intercept": self.intercept, "facts": self.facts}


@dataclass(frozen=True)
class Ensemble:
    """What `fit` gives: the members, on `device`, and the sizes that they were made for."""

    options: Options
    n_features: int
    n_labels: int
    device: torch.device
    members: tuple[Member, ...]

    @property
    def n_outputs(self) -> int:
        """Numbers that a network gives for each candle."""
        return self.n_labels * self.options.outputs_per_label


def fit_ensemble(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: Ensemble | None = None,
    checkpoint: Path | None = None,
) -> Ensemble:
    """`options.seeds` networks fitted to `train`, stopped early on `valid`; see `adapters.torch.fit`."""
    _check_finite(train)
    n_features, n_labels = train.tensor.values.shape[1], train.y.shape[1]
    device = choose_device(options, strict=True)
    task = Task(
        options=options,
        train=PanelWindows(train, options.lookback, device),
        valid=PanelWindows(valid, options.lookback, device) if valid is not None and len(valid) else None,
        n_outputs=n_labels * options.outputs_per_label,
        n_epochs=options.epochs if init is None or options.warm_epochs is None else options.warm_epochs,
        compares_pairs=_pairs_per_date(train) >= 3,
    )
    first = {} if init is None else _first_weights(init, options, n_features, n_labels)
    store = Checkpoint(checkpoint, fit_fingerprint(train, valid, options, first) if checkpoint else {})
    tensors, facts = store.read() or ({}, {"members": [], "current": None})
    with threads_of(options), _quiet_generator(options, device):
        members = [
            restore_member(options, n_features, n_labels, device, within(tensors, f"members.{number}"), described)
            for number, described in enumerate(facts["members"])
        ]
        for number in range(len(members), options.seeds):
            training = _start(task, number, n_features, device, within(first, f"members.{number}"))
            if facts["current"] is not None:
                training.restore(within(tensors, "current"), facts.pop("current"))
                facts["current"] = None

            def finished_epoch(training: Training, rate: float) -> None:
                _store(store, members, training)
                report(_progress(training, task, len(members), rate))

            train_network(training, task, finished_epoch)
            members.append(_finished(training, task, options.seed + number))
        _store(store, members, None)
    return Ensemble(options, n_features, n_labels, device, tuple(members))


def member_predictions(model: Ensemble, samples: "Samples") -> np.ndarray:
    """What each member says of each label, (n_members, n, n_labels)."""
    n_features = samples.tensor.values.shape[1]
    if n_features != model.n_features:
        raise ModelError(f"the network was trained on {model.n_features} features and is asked about {n_features}")
    _check_finite(samples)
    options = model.options
    chunk = options.chunk if options.network in EXACT else None
    with threads_of(options):
        windows = PanelWindows(samples, options.lookback, model.device)
        rows, place = torch.sort(windows.rows)
        said = np.empty((len(model.members), len(rows), model.n_labels))
        for number, member in enumerate(model.members):
            outputs = point(forecast(member.network, windows, rows, model.n_outputs, chunk=chunk), options)
            said[number, place.cpu().numpy()] = outputs.cpu().numpy() * np.array(member.slope) + member.intercept
    return said


def restore_member(
    options: Options,
    n_features: int,
    n_labels: int,
    device: torch.device,
    weights: Tensors,
    described: dict[str, Any],
) -> Member:
    """The member that `Member.describe` described, with its weights.

    Raises:
        ModelError: The weights are not of this network.
    """
    network = _network(options, n_features, n_labels * options.outputs_per_label, seed=options.seed).to(device)
    _load(network, weights, options)
    return Member(network.eval(), tuple(described["slope"]), tuple(described["intercept"]), described["facts"])


def choose_device(options: Options, *, strict: bool) -> torch.device:
    """Where to compute; what was trained on a GPU runs on the CPU where there is none, unless `strict`.

    Raises:
        ParameterError: `device: cuda`, but there is no GPU that torch can use, and `strict`.
    """
    available = torch.cuda.is_available()
    if options.device == "cuda" and not available and strict:
        raise ParameterError("device is cuda, but torch finds no GPU: set device to auto or cpu")
    return torch.device("cuda" if available and options.device != "cpu" else "cpu")


@contextlib.contextmanager
def threads_of(options: Options) -> Iterator[None]:
    """Run with the options' number of threads, then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet_generator(options: Options, device: torch.device) -> Iterator[None]:
    """Leave torch's global generator as it was; a network of your own has it for itself meanwhile."""
    if options.is_built_in:
        yield
        return
    with _global_generator, torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _network(options: Options, n_features: int, n_outputs: int, *, seed: int) -> nn.Module:
    """A network with the first weights of a seed, on the CPU; the global generator stays as it was."""
    with _global_generator, torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        return build_network(options, n_features, n_outputs)


def _start(task: Task, number: int, n_features: int, device: torch.device, first: Tensors) -> Training:
    options, seed = task.options, task.options.seed + number
    network = _network(options, n_features, task.n_outputs, seed=seed).to(device)
    if first:
        _load(network, first, options)
    if not options.is_built_in:
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        if options.training == "chunked":
            check_causal(network, options, n_features, task.n_outputs, device)
    return Training.start(network, options, seed, device)


def _finished(training: Training, task: Task, seed: int) -> Member:
    n_labels = task.train.y.shape[1]
    slope, intercept = (1.0,) * n_labels, (0.0,) * n_labels
    if task.options.loss == "ic":
        slope, intercept = _calibration(training.network, task)
    facts = {"seed": seed, "best_epoch": training.best_epoch, "history": training.history}
    return Member(training.network, slope, intercept, facts)


def _calibration(network: nn.Module, task: Task) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Least-squares line from outputs to labels on the training rows: a correlation does not know the labels' scale."""
    rows = task.train.rows[:: -(-len(task.train) // _CALIBRATION_ROWS)]
    chunk = task.options.chunk if task.options.network in EXACT else None
    said = forecast(network, task.train, rows, task.n_outputs, chunk=chunk).double()
    y = task.train.y[rows].double()
    weight = torch.ones_like(y) if task.train.weight is None else task.train.weight[rows].double()[:, None]
    weight = weight * y.isfinite()
    weight = weight / weight.sum(0).clamp_min(1e-12)
    y = y.nan_to_num()
    mean_said, mean_y = (weight * said).sum(0), (weight * y).sum(0)  # (n_labels,)
    covariance = (weight * (said - mean_said) * (y - mean_y)).sum(0)
    slope = covariance / (weight * (said - mean_said) ** 2).sum(0).clamp_min(1e-12)
    return tuple(slope.tolist()), tuple((mean_y - slope * mean_said).tolist())


def _store(store: Checkpoint, members: list[Member], training: Training | None) -> None:
    tensors = {} if training is None else named(training.tensors(), "current")
    for number, member in enumerate(members):
        tensors |= named(member.network.state_dict(), f"members.{number}")
    current = None if training is None else training.facts()
    store.write(tensors, {"members": [member.describe() for member in members], "current": current})


def _progress(training: Training, task: Task, number: int, rate: float) -> Progress:
    last = training.history[-1]
    return Progress(
        step=number * task.n_epochs + training.epoch,
        steps=task.options.seeds * task.n_epochs,
        loss=last["loss"] if last["valid_loss"] is None else last["valid_loss"],
        ic=last["ic"],
        rate=rate,
    )


def _first_weights(init: Ensemble, options: Options, n_features: int, n_labels: int) -> Tensors:
    """Weights of the earlier model's members, to go on from."""
    names = ("network", "network_options", "lookback", *STRUCTURE, "seeds", "loss", "quantiles", "aux_horizons")
    changed = [
        f"{name} was {getattr(init.options, name)!r} and is now {getattr(options, name)!r}"
        for name in names
        if getattr(init.options, name) != getattr(options, name)
    ]
    if init.n_features != n_features:
        changed.append(f"there were {init.n_features} features and are now {n_features}")
    if init.n_labels != n_labels:
        changed.append(f"there were {init.n_labels} labels and are now {n_labels}")
    if changed:
        raise ModelError(f"cannot go on from the model of the fold before: {'; '.join(changed)}. Set warm_start: false")
    weights = {}
    for number, member in enumerate(init.members):
        weights |= named(member.network.state_dict(), f"members.{number}")
    return weights


def _load(network: nn.Module, weights: Tensors, options: Options) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"stored weights do not fit network {options.network}: {error}") from error


def _check_finite(samples: "Samples") -> None:
    low_high = np.stack([samples.tensor.values.min(axis=0), samples.tensor.values.max(axis=0)])  # NaN if there is any
    if bad := [name for name, ok in zip(samples.tensor.names, np.isfinite(low_high).all(0), strict=True) if not ok]:
        raise ModelError(
            f"features {', '.join(bad[:5])}{' and others' if len(bad) > 5 else ''} have NaN or infinite values, which "
            "a network cannot take: keep impute in preprocessing"
        )


def _pairs_per_date(samples: "Samples") -> float:
    return float(np.median(np.unique(samples.date.asi8, return_counts=True)[1]))
