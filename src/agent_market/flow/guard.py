"""One run at a time on one set of data, and nothing half-written after a run that died."""

import json
import os
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline.node import Node

from agent_market.configured import state_folder
from agent_market.errors import BusyError
from agent_market.flow.content import file_system, versioned_path
from agent_market.flow.records import now, write_json

_locks: dict[Path, FileLock] = {}
_taking = threading.Lock()


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Hold the data; what a run that died left half-written is removed first. Within one process it may be nested.

    The lock is the operating system's: it is gone when the process is, however that ended.

    Raises:
        BusyError: Another process holds it.
    """
    acquire(what)
    try:
        yield
    finally:
        release()


def acquire(what: str) -> None:
    """Take the lock, and clear up."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locks.setdefault(folder, FileLock(folder / "lock", thread_local=False))
    nested = lock.is_locked
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{_holder(folder)}; wait for it to end, or use other data (AGENT_MARKET_DATA)") from None
    if not nested:
        died = (folder / "holder.json").exists()
        write_json(
            folder / "holder.json",
            {"what": what, "process": os.getpid(), "host": socket.gethostname(), "since": now()},
        )
        clear_up(folder)
        if died:
            _remove_drafts(folder)


def release() -> None:
    """Let the lock go."""
    folder = state_folder()
    lock = _locks.get(folder)
    if lock is None or not lock.is_locked:
        return
    if lock.lock_counter == 1:
        (folder / "holder.json").unlink(missing_ok=True)
    lock.release()


def holder(folder: Path) -> dict[str, Any] | None:
    """Who holds the lock; None if nobody does."""
    lock = FileLock(folder / "lock", thread_local=False)
    if not (folder / "lock").exists():
        return None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            return json.loads((folder / "holder.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
    lock.release()
    return None


def _holder(folder: Path) -> str:
    found = holder(folder) or {}
    if not found:
        return f"another run holds {folder.parent}"
    return (
        f"another run holds {folder.parent}: {found['what']}, process {found['process']} on {found['host']}, since "
        f"{found['since']}"
    )


def clear_up(folder: Path) -> list[str]:
    """Remove versions that a node had begun to write when its run died; their paths."""
    journal = folder / "journal.jsonl"
    if not journal.exists():
        return []
    begun: dict[str, list[str]] = {}
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line that was being written
            continue
        if "begun" in entry:
            begun[entry["begun"]] = entry["versions"]
        else:
            begun.pop(entry.get("done"), None)
    removed = [path for paths in begun.values() for path in paths if Path(path).exists()]
    for path in removed:
        shutil.rmtree(path)
    journal.unlink()
    return removed


def _remove_drafts(folder: Path) -> None:
    """Remove what a run that died had begun to write beside its place; a draft is named `.….draft` everywhere."""
    others = [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]
    # Not all of the state folder: a run that is being reproduced has data of its own there.
    drafts = [*folder.glob(".*.draft"), *folder.glob("nodes/*/.*.draft"), *folder.parent.glob(".*.draft")]
    drafts += [draft for other in others for draft in other.rglob(".*.draft")]
    for draft in drafts:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


class GuardHooks:
    """Every `kedro run` holds its data alone, and keeps a journal of what its nodes are writing."""

    def __init__(self) -> None:
        self._left: dict[str, set[str]] = {}
        self._holds = False
        self._thread = 0

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Take the lock.

        Raises:
            BusyError: Another run holds the data: of another process, or of another thread, as in a server.
        """
        here = threading.get_ident()
        with _taking:
            if self._holds and self._thread != here:
                raise BusyError(f"{_holder(state_folder())}; a server takes one run at a time: wait for its answer")
            self._close()  # of a run that was interrupted in this very thread, as in a notebook
            acquire(f"{shlex.join(['kedro', *sys.argv[1:]])} (run {run_params['run_id']})")
            self._holds, self._thread = True, here

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol, run_id: str) -> None:
        """Note which versions will be written."""
        self._left[node.name] = set(node.outputs)
        versions = [path for name in node.outputs if (path := _folder_of(catalog.get(name))) is not None]
        _note({"begun": node.name, "versions": versions})

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Note that a node is done when its last output is on the disk."""
        left = self._left.get(node.name, set())
        left.discard(dataset_name)
        if not left:
            _note({"done": node.name})

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Let the lock go."""
        self._close()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Remove what the failed node had begun to write, and let the lock go."""
        self._close()

    def _close(self) -> None:
        if self._holds:
            self._holds = False
            clear_up(state_folder())
            release()


def _folder_of(dataset: Any) -> str | None:
    """The folder of the version that a dataset will write, on this machine's disk."""
    if not isinstance(dataset, AbstractVersionedDataset) or not dataset._version:
        return None
    local = getattr(dataset, "_protocol", "file") == "file" and "file" in _protocols(dataset)
    return str(Path(versioned_path(dataset, dataset.resolve_save_version())).parent) if local else None


def _protocols(dataset: Any) -> tuple[str, ...]:
    protocol = file_system(dataset).protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _note(entry: dict[str, Any]) -> None:
    journal = state_folder() / "journal.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())
