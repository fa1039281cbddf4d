"""Parameters of a policy and of its training; nothing here needs torch or Stable-Baselines3."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from agent_market.adapters import ModelOptions
from agent_market.adapters.stable_baselines3.policy import ACTIVATIONS
from agent_market.trading.env import EnvOptions

Algorithm = Literal["ppo", "a2c", "dqn", "sac", "td3", "recurrent_ppo", "qr_dqn"]

_ROLLOUTS = {"n_envs": 64, "learning_rate": 3e-4, "gamma": 0.9, "gae_lambda": 0.9}
_REPLAY = {"n_envs": 64, "learning_rate": 1e-3, "gamma": 0.9, "batch_size": 256, "total_timesteps": 200_000}

DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": _ROLLOUTS | {"n_steps": 128, "batch_size": 1024, "n_epochs": 10, "total_timesteps": 200_000},
    "a2c": _ROLLOUTS | {"n_steps": 16, "learning_rate": 7e-4, "total_timesteps": 600_000},
    "recurrent_ppo": _ROLLOUTS | {"n_steps": 128, "batch_size": 1024, "n_epochs": 4, "total_timesteps": 100_000},
    "dqn": _REPLAY,
    "qr_dqn": _REPLAY,
    "sac": _REPLAY | {"learning_rate": 3e-4},
    "td3": _REPLAY | {"learning_rate": 3e-4},
}
"""What each algorithm takes, and its value where the parameters say nothing: measured on a planted signal."""

FAST: dict[str, Any] = {
    "n_envs": 256, "n_steps": 64, "batch_size": 4096, "n_epochs": 4, "learning_rate": 1e-3, "total_timesteps": 600_000,
}  # fmt: skip
"""The same of `profile: fast`, which ppo has: three times the steps in less time, for nearly the same result."""

ALGORITHM_OPTIONS: dict[str, dict[str, Any]] = {
    "dqn": {
        "buffer_size": 100_000, "learning_starts": 5_000, "train_freq": 1, "gradient_steps": 1,
        "target_update_interval": 2_000, "exploration_fraction": 0.3, "exploration_final_eps": 0.02,
    },
    "sac": {"buffer_size": 100_000, "learning_starts": 5_000, "train_freq": 1, "gradient_steps": 1},
    "td3": {"buffer_size": 100_000, "learning_starts": 5_000, "train_freq": 1, "gradient_steps": 1},
}  # fmt: skip
"""Further arguments of the library's classes that are not left at the library's defaults."""
ALGORITHM_OPTIONS["qr_dqn"] = ALGORITHM_OPTIONS["dqn"]

CONTINUOUS = ("sac", "td3")
DISCRETE = ("dqn", "qr_dqn")
IMITATORS = ("ppo", "a2c")
ROLLOUT_ONLY = ("n_steps", "batch_size", "n_epochs", "gae_lambda")

SETTLING = 200
"""Candles within which paths from whatever position have nearly always become one."""

RESERVED = {"policy", "env", "seed", "device", "verbose", "policy_kwargs", "tensorboard_log", "_init_setup_model"}
"""Arguments of the library's classes that have a place of their own here."""


class Options(ModelOptions):
    """An algorithm, its network, its training, and the market that it is trained in.

    Options that an algorithm does not have are an error. Predictions are positions, whatever the label is: the
    ensemble's is the median of those of its seeds.
    """

    adapter: Literal["stable_baselines3"] = "stable_baselines3"
    task: Literal["regression"] = Field("regression", description="there is no other: a policy foretells nothing")
    preprocessing: tuple[Literal["impute", "clip", "standardize"], ...] = ("impute", "clip", "standardize")

    algorithm: Algorithm = "ppo"
    profile: Literal["default", "fast"] = Field(
        "default", description="ppo: which measured settings fill in what is not given; fast: larger and fewer batches"
    )
    total_timesteps: int | None = Field(None, ge=1, description="candles that each seed trades while it learns")
    n_envs: int | None = Field(None, ge=1, description="episodes that run side by side")
    n_steps: int | None = Field(None, ge=1, description="candles of each episode between two updates")
    batch_size: int | None = Field(None, ge=1, description="candles per step of the optimiser")
    n_epochs: int | None = Field(None, ge=1, description="passes over what was gathered, per update")
    learning_rate: float | None = Field(None, gt=0)
    gamma: float | None = Field(
        None, ge=0, lt=1, description="weight of the next candle's reward; about 1 - 1 / (candles that a signal lasts)"
    )
    gae_lambda: float | None = Field(None, ge=0, le=1, description="ppo, a2c: how far advantages look ahead")
    net_arch: tuple[int, ...] = Field((64, 64), description="widths of the hidden layers")
    activation: str = Field("tanh", description=f"between them: {', '.join(ACTIVATIONS)}")
    policy_kwargs: dict[str, Any] = Field({}, description="further arguments of the library's policy class")
    algorithm_options: dict[str, Any] = Field({}, description="further arguments of the algorithm's class")
    seeds: int = Field(3, ge=1, description="policies trained from seed, seed + 1, …; the median of them is traded")

    imitate: int = Field(
        0,
        ge=0,
        description="passes over the training rows in which a policy first learns what would have been best there in "
        "hindsight, before it trades itself, such as 5; ppo and a2c that choose among targets; 0 = none",
    )
    evaluate_every: int = Field(
        1, ge=0, description="updates between two evaluations on the validation rows; 0 = one, at the end"
    )
    patience: int = Field(
        5, ge=0, description="evaluations without a better one before a fit ends with the best; 0 = never, and the last"
    )
    checkpoints: int = Field(10, ge=1, description="how often a seed's state is stored while it learns")
    tensorboard: Path | None = Field(None, description="folder for TensorBoard's logs, which needs its package")
    device: Literal["cpu", "cuda"] = Field("cpu", description="small networks are fastest on the processor")
    threads: int = Field(1, ge=1, description="processor threads of one fit; two are slower than one")
    env: EnvOptions = EnvOptions()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, block: Any) -> Any:
        if not isinstance(block, dict):
            return block
        filled, algorithm = dict(block), str(block.get("algorithm", "ppo"))
        values = DEFAULTS.get(algorithm, {})
        if algorithm == "ppo" and block.get("profile") == "fast":
            values = values | FAST
        for name, value in values.items():
            if filled.get(name) is None:
                filled[name] = value
        env = block.get("env")
        if algorithm in CONTINUOUS and (env is None or (isinstance(env, dict) and env.get("actions") is None)):
            filled["env"] = (env or {}) | {"actions": "continuous"}
        filled["algorithm_options"] = ALGORITHM_OPTIONS.get(algorithm, {}) | dict(block.get("algorithm_options") or {})
        return filled

    @model_validator(mode="after")
    def _algorithm_has_them(self) -> Self:
        if self.profile == "fast" and self.algorithm != "ppo":
            raise ValueError(f"profile fast is for ppo; {self.algorithm} has default")
        takes = DEFAULTS[self.algorithm]
        if unknown := [name for name in ROLLOUT_ONLY if getattr(self, name) is not None and name not in takes]:
            raise ValueError(f"{', '.join(unknown)}: {self.algorithm} takes {', '.join(takes)}")
        if reserved := sorted(RESERVED & set(self.algorithm_options)):
            raise ValueError(f"algorithm_options cannot have {', '.join(reserved)}: these have a place of their own")
        if named := sorted(({"net_arch", "activation_fn"}) & set(self.policy_kwargs)):
            raise ValueError(f"policy_kwargs cannot have {', '.join(named)}: use net_arch and activation")
        if self.activation not in ACTIVATIONS:
            close = get_close_matches(self.activation, ACTIVATIONS, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ValueError(f"unknown activation {self.activation!r}.{hint} Known: {', '.join(ACTIVATIONS)}")
        return self

    @model_validator(mode="after")
    def _env_fits(self) -> Self:
        actions = self.env.actions
        if (self.algorithm in CONTINUOUS and actions == "discrete") or (
            self.algorithm in DISCRETE and actions == "continuous"
        ):
            other = "continuous" if actions == "discrete" else "discrete"
            raise ValueError(f"env.actions is {actions}, and {self.algorithm} has {other} ones: set it to {other}")
        if seen := [name for name in ("observe_profit", "observe_time") if getattr(self.env, name)]:
            raise ValueError(
                f"env.{seen[0]} is true, but what a policy does must follow from the candles and its position alone, "
                "or a bot could not do the same: set it to false (an environment of your own may have it)"
            )
        return self

    @model_validator(mode="after")
    def _can_imitate(self) -> Self:
        if self.imitate and (self.algorithm not in IMITATORS or self.env.actions != "discrete"):
            raise ValueError(
                f"imitate is {self.imitate}, and {self.algorithm} with {self.env.actions} actions has no probabilities "
                f"of actions to teach: set it to 0, or choose {' or '.join(IMITATORS)} with discrete actions"
            )
        return self

    @model_validator(mode="after")
    def _rollout_is_whole(self) -> Self:
        if self.n_epochs is not None and self.batch_size > self.n_envs * self.n_steps:
            raise ValueError(
                f"batch_size ({self.batch_size}) is more than the {self.n_envs * self.n_steps} candles of an update "
                f"(n_envs {self.n_envs} x n_steps {self.n_steps}): lower it, or raise one of those"
            )
        if self.patience and not self.evaluate_every:
            raise ValueError(
                "patience needs evaluations to be patient about: set evaluate_every, such as 1, or patience to 0"
            )
        return self

    @property
    def lookback(self) -> int:
        """Candles that a bot keeps so that it holds the position that a long history would have led to."""
        return self.env.window + SETTLING

    @property
    def update_steps(self) -> int:
        """Candles that are traded between two updates, or reports, of one seed."""
        if self.n_steps is not None:
            return self.n_envs * self.n_steps
        return self.n_envs * max(1, -(-self.total_timesteps // (50 * self.n_envs)))

    @property
    def n_updates(self) -> int:
        """How many of them there are."""
        return -(-self.total_timesteps // self.update_steps)
