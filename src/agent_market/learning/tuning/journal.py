"""Where studies are kept: so that a killed process leaves nothing behind that stops, or misleads, the next one."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from agent_market.errors import ParameterError

if TYPE_CHECKING:
    import optuna

OWNER = "owner"


def open_storage(where: str | None, study: str) -> "optuna.storages.BaseStorage | None":
    """Optuna's storage of a study: a journal `<study>.log` in the folder, a database, or None for the memory.

    Raises:
        ParameterError: The database's URL, or its driver, is not to be had.
    """
    import optuna

    if where is None:
        return None
    if "://" in where:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return optuna.storages.RDBStorage(where)
        except (ImportError, ValueError, SQLAlchemyError) as error:
            raise ParameterError(f"tuning.storage is {where!r}, which cannot be opened: {error}") from error
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder = Path(where)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{study}.log"
    lock = _Lock(path.with_suffix(".lock"))
    lock.acquire()
    try:
        _mend(path)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


@contextmanager
def claiming(where: str | None, study: str) -> Iterator[bool]:
    """While it lasts, no other process claims a trial of the study; False where that cannot be had: in a database."""
    if where is None or "://" in where:
        yield where is None
        return
    lock = _Lock(Path(where) / f"{study}.claim")
    lock.acquire()
    try:
        yield True
    finally:
        lock.release()


class _Lock:
    """A lock that the system itself releases when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Wait for the lock, and hold it."""
        file = self._path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _mend(path: Path) -> None:
    """Cut off a last line that its writer did not live to end."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def this_process() -> str:
    """A name of this process that no later one on this machine has."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_dead(owner: Any) -> bool:
    """Whether the process of that name has ended; of another machine's nothing is known, so it counts as alive."""
    host, pid, created = str(owner).rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != created
    except psutil.NoSuchProcess:
        return True
