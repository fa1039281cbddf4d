"""What fits in other processes report, heard in this one."""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

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
