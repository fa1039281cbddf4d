import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import studies
from agent_market.errors import ModelError, ParameterError
from agent_market.learning.tuning.journal import is_dead, open_storage, this_process
from projects import PROJECT


def _process(storage, sampler="tpe", trials=6, hang_after=99):
    environment = os.environ | {"PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{PROJECT / 'tests'}"}
    command = [sys.executable, str(PROJECT / "tests" / "studies.py"), storage, sampler, str(trials), str(hang_after)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _studies_in(storage):
    import optuna

    return [
        optuna.load_study(study_name=path.stem, storage=open_storage(storage, path.stem))
        for path in sorted(Path(storage).glob("*.log"))
    ]


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("random", marks=pytest.mark.slow)])
def test_a_study_that_was_killed_and_resumed_has_the_trials_of_an_undisturbed_one(tmp_path, sampler):
    undisturbed = studies.run(sampler=sampler, trials=14)
    process = _process(str(tmp_path), sampler, trials=14, hang_after=11)
    assert _numbers_of(process, 11) == list(range(11))  # TPE draws by what it has seen from the 11th trial on
    assert process.stdout.readline() == "scoring\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = studies.run(sampler=sampler, trials=14, storage=str(tmp_path))
    pd.testing.assert_frame_equal(resumed.trials, undisturbed.trials, check_exact=True)
    assert resumed.facts == undisturbed.facts
    (study,) = _studies_in(str(tmp_path))
    states = [trial.state.name for trial in study.trials]
    assert states.count("FAIL") == 1, "it was killed within a trial"
    assert len(states) == 15


def test_a_finished_study_runs_no_trial_again_and_goes_on_when_more_are_asked_for(tmp_path):
    ran = []
    first = studies.run(storage=str(tmp_path), report=ran.append)
    again = studies.run(storage=str(tmp_path), report=ran.append)
    pd.testing.assert_frame_equal(first.trials, again.trials)
    assert len(ran) == 6
    more = studies.run(storage=str(tmp_path), report=ran.append, trials=8)
    assert len(ran) == 8
    pd.testing.assert_frame_equal(more.trials, studies.run(trials=8).trials)


def test_processes_share_the_trials_of_a_study_and_take_over_what_a_dead_one_left(tmp_path):
    slow = _process(str(tmp_path), "random", trials=10, hang_after=3)
    assert _numbers_of(slow, 3) == [0, 1, 2]
    assert slow.stdout.readline() == "scoring\n", "it is at its fourth trial, and stays there"
    fast = _process(str(tmp_path), "random", trials=10)
    assert _numbers_of(fast, 6) == [4, 5, 6, 7, 8, 9], "while the other one lives, its trial is its own"
    slow.kill()
    slow.wait()
    assert _numbers_of(fast, 1) == [3]
    assert fast.wait(60) == 0
    shared = studies.run(sampler="random", trials=10, storage=str(tmp_path)).trials
    alone = studies.run(sampler="random", trials=10, pruner="none").trials
    pd.testing.assert_series_equal(shared["alpha"], alone["alpha"])


def _numbers_of(process, n):
    """The next `n` trials that a process says it has ended."""
    lines = (line for line in process.stdout if line.startswith("trial"))
    return [int(next(lines).split()[1]) for _ in range(n)]


@pytest.mark.slow
def test_a_database_keeps_a_study_as_well(tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    first = studies.run(storage=url, trials=4)
    pd.testing.assert_frame_equal(first.trials, studies.run(storage=url, trials=4).trials)
    pd.testing.assert_frame_equal(first.trials, studies.run(trials=4).trials)


def test_a_database_that_cannot_be_opened_is_an_error_that_names_the_parameter():
    with pytest.raises(ParameterError, match=r"tuning\.storage is 'nosuchdb://x'"):
        studies.run(storage="nosuchdb://x")


def test_other_data_or_options_are_another_study(tmp_path):
    studies.run(storage=str(tmp_path), trials=2)
    studies.run(storage=str(tmp_path), trials=2, model={"adapter": "sklearn", "seed": 1})
    studies.run(storage=str(tmp_path), trials=2, folds=3)
    changed = studies.LABELS.assign(excess_2=studies.LABELS["excess_2"] * 1.01)
    studies.run(storage=str(tmp_path), trials=2, labels=changed)
    assert len(list(tmp_path.glob("*.log"))) == 4


def test_half_a_line_at_the_end_of_a_journal_does_not_stop_the_next_process(tmp_path):
    first = studies.run(storage=str(tmp_path), trials=3)
    (journal,) = tmp_path.glob("*.log")
    with journal.open("a") as file:
        file.write('{"op_code": 4, "work')
    pd.testing.assert_frame_equal(studies.run(storage=str(tmp_path), trials=3).trials, first.trials)


def test_an_error_in_a_trial_is_not_swallowed_and_costs_no_slot(tmp_path):
    def broken(*tables):
        raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError):
        studies.run(storage=str(tmp_path), score=broken)
    pd.testing.assert_frame_equal(studies.run(storage=str(tmp_path)).trials, studies.run().trials)


def test_a_score_that_is_no_number_is_an_error_that_names_the_trial():
    with pytest.raises(ModelError, match=r"trial 0 with .*alpha.* scored nan"):
        studies.run(score=lambda *tables: float("nan"))


def test_a_process_is_known_to_be_dead_when_it_is():
    assert not is_dead(this_process())
    host, pid, created = this_process().rsplit(":", 2)
    assert is_dead(f"{host}:{pid}:{float(created) - 100:.2f}"), "another process with the same number"
    assert is_dead(f"{host}:4194303:{created}")
    assert not is_dead(f"elsewhere:4194303:{created}")


@pytest.mark.parametrize("told", [0, 1, 2])
def test_a_process_that_died_while_it_claimed_a_trial_costs_no_slot(tmp_path, told):
    studies.run(storage=str(tmp_path), trials=11)
    (study,) = _studies_in(str(tmp_path))
    trial = study.ask()  # and then it died, before or after it had said whose the trial is, and which
    host, _, created = this_process().rsplit(":", 2)
    for name, value in [("owner", f"{host}:4194303:{created}"), ("slot", 11)][:told]:
        trial.set_user_attr(name, value)
    resumed = studies.run(storage=str(tmp_path), trials=13)
    pd.testing.assert_frame_equal(resumed.trials, studies.run(trials=13).trials, check_exact=True)
