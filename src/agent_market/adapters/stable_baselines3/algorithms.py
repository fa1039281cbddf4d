"""The library's own objects, made from our options."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from agent_market.adapters.stable_baselines3.extraction import ACTIVATION_OF
from agent_market.adapters.stable_baselines3.options import ROLLOUT_ONLY, Options
from agent_market.adapters.stable_baselines3.ppo import CategoricalPolicy, LeanPPO
from agent_market.errors import ParameterError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

CLASSES = {
    "ppo": (LeanPPO.__module__, "LeanPPO", "MlpPolicy"),
    "a2c": ("stable_baselines3", "A2C", "MlpPolicy"),
    "dqn": ("stable_baselines3", "DQN", "MlpPolicy"),
    "sac": ("stable_baselines3", "SAC", "MlpPolicy"),
    "td3": ("stable_baselines3", "TD3", "MlpPolicy"),
    "recurrent_ppo": ("sb3_contrib", "RecurrentPPO", "MlpLstmPolicy"),
    "qr_dqn": ("sb3_contrib", "QRDQN", "MlpPolicy"),
}

POLICY_DEFAULTS: dict[str, dict[str, Any]] = {"recurrent_ppo": {"lstm_hidden_size": 64}, "qr_dqn": {"n_quantiles": 32}}
"""Where the library's own values cost ten times as much."""

FUSED_ADAM = {"eps": 1e-5, "fused": True}
"""The library's Adam for PPO, all of its arithmetic in one call."""


def build_algorithm(options: Options, env: "VecEnv", seed: int) -> "BaseAlgorithm":
    """An untrained algorithm with the first weights of a seed; the process's random generators are seeded, too.

    Raises:
        ParameterError: The library does not take one of the options, or a package that it needs is not there.
    """
    package, name, policy = CLASSES[options.algorithm]
    algorithm = getattr(importlib.import_module(package), name)
    given = {part: getattr(options, part) for part in ROLLOUT_ONLY if getattr(options, part) is not None}
    given |= {"learning_rate": options.learning_rate, "gamma": options.gamma}
    further = dict(options.algorithm_options)
    known = set(inspect.signature(algorithm).parameters)
    if unknown := sorted(set(further) - known):
        raise ParameterError(
            f"algorithm_options: {options.algorithm} does not take {', '.join(unknown)}; see its documentation"
        )
    if twice := sorted(set(further) & set(given)):
        raise ParameterError(f"algorithm_options cannot have {', '.join(twice)}: give them beside algorithm")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device is cuda, but torch finds no GPU: set device to cpu")
    if options.algorithm in ("ppo", "a2c") and options.env.actions == "discrete":
        policy = policy if "features_extractor_class" in options.policy_kwargs else CategoricalPolicy
    try:
        return algorithm(
            policy,
            env,
            seed=seed,
            device=options.device,
            policy_kwargs=_policy_arguments(options),
            tensorboard_log=_log_folder(options),
            **given,
            **further,
        )
    except TypeError as error:
        raise ParameterError(f"policy_kwargs: the policy of {options.algorithm} does not take them: {error}") from error


def _policy_arguments(options: Options) -> dict[str, Any]:
    activation: type[nn.Module] = next(module for module, name in ACTIVATION_OF.items() if name == options.activation)
    arguments = POLICY_DEFAULTS.get(options.algorithm, {}) | options.policy_kwargs
    if options.algorithm == "ppo" and "optimizer_class" not in arguments:
        arguments["optimizer_kwargs"] = FUSED_ADAM | arguments.get("optimizer_kwargs", {})
    if isinstance(optimizer := arguments.get("optimizer_class"), str):
        if not hasattr(torch.optim, optimizer):
            raise ParameterError(f"policy_kwargs.optimizer_class: torch.optim has no {optimizer!r}; one is AdamW")
        arguments["optimizer_class"] = getattr(torch.optim, optimizer)
    return {"net_arch": list(options.net_arch), "activation_fn": activation} | arguments


def _log_folder(options: Options) -> str | None:
    if options.tensorboard is None:
        return None
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError as error:
        raise ParameterError(
            "tensorboard names a folder, but the package tensorboard is not installed: `pip install tensorboard`, or "
            "set it to null"
        ) from error
    return str(options.tensorboard)
