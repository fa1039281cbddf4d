"""What fits in other processes report, heard in this one."""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agent_market import parallel
from agent_market.adapters import Progress

PAUSE = 0.2  # seconds between two looks


@dataclass(frozen=True)
class Note:
    """Writes the progress of one fold's fit where `relay` reads it; it can be sent to another process."""

    path: Path

    def __call__(self, progress: Progress) -> None:
        """Add a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(progress)) + "\n")


@dataclass(frozen=True)
class Word:
    """Tells the progress of one fold's fit to `relay_from_cluster`; it can be sent to a worker."""

    topic: str
    fold: int

    def __call__(self, progress: Progress) -> None:
        """Tell it, unless something was told just now."""
        from agent_market.parallel.cluster import say

        words = json.dumps([self.fold, asdict(progress)])
        say(self.topic, self.fold, words, last=progress.step >= progress.steps)


@contextmanager
def relay_from_cluster(report: Callable[[int, Progress], None]) -> Iterator[Callable[[int], Word]]:
    """While it lasts, `report` receives (fold, Progress) of what the words that it makes are given, some left out."""

    def receive(words: str) -> None:
        fold, progress = json.loads(words)
        report(fold, Progress(**progress))

    with parallel.hearing(receive) as topic:
        yield lambda fold: Word(topic, fold)


@contextmanager
def relay(report: Callable[[int, Progress], None]) -> Iterator[Callable[[int], Note]]:
    """While it lasts, `report` receives (fold, Progress) of what the notes that it makes are given, in their order.

    All of it has been received when it ends.
    """
    with tempfile.TemporaryDirectory(prefix="progress_") as name:
        folder, ended, read = Path(name), threading.Event(), {}

        def look() -> None:
            for path in sorted(folder.iterdir()):
                whole = path.read_text().rpartition("\n")[0]  # the last line may be half written
                lines = whole.splitlines()
                for line in lines[read.get(path, 0) :]:
                    report(int(path.name), Progress(**json.loads(line)))
                read[path] = len(lines)

        def listen() -> None:
            while not ended.wait(PAUSE):
                look()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield lambda fold: Note(folder / str(fold))
        finally:
            ended.set()
            thread.join()
            look()
