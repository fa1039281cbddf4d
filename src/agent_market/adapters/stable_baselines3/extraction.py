"""From a policy of Stable-Baselines3 to its arrays and the form in which numpy runs them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from agent_market.adapters.stable_baselines3.policy import Form, Layer, Policy
from agent_market.adapters.stable_baselines3.ppo import Tanh
from agent_market.errors import ModelError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

ACTIVATION_OF = {
    nn.Identity: "identity",
    Tanh: "tanh",
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
}
"""The module of each activation that numpy knows, in its default form."""

NOTHING = (nn.Flatten, nn.Dropout)


def extract_policy(model: "BaseAlgorithm") -> Policy:
    """The policy's deterministic action as numpy, and all its weights, those of critics too.

    Raises:
        ModelError: There is a module in it that numpy cannot run.
    """
    policy = model.policy
    discrete = hasattr(model.action_space, "n")
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    lstm: tuple[tuple[str, str, str, str], ...] = ()
    n_quantiles, last = 1, None
    if hasattr(policy, "action_net"):  # ppo, a2c, recurrent_ppo
        parts = [policy.mlp_extractor.policy_net, policy.action_net]
        if hasattr(policy, "lstm_actor"):
            lstm = _recurrent(policy.lstm_actor, names)
        else:
            parts.insert(0, policy.pi_features_extractor)
    elif hasattr(policy, "quantile_net"):  # qr_dqn
        parts = [policy.quantile_net.features_extractor, policy.quantile_net.quantile_net]
        n_quantiles = policy.quantile_net.n_quantiles
    elif hasattr(policy, "q_net"):  # dqn
        parts = [policy.q_net.features_extractor, policy.q_net.q_net]
    elif hasattr(policy.actor, "latent_pi"):  # sac
        parts, last = [policy.actor.features_extractor, policy.actor.latent_pi, policy.actor.mu], "tanh"
    else:  # td3
        parts = [policy.actor.features_extractor, policy.actor.mu]
    layers = _layers(parts, names)
    if last is not None:
        layers[-1] = Layer(layers[-1].weight, layers[-1].bias, last)
    tensors = {name: value.detach().cpu().numpy().copy() for name, value in policy.state_dict().items()}
    return Policy(Form(tuple(layers), lstm, n_quantiles, discrete), tensors)


def _layers(parts: Iterable[nn.Module], names: dict[int, str]) -> list[Layer]:
    layers: list[Layer] = []
    for module in (leaf for part in parts for leaf in part.modules() if not list(leaf.children())):
        if isinstance(module, nn.Linear):
            layers.append(Layer(names[id(module.weight)], names[id(module.bias)]))
        elif type(module) in ACTIVATION_OF and layers:
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, ACTIVATION_OF[type(module)])
        elif not isinstance(module, (*NOTHING, nn.Identity, nn.Sequential)):
            raise ModelError(
                f"a policy with a {type(module).__name__} in it cannot be stored for trading, which needs numpy alone; "
                f"it may have linear layers, an LSTM and {', '.join(ACTIVATION_OF.values())}. Change policy_kwargs"
            )
    return layers


def _recurrent(lstm: nn.LSTM, names: dict[int, str]) -> tuple[tuple[str, str, str, str], ...]:
    arrays = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    if lstm.bidirectional or lstm.proj_size or not lstm.bias:
        raise ModelError("lstm_kwargs: an LSTM for trading has biases, one direction and no projection; leave them out")
    return tuple(
        tuple(names[id(getattr(lstm, f"{array}_l{number}"))] for array in arrays) for number in range(lstm.num_layers)
    )
