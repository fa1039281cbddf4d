"""All that decides how a training goes on, as tensors and JSON: weights, optimisers, generators, replay, episodes."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agent_market.adapters.torch.checkpoint import Tensors, named, within

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_n_calls",
    "_current_progress_remaining",
    "exploration_rate",
)
REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""Arrays of a replay buffer."""


def capture(model: "BaseAlgorithm") -> tuple[Tensors, dict[str, Any]]:
    """The state of a training between two updates."""
    tensors: Tensors = {}
    facts: dict[str, Any] = {"groups": {}}
    for name, module in _modules(model).items():
        stored = module.state_dict()
        if isinstance(module, torch.optim.Optimizer):
            facts["groups"][name] = stored["param_groups"]
            for number, part in stored["state"].items():
                tensors |= named({key: torch.as_tensor(value) for key, value in part.items()}, f"{_key(name)}.{number}")
        else:
            tensors |= named(stored, _key(name))
    for name in _loose_tensors(model):
        tensors[f"loose.{name}"] = getattr(model, name).detach()
    facts["counters"] = {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
    tensors["last.observations"] = torch.from_numpy(np.ascontiguousarray(model._last_obs))
    tensors["last.starts"] = torch.from_numpy(np.ascontiguousarray(model._last_episode_starts))
    for number, memory in enumerate(_memories(model)):
        tensors[f"last.memory.{number}"] = memory
    if (replay := getattr(model, "replay_buffer", None)) is not None:
        filled = replay.buffer_size if replay.full else replay.pos
        facts["replay"] = {"pos": replay.pos, "full": replay.full}
        tensors |= {f"replay.{name}": torch.from_numpy(getattr(replay, name)[:filled]) for name in REPLAYED}
    _, keys, position, has_gauss, gauss = np.random.get_state()
    tensors["random.torch"] = torch.get_rng_state()
    tensors["random.numpy"] = torch.from_numpy(keys.astype(np.int64))
    facts["random"] = {
        "numpy": [position, has_gauss, gauss],
        "actions": model.action_space.np_random.bit_generator.state,
    }
    return tensors, facts


def restore(model: "BaseAlgorithm", tensors: Tensors, facts: dict[str, Any]) -> None:
    """Bring a new algorithm of the same options into a captured state."""
    # Memory as the library would have it: products of matrices round by where their factors lie.
    tensors = {name: value.clone() for name, value in tensors.items()}
    for name, module in _modules(model).items():
        stored = within(tensors, _key(name))
        if not isinstance(module, torch.optim.Optimizer):
            module.load_state_dict(stored)
            continue
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in stored.items():
            number, _, part = key.partition(".")
            state.setdefault(int(number), {})[part] = value
        module.load_state_dict({"state": state, "param_groups": facts["groups"][name]})
    for name in _loose_tensors(model):
        getattr(model, name).data.copy_(tensors[f"loose.{name}"])
    for name, value in facts["counters"].items():
        setattr(model, name, value)
    model._last_obs = tensors["last.observations"].numpy()
    model._last_episode_starts = tensors["last.starts"].numpy()
    for number, memory in enumerate(_memories(model)):
        memory.copy_(tensors[f"last.memory.{number}"])
    if "replay" in facts:
        replay = model.replay_buffer
        replay.pos, replay.full = facts["replay"]["pos"], facts["replay"]["full"]
        for name in REPLAYED:
            array = tensors[f"replay.{name}"].numpy()
            getattr(replay, name)[: len(array)] = array
    torch.set_rng_state(tensors["random.torch"])
    np.random.set_state(("MT19937", tensors["random.numpy"].numpy().astype(np.uint32), *facts["random"]["numpy"]))
    model.action_space.np_random.bit_generator.state = facts["random"]["actions"]


def _modules(model: "BaseAlgorithm") -> dict[str, Any]:
    """Networks and optimisers by the library's names: `policy`, `policy.optimizer`, `ent_coef_optimizer`, …"""
    names, _ = model._get_torch_save_params()
    found = {}
    for name in names:
        part: Any = model
        for attribute in name.split("."):
            part = getattr(part, attribute)
        found[name] = part
    return found


def _key(name: str) -> str:
    """A prefix that is none of another module's: `policy` stands before `policy.optimizer`, too."""
    return name.replace(".", "/")


def _loose_tensors(model: "BaseAlgorithm") -> list[str]:
    """Attributes that are a tensor by themselves, such as the logarithm of SAC's entropy coefficient."""
    _, names = model._get_torch_save_params()
    return [name for name in names if "." not in name]


def _memories(model: "BaseAlgorithm") -> list[torch.Tensor]:
    """Hidden and cell states of a recurrent policy's episodes; none of another's."""
    states = getattr(model, "_last_lstm_states", None)
    return [] if states is None else [tensor for pair in states for tensor in pair]
