"""The state of a fit in one file, replaced whole, from which an interrupted fit goes on."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agent_market.adapters.torch.options import Options
from agent_market.errors import ModelError

if TYPE_CHECKING:
    from agent_market.learning.samples import Samples

log = logging.getLogger(__name__)

FILE = "fit.safetensors"

Tensors = dict[str, torch.Tensor]


class Checkpoint:
    """Writes and reads `fit.safetensors`; without a folder it does neither.

    `fingerprint` says of what fit a checkpoint is: that of another one is left alone until it is overwritten.
    """

    def __init__(self, folder: Path | None, fingerprint: dict[str, str]) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def write(self, tensors: Tensors, facts: dict[str, Any]) -> None:
        """Replace what is stored; a reader finds the old state or the new one, never half of one."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        metadata = {"fit": json.dumps({"fingerprint": self.fingerprint} | facts)}
        partial = self.folder / f"{FILE}.partial"
        write_tensors(partial, tensors, metadata)
        os.replace(partial, self.folder / FILE)

    def read(self) -> tuple[Tensors, dict[str, Any]] | None:
        """What was stored last; None if nothing was, or if it is of another fit.

        Raises:
            ModelError: The file is damaged.
        """
        if self.folder is None or not (self.folder / FILE).exists():
            return None
        tensors, metadata = read_tensors(self.folder / FILE)
        facts = json.loads(metadata["fit"])
        stored = facts.pop("fingerprint")
        other = [name for name, value in self.fingerprint.items() if stored.get(name) != value]
        if other:
            log.warning("checkpoint %s is of other %s: starting from the beginning", self.folder, ", ".join(other))
            return None
        return tensors, facts


def fit_fingerprint(train: "Samples", valid: "Samples | None", options: Options, init: Tensors) -> dict[str, str]:
    """Hashes of all that decides what comes out of a fit."""
    parts = [train.rows, train.y, train.weight]
    if valid is not None:
        parts += [valid.rows, valid.y, valid.weight]
    return {
        "options": options.model_dump_json(),
        "features": _digest([train.tensor.values, train.tensor.segment_start, train.tensor.date.asi8]),
        "labels": _digest(parts),
        "first weights": _digest([init[name].cpu().numpy() for name in sorted(init)]),
        "torch": torch.__version__,
    }


def write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, each with memory of its own, on whatever device they are."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, path, metadata)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors, on the CPU, and metadata of a safetensors file.

    Raises:
        ModelError: The file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Delete it and train again.") from error


def within(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose name begins with `prefix` and a dot, by the rest of their name."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def named(tensors: Tensors, prefix: str) -> Tensors:
    """The opposite of `within`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _digest(arrays: list[np.ndarray | None]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
