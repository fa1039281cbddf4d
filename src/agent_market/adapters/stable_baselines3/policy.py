"""A trained policy as arrays and a description of its layers: what trades needs numpy and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent_market.errors import ModelError

State = list[tuple[np.ndarray, np.ndarray]]
"""Hidden and cell state of each LSTM layer, (n, width) each."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "leaky_relu": lambda x: np.where(x > 0.0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
}
"""What may stand between two layers, by the name that the parameters and the stored description use."""


@dataclass(frozen=True)
class Layer:
    """`activation` of `weight` (n_out, n_in) times the input, plus `bias` (n_out,); the arrays by their names."""

    weight: str
    bias: str
    activation: str = "identity"


@dataclass(frozen=True)
class Form:
    """How a policy comes from an observation to an action.

    lstm: for each recurrent layer the names of its four arrays, in torch's order and layout; none: no memory.
    layers: from the observation, or what the LSTM gives, to one number per action.
    n_quantiles: how many numbers there are per action, whose mean counts; 1 = the number itself.
    discrete: whether the largest number names the action; else the one number is the action, held within [-1, 1].
    """

    layers: tuple[Layer, ...]
    lstm: tuple[tuple[str, str, str, str], ...] = ()
    n_quantiles: int = 1
    discrete: bool = True

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "Form":
        """The form that `dataclasses.asdict` took apart."""
        layers = tuple(Layer(**layer) for layer in facts["layers"])
        return cls(layers, tuple(map(tuple, facts["lstm"])), facts["n_quantiles"], facts["discrete"])


class Policy:
    """Acts deterministically, as the library's own `predict` does.

    Computed in double precision, so that what an observation gets does not depend on how many stand beside it.
    """

    def __init__(self, form: Form, tensors: dict[str, np.ndarray]) -> None:
        self.form, self.tensors = form, tensors
        named = {name for layer in form.layers for name in (layer.weight, layer.bias)}
        named |= {name for names in form.lstm for name in names}
        if missing := sorted(named - set(tensors)):
            raise ModelError(f"the policy lacks its weights {', '.join(missing)}; train the model again")
        self._arrays = {name: np.ascontiguousarray(tensors[name].T, dtype=np.float64) for name in named}

    @property
    def is_recurrent(self) -> bool:
        """Whether what it does depends on earlier observations, too."""
        return bool(self.form.lstm)

    @property
    def n_inputs(self) -> int:
        """Numbers in an observation."""
        first = self.form.lstm[0][0] if self.form.lstm else self.form.layers[0].weight
        return self._arrays[first].shape[0]

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Of a policy without memory: the action for each observation (n, n_inputs), as `decide` has it."""
        return self.decide(self._run(self.form.layers, np.asarray(observations, np.float64)))

    def begin(self, n: int) -> State:
        """The memory of `n` policies that have seen nothing."""
        widths = [self._arrays[names[1]].shape[0] for names in self.form.lstm]
        return [(np.zeros((n, width)), np.zeros((n, width))) for width in widths]

    def step(self, observations: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """The action for each observation (n, n_inputs), and the memory afterwards."""
        x, after = np.asarray(observations, np.float64), []
        for names, (hidden, cell) in zip(self.form.lstm, state, strict=True):
            w_in, w_hidden, b_in, b_hidden = (self._arrays[name] for name in names)
            gates = x @ w_in + hidden @ w_hidden + (b_in + b_hidden)  # (n, 4 width): input, forget, cell, output
            enter, forget, new, leave = np.split(gates, 4, axis=1)
            cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(new)
            x = _sigmoid(leave) * np.tanh(cell)
            after.append((x, cell))
        return self.decide(self._run(self.form.layers, x)), after

    def over_levels(self, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The actions (n, k) for observations that are a row of `values` (n, d) and then one of k numbers.

        What the first layer makes of the row is computed once for all of them.
        """
        first, *rest = self.form.layers
        weight = self._arrays[first.weight]
        shared = np.asarray(values, np.float64) @ weight[:-1] + self._arrays[first.bias]
        activate = ACTIVATIONS[first.activation]
        outputs = [self._run(tuple(rest), activate(shared + level * weight[-1])) for level in levels]
        return np.stack([self.decide(output) for output in outputs], axis=1)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """The number of the best action (n,), or the action itself, of the last layer's numbers."""
        if not self.form.discrete:
            return np.clip(outputs[:, 0], -1.0, 1.0)
        if self.form.n_quantiles > 1:
            outputs = outputs.reshape(len(outputs), self.form.n_quantiles, -1).mean(axis=1)
        return outputs.argmax(axis=1)

    def _run(self, layers: tuple[Layer, ...], x: np.ndarray) -> np.ndarray:
        for layer in layers:
            x = ACTIVATIONS[layer.activation](x @ self._arrays[layer.weight] + self._arrays[layer.bias])
        return x
