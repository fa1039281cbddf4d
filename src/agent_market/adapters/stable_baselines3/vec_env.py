"""Many episodes as one Stable-Baselines3 environment: a shell around `TradingCore`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agent_market.errors import ParameterError
from agent_market.trading.env import TradingCore
from agent_market.trading.env.single import spaces_of


class VecTradingEnv(VecEnv):
    """The episodes of `core`, stepped in one call; those that end begin anew at once, somewhere else.

    Where an episode ends, its `info` has `terminal_observation`, `TimeLimit.truncated`, `episode` (r: sum of rewards,
    l: steps, t: 0.0, as a Monitor gives them), and `equity`, `trades` and `turnover` of the episode; else it is empty.
    The first episodes after `seed`, or of the first reset, have lengths of their own, so that they do not end together.
    """

    def __init__(self, core: TradingCore) -> None:
        self.core = core
        self.render_mode = None
        self._actions = np.zeros(0)
        self._returns = np.zeros(core.n_envs)
        self._nothing: list[dict[str, Any]] = [{} for _ in range(core.n_envs)]
        super().__init__(core.n_envs, *spaces_of(core))

    def reset(self) -> np.ndarray:
        """Begin new episodes everywhere: observations (n_envs, width)."""
        if self._seeds[0] is not None:
            self.core.seed(self._seeds[0])
        self.core.reset(stagger=True)
        self._returns[:] = 0.0
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self.core.observe()

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations, rewards (float32), whether the episode ended, and infos."""
        core = self.core
        steps = core.step(self._actions)
        self._returns += steps.rewards
        done = steps.terminated | steps.truncated
        observations = core.observe()
        if any(self._nothing):  # someone wrote into what was handed out before
            self._nothing = [{} for _ in range(self.num_envs)]
        infos = self._nothing.copy()
        ended = np.flatnonzero(done)
        if len(ended):
            for i, last in zip(ended, observations[ended], strict=True):
                infos[i] = self._ending(i, last, bool(steps.truncated[i]))
            self._returns[ended] = 0.0
            core.reset(ended)
            observations[ended] = core.observe(ended)
        return observations, steps.rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: int | Sequence[int] | None = None) -> list[Any]:
        """An attribute of this environment or its core, once for each of `indices`."""
        owner = self if hasattr(self, attr_name) else self.core
        return [getattr(owner, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Sequence[int] | None = None) -> None:
        """Set an attribute of this environment; its episodes share all of them."""
        if list(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ParameterError(f"{attr_name} cannot be set for some episodes only: they are one object")
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: int | Sequence[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Episodes have no methods of their own: raises ParameterError."""
        raise ParameterError(f"episodes have no method {method_name}: call it on the environment or its core")

    def env_is_wrapped(self, wrapper_class: type, indices: int | Sequence[int] | None = None) -> list[bool]:
        """Episodes are never wrapped."""
        return [False for _ in self._get_indices(indices)]

    def _ending(self, i: int, last: np.ndarray, is_truncated: bool) -> dict[str, Any]:
        account = self.core.accounts[i]
        return {
            "terminal_observation": last,
            "TimeLimit.truncated": is_truncated,
            "episode": {"r": float(self._returns[i]), "l": int(account["steps"]), "t": 0.0},
            "equity": float(account["equity"]),
            "trades": int(account["trades"]),
            "turnover": float(account["turnover"]),
        }
