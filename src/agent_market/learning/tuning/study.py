"""Run the trials of a study: the same ones, whether it was interrupted or not."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from agent_market.errors import ModelError
from agent_market.learning.tuning.journal import OWNER, claiming, is_dead, open_storage, this_process
from agent_market.learning.tuning.options import TuningOptions, grid_of

log = logging.getLogger(__name__)

SLOT, SCORES, OPTIONS = "slot", "scores", "options"
PAUSE = 0.5
"""Seconds between two looks at trials that other processes run."""

UNCLAIMED = timedelta(seconds=10)
"""After so long a trial without an owner was begun by a process that died at once."""

Suggest = Callable[[Any], dict[str, Any]]
Evaluate = Callable[[dict[str, Any], Iterator[dict[str, Any]]], Iterator[float]]
"""Scores of options, one inner fold after the other; given, too, what later trials draw, as far as that is known."""

FREE_DRAWS = 10
"""Trials that TPE draws without regard to others: its `n_startup_trials`."""


@dataclass(frozen=True)
class Tried:
    """A finished trial: its number among those that count, what it scored, fold by fold, and what was drawn."""

    number: int
    value: float | None
    pruned: bool
    scores: tuple[float, ...]
    drawn: dict[str, Any]
    options: dict[str, Any]


class SlotSampler(optuna.samplers.BaseSampler):
    """Draws that follow from the seed, the trial's slot and the finished trials, and from no state of a process.

    A slot is a place in the study. A trial whose process died gives its slot back, and the next one draws for it what
    it had drawn. Slot 0 is the configuration as it stands, where the space holds it.
    """

    def __init__(self, options: TuningOptions, configured: dict[str, Any], grid: list[dict[str, Any]] | None) -> None:
        self._options = options
        self._configured = configured
        self._grid = grid
        self.begin(0)

    def begin(self, slot: int) -> None:
        """Draw for this slot from now on."""
        self._slot = slot
        seed = int(np.random.SeedSequence([self._options.seed, slot]).generate_state(1)[0])
        kind = optuna.samplers.TPESampler if self._options.sampler == "tpe" else optuna.samplers.RandomSampler
        self._inner = kind(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: each option is drawn by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of one option."""
        if self._grid is not None:
            return self._grid[self._slot][param_name]
        if self._slot == 0 and _holds(param_distribution, self._configured.get(param_name)):
            return self._configured[param_name]
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def run_study(
    name: str,
    suggest: Suggest,
    evaluate: Evaluate,
    options: TuningOptions,
    configured: dict[str, Any],
    *,
    maximize: bool,
    report: Callable[[Tried], None] = lambda tried: None,
) -> list[Tried]:
    """All trials of the study, in order; those that an earlier or another process ran are taken from the storage.

    `suggest` draws options with a trial, `evaluate` scores them. `configured` are the options as they stand. One
    process tries the same configurations whether or not it was killed in between; several share the work, and then
    what is drawn depends on what each had seen by then (of random and grid nothing does).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = grid_of(suggest, options.grid_points, seed=options.seed) if options.sampler == "grid" else None
    trials = options.trials if grid is None else min(options.trials, len(grid))
    sampler = SlotSampler(options, configured, grid)
    study = optuna.create_study(
        study_name=name,
        storage=open_storage(options.storage, name),
        direction="maximize" if maximize else "minimize",
        sampler=sampler,
        pruner=_pruner(options),
        load_if_exists=True,
    )
    while True:
        with claiming(options.storage, name) as alone:
            _give_back(study, alone=alone)
            trial = _claim(study, trials)
        if trial is not None:
            later = _later_slots(study, trial, options, trials)
            coming = _coming(SlotSampler(options, configured, grid), suggest, later)
            _run_one(study, trial, sampler, suggest, evaluate, coming)
            report(_tried(study.get_trials(deepcopy=False)[trial.number]))
        elif study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            time.sleep(PAUSE)
        else:
            break
    return [tried for tried in map(_tried, _counting(study)) if tried.number < trials]


def trials_table(tried: list[Tried]) -> pd.DataFrame:
    """One row per trial: trial, value, pruned, score_<inner fold>, and what was drawn, a column each."""
    rows = [
        {"trial": one.number, "value": one.value, "pruned": one.pruned}
        | {f"score_{fold}": score for fold, score in enumerate(one.scores)}
        | one.drawn
        for one in tried
    ]
    return pd.DataFrame(rows).astype({"value": float})


def importance_table(tried: list[Tried], *, maximize: bool) -> pd.DataFrame:
    """Share of each drawn option in how well trials do (PED-ANOVA, Watanabe et al. 2023): option, importance.

    Of whole trials only; empty where fewer than four were whole, or all did equally well.
    """
    whole = [one for one in tried if not one.pruned]
    table = pd.DataFrame({"option": pd.Series(dtype="str"), "importance": pd.Series(dtype=float)})
    if len(whole) < 4 or len({one.value for one in whole}) < 2:
        return table
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(params=one.drawn, distributions=_distributions(whole), value=one.value)
            for one in whole
        ]
    )
    found = optuna.importance.get_param_importances(study)
    return pd.DataFrame({"option": list(found), "importance": list(found.values())}).astype(table.dtypes)


def _claim(study: optuna.Study, trials: int) -> optuna.Trial | None:
    """A trial with a slot of its own; None where all are taken."""
    if len(_counting(study)) >= trials:
        return None
    trial = study.ask()
    trial.set_user_attr(OWNER, this_process())
    slot = _free_slot(study, trial.number)
    if slot >= trials:  # in a database another process may have been faster
        study.tell(trial, state=TrialState.FAIL)
        return None
    trial.set_user_attr(SLOT, slot)
    return trial


def _run_one(
    study: optuna.Study,
    trial: optuna.Trial,
    sampler: SlotSampler,
    suggest: Suggest,
    evaluate: Evaluate,
    coming: Iterator[dict[str, Any]],
) -> None:
    slot = trial.user_attrs[SLOT]
    sampler.begin(slot)
    try:
        drawn = suggest(trial)
        trial.set_user_attr(OPTIONS, drawn)
        scores: list[float] = []
        for step, score in enumerate(evaluate(drawn, coming)):
            if not np.isfinite(score):
                raise ModelError(f"{study.study_name}: trial {slot} with {drawn} scored {score}, which is no number")
            scores.append(score)
            trial.set_user_attr(SCORES, scores)
            trial.report(float(np.mean(scores)), step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(np.mean(scores)))
    except Exception:
        study.tell(trial, state=TrialState.FAIL)
        raise


def _later_slots(study: optuna.Study, trial: optuna.Trial, options: TuningOptions, trials: int) -> list[int]:
    """Slots after that of the trial that nobody has taken, and whose draws do not hang on what others score."""
    taken = {other.user_attrs.get(SLOT) for other in _counting(study)}
    known = min(trials, FREE_DRAWS) if options.sampler == "tpe" else trials
    return [slot for slot in range(trial.user_attrs[SLOT] + 1, known) if slot not in taken]


def _coming(sampler: SlotSampler, suggest: Suggest, slots: list[int]) -> Iterator[dict[str, Any]]:
    """What trials in these slots will draw, found out beside the study."""
    beside = optuna.create_study(sampler=sampler)
    for slot in slots:
        sampler.begin(slot)
        yield suggest(beside.ask())


def _give_back(study: optuna.Study, *, alone: bool) -> None:
    """Let the slots of trials be tried again whose process died; `alone`: no living process is about to claim one."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        unclaimed = owner is None and (alone or datetime.now() - trial.datetime_start > UNCLAIMED)
        if unclaimed or (owner is not None and is_dead(owner)):
            log.info("    %s: a trial whose process died is run again", study.study_name)
            study.tell(trial.number, state=TrialState.FAIL)


def _counting(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have a slot, or are about to get one, by slot."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]
    return sorted(trials, key=lambda trial: trial.user_attrs.get(SLOT, np.inf))


def _free_slot(study: optuna.Study, number: int) -> int:
    """The lowest slot that no other trial has; of those still without one, earlier trials come first."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]
    taken = {trial.user_attrs[SLOT] for trial in trials if SLOT in trial.user_attrs}
    waiting = sum(SLOT not in trial.user_attrs and trial.number < number for trial in trials)
    free = (slot for slot in range(len(trials) + 1) if slot not in taken)
    return next(slot for place, slot in enumerate(free) if place == waiting)


def _tried(trial: FrozenTrial) -> Tried:
    pruned = trial.state == TrialState.PRUNED
    scores = tuple(trial.user_attrs.get(SCORES, ()))
    value = float(np.mean(scores)) if scores else None
    return Tried(trial.user_attrs[SLOT], value, pruned, scores, trial.params, trial.user_attrs[OPTIONS])


def _pruner(options: TuningOptions) -> optuna.pruners.BasePruner:
    if options.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=options.warm_up)


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value can be drawn from a distribution."""
    if value is None and not isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return False
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def _distributions(tried: list[Tried]) -> dict[str, BaseDistribution]:
    """Distributions that hold what was drawn."""
    found: dict[str, BaseDistribution] = {}
    for name in tried[0].drawn:
        values = [one.drawn[name] for one in tried]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        low, high = (min(values), max(values)) if numbers else (0, 0)
        if not numbers or low == high:
            found[name] = optuna.distributions.CategoricalDistribution(list(dict.fromkeys(values)))
        elif all(isinstance(value, int) for value in values):
            found[name] = optuna.distributions.IntDistribution(low, high)
        else:
            found[name] = optuna.distributions.FloatDistribution(low, high)
    return found
