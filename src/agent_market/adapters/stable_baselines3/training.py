"""Policies of several seeds, trained one after another on the same candles."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback

from agent_market.adapters import Progress
from agent_market.adapters.stable_baselines3.algorithms import build_algorithm
from agent_market.adapters.stable_baselines3.ensemble import Ensemble, Member
from agent_market.adapters.stable_baselines3.extraction import extract_policy
from agent_market.adapters.stable_baselines3.following import follow
from agent_market.adapters.stable_baselines3.imitation import imitate
from agent_market.adapters.stable_baselines3.options import Options
from agent_market.adapters.stable_baselines3.policy import Form, Policy
from agent_market.adapters.stable_baselines3.state import capture, restore
from agent_market.adapters.stable_baselines3.vec_env import VecTradingEnv
from agent_market.adapters.torch.checkpoint import Checkpoint, Tensors, fit_fingerprint, named, within
from agent_market.errors import ModelError
from agent_market.trading.env import EpisodeMarket, TradingCore, build_market
from agent_market.trading.env.replay import replay_positions

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from agent_market.learning.samples import Samples

# The library draws from the generators of the process, torch's and numpy's: one training at a time, or none repeats.
_generators = threading.RLock()


@dataclass(frozen=True)
class Task:
    """What all seeds of a fit share: the options, and the markets of the training and the validation rows."""

    options: Options
    train: EpisodeMarket
    valid: "Samples | None"
    valid_market: EpisodeMarket | None


def fit_ensemble(
    train: "Samples",
    valid: "Samples | None",
    options: Options,
    *,
    report: Callable[[Progress], None],
    init: Ensemble | None = None,
    checkpoint: Path | None = None,
) -> Ensemble:
    """`options.seeds` policies trained on `train`; see `adapters.stable_baselines3.fit`."""
    task = Task(options, build_market(train), valid, None if valid is None else build_market(valid))
    first = {} if init is None else _first_weights(init, options, train.tensor.values.shape[1])
    store = Checkpoint(checkpoint, _fingerprint(train, valid, options, first) if checkpoint else {})
    tensors, facts = store.read() or ({}, {"members": [], "current": None})
    members = [
        Member(Policy(Form.from_facts(told["form"]), _arrays(within(tensors, f"members.{number}"))), told["facts"])
        for number, told in enumerate(facts["members"])
    ]
    with _alone(options.threads):
        for number in range(len(members), options.seeds):
            course = _Course(task, number, report, lambda part: _store(store, members, part))
            resumed = facts["current"] if number == len(facts["members"]) else None
            members.append(course.run(within(first, f"members.{number}"), within(tensors, "current"), resumed))
    _store(store, members, None)
    return Ensemble(options, train.tensor.values.shape[1], tuple(members))


class _Env(VecTradingEnv):
    """Gives observations in torch's own memory: products of matrices round by where their factors lie."""

    def reset(self) -> np.ndarray:
        return _laid_out(super().reset())

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, done, infos = super().step_wait()
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = _laid_out(infos[i]["terminal_observation"])
        return _laid_out(observations), rewards, done, infos


def _laid_out(array: np.ndarray) -> np.ndarray:
    return torch.from_numpy(array).clone().numpy()


class _Course(BaseCallback):
    """The training of one seed: between two updates it evaluates, reports, stores, and may end."""

    def __init__(
        self,
        task: Task,
        number: int,
        report: Callable[[Progress], None],
        store: Callable[["tuple[Tensors, dict[str, Any]] | None"], None],
    ) -> None:
        super().__init__()
        self.task, self.number, self.report, self.store = task, number, report, store
        self.history: list[dict[str, Any]] = []
        self.updates, self.best, self.best_update, self.waited = 0, -np.inf, 0, 0
        self.best_weights: Tensors = {}
        self.clock = (time.perf_counter(), 0)

    def run(self, first: Tensors, tensors: Tensors, resumed: dict[str, Any] | None) -> Member:
        """The trained policy; `first` are weights to go on from, `resumed` what an interrupted training left."""
        options, seed = self.task.options, self.task.options.seed + self.number
        self.core = TradingCore(self.task.train, options.env, options.n_envs, seed=seed)
        model = build_algorithm(options, _Env(self.core), seed)
        model._last_obs = model.env.reset()
        model._last_episode_starts = np.ones(options.n_envs, dtype=bool)
        model.num_timesteps = 0
        if first:
            model.policy.load_state_dict(first)
        elif options.imitate and resumed is None:
            imitate(model, self.task.train, options, seed)
        if resumed is not None:
            self._resume(model, tensors, resumed)
        left = options.total_timesteps - model.num_timesteps
        if left > 0 and not self._has_ended():
            model.learn(left, callback=self, reset_num_timesteps=False, tb_log_name=self._log_name(seed))
            model.logger.close()
        if self.best_weights:
            model.policy.load_state_dict(self.best_weights)
        facts = {"seed": seed, "best_update": self.best_update or self.updates, "history": self.history}
        return Member(extract_policy(model), facts)

    def _log_name(self, seed: int) -> str:
        """What TensorBoard calls this training; folds differ in where their rows end."""
        market = self.task.train
        return f"seed_{seed}_until_{market.date[market.stretches[:, 1] - 1].max():%Y-%m-%d_%H-%M}"

    def _on_step(self) -> bool:
        return not self._has_ended()

    def _on_rollout_start(self) -> None:
        done = self.num_timesteps // self.task.options.update_steps
        if done > self.updates and not self._has_ended():
            self._finish(done, last=False)

    def _on_training_end(self) -> None:
        if not self._has_ended():
            self._finish(self.task.options.n_updates, last=True)

    def _has_ended(self) -> bool:
        """Whether validation has not become better for `patience` evaluations."""
        patience = self.task.options.patience
        return bool(patience) and self.waited >= patience

    def _finish(self, done: int, *, last: bool) -> None:
        options = self.task.options
        before, self.updates = self.updates, done
        every = options.evaluate_every
        if last or (every and done // every > before // every):
            self._evaluate(done)
        if last or done // self._store_every > before // self._store_every:
            self.store(self._state())
        gained = self.history[-1]["valid_return"] if self.history else None
        started, steps = self.clock
        rate = (self.num_timesteps - steps) / max(time.perf_counter() - started, 1e-9)
        self.clock = (time.perf_counter(), self.num_timesteps)
        total = options.n_updates
        self.report(Progress(self.number * total + done, options.seeds * total, gain=gained, rate=rate))

    @property
    def _store_every(self) -> int:
        return max(1, -(-self.task.options.n_updates // self.task.options.checkpoints))

    def _evaluate(self, done: int) -> None:
        gained = _validation_return(extract_policy(self.model), self.task)
        self.history.append({"update": done, "timesteps": self.num_timesteps, "valid_return": gained})
        if gained is None:
            return
        for log in self.logger.output_formats:
            log.write({"valid/log_return": gained}, {"valid/log_return": ()}, self.num_timesteps)
        if not self.task.options.patience:
            return
        self.waited += 1
        if gained > self.best:
            self.best, self.best_update, self.waited = gained, done, 0
            self.best_weights = {name: value.clone() for name, value in self.model.policy.state_dict().items()}

    def _state(self) -> tuple[Tensors, dict[str, Any]]:
        tensors, facts = capture(self.model)
        tensors |= named(self.best_weights, "best")
        tensors["core.accounts"] = torch.from_numpy(self.core.accounts.view(np.uint8).copy())
        tensors["core.holdings"] = torch.from_numpy(self.core.holdings.view(np.uint8).copy())
        facts["core"] = self.core.rng.bit_generator.state
        facts["course"] = {name: getattr(self, name) for name in ("history", "updates", "best_update", "waited")} | {
            "best": None if self.best == -np.inf else self.best
        }
        return tensors, facts

    def _resume(self, model: "BaseAlgorithm", tensors: Tensors, facts: dict[str, Any]) -> None:
        restore(model, tensors, facts)
        self.best_weights = within(tensors, "best")
        for name in ("accounts", "holdings"):
            array = getattr(self.core, name)
            array[...] = tensors[f"core.{name}"].numpy().view(array.dtype).reshape(array.shape)
        self.core.rng.bit_generator.state = facts["core"]
        for name, value in facts["course"].items():
            setattr(self, name, -np.inf if value is None else value)
        self.clock = (time.perf_counter(), model.num_timesteps)


def _validation_return(policy: Policy, task: Task) -> float | None:
    """Log return net of costs over the validation rows, mean of the pairs; None where there are none."""
    if task.valid is None:
        return None
    tensor, rows, env = task.valid.tensor, task.valid.rows, task.options.env
    positions = np.zeros(len(tensor.values))
    positions[rows] = follow(policy, tensor.values, tensor.segment_start, rows, env)
    path = replay_positions(task.valid_market, positions, env)
    return path.total / len(np.unique(tensor.pair.codes[rows]))


def _first_weights(init: Ensemble, options: Options, n_features: int) -> Tensors:
    """Weights of the earlier model's policies, to go on from."""
    names = ("algorithm", "net_arch", "activation", "policy_kwargs", "seeds")
    changed = [
        f"{name} was {getattr(init.options, name)!r} and is now {getattr(options, name)!r}"
        for name in names
        if getattr(init.options, name) != getattr(options, name)
    ]
    for name in ("actions", "levels", "window"):
        was, now = getattr(init.options.env, name), getattr(options.env, name)
        changed += [f"env.{name} was {was!r} and is now {now!r}"] if was != now else []
    if init.n_features != n_features:
        changed.append(f"there were {init.n_features} features and are now {n_features}")
    if changed:
        raise ModelError(f"cannot go on from the model of the fold before: {'; '.join(changed)}. Set warm_start: false")
    weights: Tensors = {}
    for number, member in enumerate(init.members):
        arrays = {name: torch.from_numpy(array.copy()) for name, array in member.policy.tensors.items()}
        weights |= named(arrays, f"members.{number}")
    return weights


def _fingerprint(train: "Samples", valid: "Samples | None", options: Options, first: Tensors) -> dict[str, str]:
    found = fit_fingerprint(train, valid, options, first)
    found["stable_baselines3"] = stable_baselines3.__version__
    return found


def _store(store: Checkpoint, members: list[Member], current: tuple[Tensors, dict[str, Any]] | None) -> None:
    tensors = {} if current is None else named(current[0], "current")
    for number, member in enumerate(members):
        tensors |= named({name: torch.from_numpy(a) for name, a in member.policy.tensors.items()}, f"members.{number}")
    told = [{"form": asdict(member.policy.form), "facts": member.facts} for member in members]
    store.write(tensors, {"members": told, "current": None if current is None else current[1]})


def _arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@contextlib.contextmanager
def _alone(threads: int) -> Iterator[None]:
    """Keep other trainings waiting, and leave the process's generators and its number of threads as they were."""
    with _generators, torch.random.fork_rng([]):
        numpy_state, n_threads = np.random.get_state(), torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)
            np.random.set_state(numpy_state)
