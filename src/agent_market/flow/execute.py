"""Running a flow: round after round, from where an earlier run was left, until it is done or has to stop."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agent_market.configured import data_folder
from agent_market.errors import FlowError
from agent_market.flow.archive import Archive, Pins, Round, Run
from agent_market.flow.code import CodeBook
from agent_market.flow.collect import collect
from agent_market.flow.guard import alone
from agent_market.flow.records import now
from agent_market.flow.runner import PACKAGE, CachedRunner, Decision, NodesFailedError
from agent_market.flow.session import Setting, check_round, planned, run_round
from agent_market.flow.task import Task, parse_task
from agent_market.words import in_words

MINING = "factor_mining"
JUDGING = f"{MINING}.judge_candidates"
TRAINING = ("ml_training", "dl_training", "rl_training", "ensemble")

LIBRARIES = (
    "agent_market", "catboost", "freqtrade", "kedro", "lightgbm", "numba", "numpy", "pandas", "pyarrow", "scikit-learn",
    "stable-baselines3", "torch", "xgboost",
)  # fmt: skip

Listener = Callable[[dict[str, Any]], None]


@dataclass
class Outcome:
    """How a command ended: the run, if there is one, and whether anything had to be done."""

    run: Run | None
    did_nothing: bool = False


class _OutdatedPins(Exception):  # noqa: N818 - a signal, not an error
    """A round of mining that is a new one was about to run with an old one's view of the ledger."""


@contextmanager
def project_of(task: Task, source: str) -> Iterator[Archive]:
    """The archive of the project's data, as the task's environment has it, held alone."""
    project = check_round(Setting(task, source, task.steps))
    with alone(f"kedro flow run {source}"):
        yield Archive(data_folder() / "runs", project)


class Flow:
    """A task on its way through its rounds."""

    def __init__(self, task: Task, source: str, listen: Listener | None = None) -> None:
        self.task = task
        self.source = source
        self._listen = listen or (lambda event: None)
        self._book = CodeBook([PACKAGE])
        self._runner = CachedRunner()
        self.begun: Run | None = None
        """The run that is gone through; None as long as nothing was begun."""

    def run(self, *, anew: bool = False) -> Outcome:
        """Do what the task asks for, if it is not done already; an unfinished run of the same task is gone on with.

        Raises:
            BusyError: Another run holds the data.
            FlowError, and whatever a node raises: The flow failed; the archive has it.
        """
        with project_of(self.task, self.source) as archive:
            before = archive.latest(self.task.name)
            same = before is not None and _essence(before.task) == _essence(self.task.model_dump(mode="json"))
            if before is not None and same and not anew:
                if before.state != "done":
                    return self._carry_on(archive, before)
                if all(not todo for todo in self._plans(archive, before)):
                    return Outcome(before, did_nothing=True)
            run = archive.begin(self.task.name, self.task.model_dump(mode="json"), self.source, dict(_versions()))
            self._tell(run, "flow_started", task=run.task)
            return self._rounds(archive, run, before)

    def resume(self, run_id: str | None) -> Outcome:
        """Go on with a run from its last finished node."""
        with project_of(self.task, self.source) as archive:
            run = archive.get(run_id)
            if run.state == "done":
                raise FlowError(
                    f"{run.id} is done: there is nothing to resume; `kedro flow run` looks for what changed"
                )
            return self._carry_on(archive, run)

    def plan(self) -> Iterator[tuple[int, dict[str, Decision]]]:
        """What each round would do; of rounds that no run has done yet, the first."""
        with project_of(self.task, self.source) as archive:
            before = archive.latest(self.task.name)
            done = len(before.rounds) if before is not None else 0
            for number in range(1, min(max(done, 1), self.task.rounds) + 1):
                setting = self._setting(archive, number, before, _round_of(before, number))
                yield number, planned(setting, CachedRunner(prepare=setting.prepare, book=self._book))[1]

    def _carry_on(self, archive: Archive, run: Run) -> Outcome:
        self._tell(run, "flow_resumed", state=run.state, reason=run.reason)
        run.state, run.reason, run.ended = "running", "", None
        run.save()
        return self._rounds(archive, run, run)

    def _plans(self, archive: Archive, before: Run) -> Iterator[list[str]]:
        """Of each round of a finished run, the nodes that would have to run again."""
        if len(before.rounds) < self.task.rounds and not _enough(self.task, before):
            yield ["rounds"]
        for number, done in enumerate(before.rounds, 1):
            setting = self._setting(archive, number, before, done)
            decisions = planned(setting, CachedRunner(prepare=setting.prepare, book=self._book))[1]
            yield [name for name, decision in decisions.items() if decision.record is None]

    def _rounds(self, archive: Archive, run: Run, before: Run | None) -> Outcome:
        self.begun = run
        try:
            with _stopped_by_signals():
                for number in range(1, self.task.rounds + 1):
                    current = _round_of(run, number)
                    if current is None:
                        if reason := _over(self.task, run):
                            return self._end(run, "stopped", reason)
                        current = Round(number, started=now())
                        run.rounds.append(current)
                    if current.state != "done":
                        self._round(archive, run, current, _round_of(before, number))
                    if reason := _enough(self.task, run):
                        return self._end(run, "done", reason)
        except KeyboardInterrupt:
            self._end(run, "stopped", "interrupted")
            raise
        except Exception as error:
            self._end(run, "failed", in_words(error))
            raise
        return self._end(run, "done", "")

    def _end(self, run: Run, state: Any, reason: str) -> Outcome:
        run.state, run.reason, run.ended = state, reason, now()
        for part in run.rounds:
            part.state = state if part.state == "running" else part.state
        run.save()
        self._tell(run, f"flow_{state}", reason=reason)
        return Outcome(run)

    def _round(self, archive: Archive, run: Run, current: Round, earlier: Round | None) -> None:
        """One round, with retries, and without what fails where the task says so."""
        current.state = "running"
        left_out: set[str] = set(run.left_out)
        tries = 0
        start = current if current.pins is not None else earlier
        while True:
            setting = self._setting(archive, current.number, run, start, left_out)
            is_own, start = start is current, current  # tries of one round see the ledger as its first one did
            current.pins = setting.pins or current.pins
            run.save()
            self._runner = runner = CachedRunner(
                keep_going=self.task.on_error.policy == "continue",
                listen=self._watch(archive, run, setting, is_own=is_own),
                prepare=setting.prepare,
                book=self._book,
            )
            try:
                self._tell(run, "round_started", round=current.number, of=self.task.rounds, steps=list(setting.steps))
                run_round(setting, runner, lambda kedro_run: self._note(run, current, kedro_run))
                break
            except _OutdatedPins:
                current.pins = None
            except Exception as error:
                tries += 1
                if tries <= self.task.on_error.retries:
                    self._tell(run, "round_retried", round=current.number, try_number=tries, error=str(error))
                    time.sleep(self.task.on_error.wait)
                elif not (gone := _to_leave_out(error, left_out)):
                    raise
                else:
                    left_out |= gone
                    run.left_out = sorted(left_out)
                    self._tell(run, "left_out", round=current.number, what=sorted(gone), error=str(error))
        collect(run, current, runner)
        current.state, current.ended = "done", now()
        run.save()
        self._tell(
            run, "round_done", round=current.number, ran=current.ran, unchanged=current.unchanged,
            accepted=current.accepted, trials=current.trials,
        )  # fmt: skip

    def _setting(
        self, archive: Archive, number: int, run: Run | None, earlier: Round | None, left_out: set[str] | None = None
    ) -> Setting:
        """What a round starts from: as `earlier`, the same round of a run before, if its pins still say anything."""
        gone = frozenset(left_out if left_out is not None else (run.left_out if run is not None else ()))
        steps = [step for step in self.task.steps if step not in gone]
        if MINING not in steps:
            return Setting(self.task, self.source, steps, gone)
        pins = earlier.pins if earlier is not None and earlier.pins is not None else None
        previous = _round_of(run, number - 1) if number > 1 else None
        if previous is not None:
            library = previous.versions.get("factor_library")
            feedback = f"{run.id}/rounds/{number - 1:02d}/mining_feedback.json"
        else:
            library = pins.library if pins else self._newest_library(archive)
            feedback = pins.feedback if pins else self._latest_feedback(archive, run)
        lines = pins.ledger if pins else len(_ledger(archive))
        file = archive.folder / feedback if feedback else None
        if file is not None and not file.is_file():
            file, feedback = None, None
        chosen = Pins(lines, library, feedback)
        return Setting(self.task, self.source, steps, gone, chosen, str(file) if file else None)

    def _watch(self, archive: Archive, run: Run, setting: Setting, *, is_own: bool) -> Callable[..., None]:
        """A listener, which ends a round that would mine anew with an old view of the ledger.

        Lines that were added since are of other rounds, if the view is that of a run before. A round that was begun
        with it (`is_own`) may have added its line before it died: that shows when its factors are judged.
        """
        lines = _ledger(archive)[setting.pins.ledger :] if setting.pins else []

        def listen(event: str, **facts: Any) -> None:
            node = str(facts.get("node", ""))
            is_new = bool(lines) and event == "node_started" and node.startswith(f"{MINING}.") and facts["changed"]
            if is_new and (not is_own or (node == JUDGING and not self._stands_in(lines))):
                raise _OutdatedPins
            self._tell(run, event, **facts)

        return listen

    def _stands_in(self, lines: list[str]) -> bool:
        """Whether one of these lines of the ledger is of the factors that are about to be judged."""
        tried = sorted(set(self._runner.catalog.load("factor_trials")["rank_key"]))
        return any(json.loads(line).get("trials") == tried for line in lines)

    def _note(self, run: Run, current: Round, kedro_run: str) -> None:
        current.kedro_runs.append(kedro_run)
        run.save()

    def _tell(self, run: Run, event: str, **facts: Any) -> None:
        self._listen(run.tell(event, **facts))

    def _newest_library(self, archive: Archive) -> str | None:
        folder = archive.folder.parent / "04_feature" / "factor_library.json"
        versions = sorted(path.parent.name for path in folder.glob("*/factor_library.json"))
        return versions[-1] if versions else None

    def _latest_feedback(self, archive: Archive, run: Run | None) -> str | None:
        """The feedback of the last round of the latest finished run, if the task asks for it."""
        if self.task.feedback == "none":
            return None
        for other in archive.all():
            if other.state == "done" and (run is None or other.id != run.id):
                files = sorted(other.folder.glob("rounds/*/mining_feedback.json"))
                if files:
                    return files[-1].relative_to(archive.folder).as_posix()
        return None


def _ledger(archive: Archive) -> list[str]:
    file = archive.folder.parent / "mining_ledger.jsonl"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def task_of(run: Run) -> Task:
    """The task that a run was begun with."""
    return parse_task(run.task, f"{run.folder}/run.json")


def _round_of(run: Run | None, number: int) -> Round | None:
    return run.rounds[number - 1] if run is not None and len(run.rounds) >= number else None


def _essence(task: dict[str, Any]) -> dict[str, Any]:
    """What of a task decides what is computed."""
    return {name: value for name, value in task.items() if name not in ("keep", "on_error", "stop", "rounds")}


def _enough(task: Task, run: Run) -> str:
    """Why no further round is wanted; "" if one is."""
    limit = task.stop.nothing_accepted
    done = [part for part in run.rounds if part.state == "done"]
    if limit is not None and len(done) >= limit and all(part.accepted == 0 for part in done[-limit:]):
        return f"nothing was accepted in {limit} round{'s' * (limit > 1)} in a row"
    return ""


def _over(task: Task, run: Run) -> str:
    """Which budget is used up; "" if none is."""
    from datetime import datetime

    begun = datetime.fromisoformat(run.started)
    hours = (datetime.now(begun.tzinfo) - begun).total_seconds() / 3600
    trials = sum(part.trials or 0 for part in run.rounds)
    tokens = sum(part.llm_tokens or 0 for part in run.rounds)
    stop = task.stop
    if stop.hours is not None and hours >= stop.hours:
        return f"stop.hours: {hours:.2f} of {stop.hours:g} are over"
    if stop.trials is not None and trials >= stop.trials:
        return f"stop.trials: {trials} of {stop.trials} were tried"
    if stop.llm_tokens is not None and tokens >= stop.llm_tokens:
        return f"stop.llm_tokens: {tokens} of {stop.llm_tokens} are used"
    return ""


def _to_leave_out(error: Exception, left_out: set[str]) -> set[str]:
    """Models that failed, or mining; empty if something failed that the rest cannot do without."""
    if not isinstance(error, NodesFailedError):
        return set()
    gone: set[str] = set()
    for node in error.nodes:
        stage, *rest = node.split(".")
        if stage in TRAINING and len(rest) > 1:
            gone.add(rest[0])
        elif stage == MINING:
            gone.add(MINING)
        else:
            return set()
    return gone - left_out


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Within it, the signal by which a service is ended interrupts like Ctrl-C."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _versions() -> Iterator[tuple[str, str]]:
    for library in LIBRARIES:
        try:
            yield library, version(library)
        except PackageNotFoundError:
            continue
