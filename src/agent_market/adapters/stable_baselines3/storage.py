"""An ensemble as files that numpy can use: weights as safetensors, the rest as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from agent_market.adapters.stable_baselines3.ensemble import Ensemble, Member
from agent_market.adapters.stable_baselines3.options import Options
from agent_market.adapters.stable_baselines3.policy import Form, Policy
from agent_market.errors import ModelError

FILE = "policy.json"


def save_ensemble(model: Ensemble, folder: Path) -> None:
    """Write `policy.json`, and `seed_<n>.safetensors` for each member: critics too, for a warm start."""
    told = []
    for member in model.members:
        name = f"seed_{member.facts['seed']}.safetensors"
        save_file(member.policy.tensors, folder / name)
        told.append({"file": name, "form": asdict(member.policy.form), "facts": member.facts})
    facts = {
        "options": model.options.model_dump(mode="json"),
        "positions": list(model.options.env.levels) if model.options.env.actions == "discrete" else "continuous",
        "fee": model.options.env.fee,
        "slippage": model.options.env.slippage,
        "n_features": model.n_features,
        "members": told,
    }
    (folder / FILE).write_text(json.dumps(facts, indent=2) + "\n")


def load_ensemble(folder: Path) -> Ensemble:
    """Read what `save_ensemble` wrote; neither torch nor the library that trained it is needed.

    Raises:
        ModelError: A file is missing or damaged.
    """
    try:
        facts = json.loads((folder / FILE).read_text())
        members = [
            Member(Policy(Form.from_facts(told["form"]), load_file(folder / told["file"])), told["facts"])
            for told in facts["members"]
        ]
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no whole policy: {error}. Train the model again.") from error
    return Ensemble(Options.model_validate(facts["options"]), facts["n_features"], tuple(members))
