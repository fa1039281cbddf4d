"""An ensemble as files that any process and any device can read: weights as safetensors, the rest as JSON."""

import json
from pathlib import Path

import torch

from agent_market.adapters.torch.checkpoint import read_tensors, write_tensors
from agent_market.adapters.torch.ensemble import Ensemble, choose_device, restore_member
from agent_market.adapters.torch.options import Options
from agent_market.errors import ModelError

FILE = "network.json"


def save_ensemble(model: Ensemble, folder: Path) -> None:
    """Write `network.json`, and `seed_<n>.safetensors` for each member."""
    files = [f"seed_{member.facts['seed']}.safetensors" for member in model.members]
    for name, member in zip(files, model.members, strict=True):
        write_tensors(folder / name, member.network.state_dict())
    facts = {
        "options": model.options.model_dump(mode="json"),
        "n_features": model.n_features,
        "n_labels": model.n_labels,
        "trained_with": {"torch": torch.__version__, "device": model.device.type, "threads": model.options.threads},
        "members": [{"file": name} | member.describe() for name, member in zip(files, model.members, strict=True)],
    }
    (folder / FILE).write_text(json.dumps(facts, indent=2) + "\n")


def load_ensemble(folder: Path) -> Ensemble:
    """Read what `save_ensemble` wrote, onto the options' device or, where there is none such, the CPU.

    Raises:
        ModelError: A file is missing or damaged.
    """
    try:
        facts = json.loads((folder / FILE).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{folder / FILE} cannot be read: {error}. Train the model again.") from error
    options = Options.model_validate(facts["options"])
    device = choose_device(options, strict=False)
    sizes = facts["n_features"], facts["n_labels"]
    members = [
        restore_member(options, *sizes, device, read_tensors(folder / part["file"])[0], part)
        for part in facts["members"]
    ]
    return Ensemble(options, *sizes, device, tuple(members))
