"""Choose a model's options on inner folds of the first fold's training window, and on nothing after it."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import joblib
import pandas as pd
from pydantic import ValidationError

from agent_market import parallel
from agent_market.adapters import ModelOptions, get_adapter, parse_model_options
from agent_market.errors import ParameterError
from agent_market.learning.fitting import silent
from agent_market.learning.folds import inner_folds
from agent_market.learning.labels import label_end_column
from agent_market.learning.trained import data_fingerprint
from agent_market.learning.tuning.options import TuningOptions, draw
from agent_market.learning.walk_forward import (
    Task,
    TrainingOptions,
    fit_and_predict,
    predicted_kind,
    prepare_task,
    with_options,
)
from agent_market.source import code_fingerprint

Score = Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame | None], float]
"""How good predictions of an inner test window are, from (predictions, labels, candles), which end with the window."""


@dataclass(frozen=True)
class Tuned:
    """What a study found: the options it chose, how many configurations it tried, and tables of them."""

    options: ModelOptions
    facts: dict[str, Any]
    trials: pd.DataFrame
    importance: pd.DataFrame


def tune(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    options: ModelOptions,
    training: TrainingOptions,
    tuning: TuningOptions,
    score: Score,
    *,
    timeframe: str,
    max_gap: int = 0,
    embargo: int = 0,
    name: str | None = None,
    candles: pd.DataFrame | None = None,
    funding: pd.DataFrame | None = None,
    trades: bool = False,
    report: Callable[[Any], None] = lambda tried: None,
) -> Tuned:
    """The options with the best mean score on inner folds of the first fold's training window.

    All tables are cut there before anything else happens, and labels not known by then are taken out: no candle of any
    fold's validation or test window has a say. One choice serves all folds, so that what is tested is one
    configuration; it is made before the first test window, and for later ones it is older than it need be.

    `score` judges the predictions of an inner test window. `candles`, and `funding` in futures, are for models that
    trade while they learn (`trades`) and for scores of traded money.

    Raises:
        ParameterError: A space has what is no option of the model, or a value that it cannot take.
    """
    from agent_market.learning.tuning.study import importance_table, run_study, trials_table  # Optuna

    name = name or options.adapter
    first = folds.sort_values("test_start").iloc[0]
    end = first["train_end"]
    features, labels = before(features, end), known_by(before(labels, end), end)
    candles, funding = (None if table is None else before(table, end) for table in (candles, funding))
    inner = inner_folds(first["train_start"], end, tuning.folds, timeframe=timeframe, embargo=embargo)
    how = {"timeframe": timeframe, "max_gap": max_gap}
    prices = {"candles": candles, "funding": funding} if trades else {}

    def suggest(trial: Any) -> dict[str, Any]:
        space = tuning.space.get(name)
        return draw(space, trial) if space else get_adapter(options.adapter).suggest(trial)

    shared = prepare_task(name, features, labels, options, training, **how, **prices)

    def folds_of(drawn: dict[str, Any]) -> list[Any]:
        task = with_options(shared, labels, with_drawn(options, drawn, name))
        return [joblib.delayed(score_fold)(task, fold, labels, candles, score) for fold in inner.to_dict("records")]

    evaluate = Evaluation(folds_of, len(inner), n_jobs=training.n_jobs)
    study = f"{name}-{_fingerprint(options, training, tuning, name, [features, labels, inner, candles, funding], how)}"
    maximize = tuning.objective != "logloss"
    configured = options.model_dump()
    with contextlib.closing(evaluate):
        tried = run_study(study, suggest, evaluate, tuning, configured, maximize=maximize, report=report)
    whole = [one for one in tried if not one.pruned]
    best = (max if maximize else min)(whole, key=lambda one: one.value)  # the first of equals
    chosen = with_drawn(options, best.options, name)
    facts = {
        "options": chosen.model_dump(mode="json", exclude_unset=True),
        "chosen": best.options,
        "trials": len(tried),
        "pruned": len(tried) - len(whole),
        "best_trial": best.number,
        "best_value": best.value,
        "first_value": tried[0].value,
        "objective": tuning.objective,
        "sampler": tuning.sampler,
        "tuned_until": end.isoformat(),
        "study": study,
    }
    return Tuned(chosen, facts, trials_table(tried), importance_table(tried, maximize=maximize))


class Evaluation:
    """Scores of options, one inner fold after the other; a cluster has begun with those of trials to come, too.

    What is begun early and is then not asked for, because its trial is pruned or was drawn otherwise, is in vain: which
    scores a trial gets does not depend on it.
    """

    def __init__(self, folds_of: Callable[[dict[str, Any]], list[Any]], n_folds: int, *, n_jobs: int) -> None:
        self._folds_of, self._n_folds, self._n_jobs = folds_of, n_folds, n_jobs
        self._begun: dict[str, list[parallel.Pending]] = {}

    def __call__(self, drawn: dict[str, Any], coming: Iterator[dict[str, Any]]) -> Iterator[float]:
        """The scores of `drawn`; `coming` are draws of later trials, as far as they are known."""
        self._begin(drawn)
        if parallel.on_cluster() and self._n_jobs != 1:
            enough = 2 * parallel.count_workers(self._n_jobs)
            while len(self._begun) * self._n_folds < enough and (later := next(coming, None)) is not None:
                self._begin(later)
        pending = self._begun.pop(_key(drawn))
        try:
            while pending:
                yield pending.pop(0).result()
        finally:
            for unused in pending:
                unused.cancel()

    def _begin(self, drawn: dict[str, Any]) -> None:
        if _key(drawn) not in self._begun:
            self._begun[_key(drawn)] = parallel.begin(self._folds_of(drawn), n_jobs=self._n_jobs)

    def close(self) -> None:
        """Do without all that was begun in vain."""
        for unused in (pending for several in self._begun.values() for pending in several):
            unused.cancel()


def score_fold(
    task: Task, fold: dict[str, Any], labels: pd.DataFrame, candles: pd.DataFrame | None, score: Score
) -> float:
    """The score of predictions of one inner fold's test window; of `labels` it sees what is known at its end."""
    _, predictions = fit_and_predict(task, fold, silent, quiet=True)
    predictions = predictions.assign(kind=predicted_kind(task.options, task.targets[0]))
    until = fold["test_end"]
    return score(predictions, known_by(labels, until), None if candles is None else before(candles, until))


def _key(drawn: dict[str, Any]) -> str:
    return json.dumps(drawn, sort_keys=True, default=str)


def before(table: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
    """The rows of candles that have closed by `end`, or of features and labels decided by then."""
    return table[table["date"] < end].reset_index(drop=True)


def known_by(labels: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
    """The labels with NaN (NaT) in the place of what is not known at `end`."""
    known = labels.copy()
    for column in labels.columns.drop(["pair", "date", "volatility"], errors="ignore"):
        ends = column if column.startswith("label_end_") else label_end_column(column)
        known[column] = labels[column].where(labels[ends] <= end)
    return known


def with_drawn(options: ModelOptions, drawn: dict[str, Any], name: str) -> ModelOptions:
    """The options with what was drawn in the place of what they had; `a.b` is the option b of the block a.

    Raises:
        ParameterError: There is no such option, or it cannot take the value.
    """
    block = options.model_dump(exclude_unset=True)
    for path, value in drawn.items():
        *outer, last = path.split(".")
        here = block
        for part in outer:
            here = here.setdefault(part, {})
        here[last] = value
    try:
        return parse_model_options(block)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or name
        raise ParameterError(
            f"tuning.space.{name}: the model cannot take what was drawn, {drawn}: {where}: {problem['msg']}"
        ) from error


def _fingerprint(
    options: ModelOptions,
    training: TrainingOptions,
    tuning: TuningOptions,
    name: str,
    tables: list[pd.DataFrame | None],
    how: dict[str, Any],
) -> str:
    """A short hash of all that decides how trials score: trials of one study can be compared."""
    unrelated = {"enabled", "models", "storage", "trials", "space"}
    facts = {
        "code": code_fingerprint(),
        "data": data_fingerprint(*(table for table in tables if table is not None)),
        "options": options.model_dump(mode="json"),
        "training": training.model_dump(mode="json", exclude={"n_jobs", "checkpoints"}),
        "tuning": tuning.model_dump(mode="json", exclude=unrelated),
        "space": tuning.model_dump(mode="json")["space"].get(name),
        **how,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
