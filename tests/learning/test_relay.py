from agent_market.adapters import Progress
from agent_market.learning.relay import relay
from agent_market.parallel import run_parallel


def _work(note, n):
    for step in range(1, n + 1):
        note(Progress(step, n, gain=step / 10))


def test_progress_of_other_processes_is_heard_once_and_in_order():
    import joblib

    heard = []
    with relay(lambda fold, progress: heard.append((fold, progress))) as note:
        run_parallel([joblib.delayed(_work)(note(fold), 5) for fold in (0, 3)], n_jobs=2, backend="loky")
    for fold in (0, 3):
        told = [progress for number, progress in heard if number == fold]
        assert told == [Progress(step, 5, gain=step / 10) for step in range(1, 6)]
    assert len(heard) == 10


def test_what_is_reported_is_heard_while_it_lasts():
    import threading

    arrived = threading.Event()
    with relay(lambda fold, progress: arrived.set()) as note:
        note(1)(Progress(1, 2))
        assert arrived.wait(10)
