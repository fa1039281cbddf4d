"""Large arrays on their way to and from workers: files in a folder that all see, and small handles in their place.

What is pickled goes through the scheduler and is small; what is on disk is arrays alone, in NumPy's own format.
"""

import contextlib
import hashlib
import io
import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from agent_market.errors import ComputeError

LEAST = 16_384
"""Bytes from which an array is worth a file of its own."""

BLOCK = 1 << 26
"""Bytes that go to an object store at once."""


class Shelf:
    """A folder, by its path or fsspec URL, in which arrays wait under a name until they are taken."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ComputeError(f"compute.shared_folder is {url!r}, which cannot be opened: {error}") from error
        self.local = isinstance(self.files, LocalFileSystem)
        self._written: set[str] = set()

    def make(self) -> None:
        """Make the folder."""
        try:
            self.files.makedirs(self.root, exist_ok=True)
        except OSError as error:
            raise ComputeError(f"compute.shared_folder {self.url!r} cannot be written: {error}") from error

    def remove(self) -> None:
        """Remove the folder and all that is still in it."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm(self.root, recursive=True)

    def keep(self, array: np.ndarray) -> str:
        """Store an array that several may take; equal ones are stored once. The name says what is in it."""
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        array = np.asarray(array, order=order)
        digest = hashlib.sha256(f"{array.dtype.str} {array.shape} {order}\0".encode())
        digest.update(np.ravel(array, order="K").view(np.uint8))
        name = f"{digest.hexdigest()[:40]}.npy"
        if name not in self._written:
            self._write(name, array)
            self._written.add(name)
        return name

    def hand_in(self, array: np.ndarray) -> str:
        """Store an array that is taken once, and is gone then."""
        name = f"{uuid.uuid4().hex}.npy"
        self._write(name, array)
        return name

    def map(self, name: str) -> np.ndarray:
        """An array that was kept, as a map of its file into memory; what is written to it stays in this process."""
        path = Path(self.root) / name if self.local else self._fetched(name)
        try:
            return np.asarray(np.load(path, mmap_mode="c"))
        except FileNotFoundError as error:
            raise self._gone(name) from error

    def has(self, name: str) -> bool:
        """Whether an array of that name waits here."""
        return self.files.exists(f"{self.root}/{name}")

    def take(self, name: str) -> np.ndarray:
        """An array that was handed in, into memory."""
        path = f"{self.root}/{name}"
        try:
            with self.files.open(path, "rb") as file:
                array = np.load(file)
        except FileNotFoundError as error:
            raise self._gone(name) from error
        self.files.rm_file(path)
        return array

    def _write(self, name: str, array: np.ndarray) -> None:
        """An array's file is there whole or not at all; in an object store it appears when it was closed."""
        path = f"{self.root}/{name}"
        if not self.local:
            with self.files.open(path, "wb", block_size=BLOCK) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
            return
        draft = f"{path}.{uuid.uuid4().hex}.draft"
        with open(draft, "wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
        os.replace(draft, path)

    def _fetched(self, name: str) -> Path:
        """The copy on this machine of what lies in an object store; each process fetches it once."""
        folder = _own_folder(self.url)
        path = folder / name
        if not path.exists():
            draft = folder / f"{name}.{uuid.uuid4().hex}.draft"
            try:
                self.files.get_file(f"{self.root}/{name}", str(draft))
            except FileNotFoundError as error:
                raise self._gone(name) from error
            draft.replace(path)
        return path

    def _gone(self, name: str) -> ComputeError:
        return ComputeError(
            f"{self.root}/{name} is not to be found on this machine: compute.shared_folder must be a folder that all "
            "workers see under the same path, or an fsspec URL, and stay as it is until the run has ended"
        )


_shelves: dict[str, Shelf] = {}
_folders: dict[str, Path] = {}


def _shelf(url: str) -> Shelf:
    if url not in _shelves:
        _shelves[url] = Shelf(url)
    return _shelves[url]


def _own_folder(url: str) -> Path:
    """Where this process keeps its copies of what is on a shelf; Dask removes the folder of a worker with it."""
    if url not in _folders:
        from distributed import get_worker

        for older in _folders.values():
            shutil.rmtree(older, ignore_errors=True)
        _folders.clear()
        _folders[url] = Path(tempfile.mkdtemp(prefix="shelf-", dir=get_worker().local_directory))
    return _folders[url]


def mapped(url: str, name: str) -> np.ndarray:
    """What stands in a call in the place of a large array."""
    return _shelf(url).map(name)


def taken(url: str, name: str) -> np.ndarray:
    """What stands in a result in the place of a large array."""
    return _shelf(url).take(name)


def pack_call(shelf: Shelf, call: Any) -> bytes:
    """A call, as small as it gets: large arrays in it are kept on the shelf."""
    return _packed(shelf, call, shelf.keep, mapped)


def pack_result(url: str, result: Any) -> bytes:
    """A result, as small as it gets: large arrays in it are handed in."""
    return _packed(_shelf(url), result, _shelf(url).hand_in, taken)


def unpack(packed: bytes) -> Any:
    """What was packed."""
    return pickle.loads(packed)


def _packed(shelf: Shelf, content: Any, store: Callable[[np.ndarray], str], fetch: Callable[[str, str], Any]) -> bytes:
    known: dict[int, tuple[str, Any]] = {}  # the same memory is hashed once; it is held, so that no other gets its id

    class Packer(cloudpickle.Pickler):
        def reducer_override(self, part: Any) -> Any:
            if isinstance(part, pa.Buffer) and part.size >= LEAST:
                array = np.frombuffer(part, np.uint8)
                return pa.py_buffer, (array,)
            if type(part) in (np.ndarray, np.memmap) and part.nbytes >= LEAST and not part.dtype.hasobject:
                if id(part) not in known:
                    known[id(part)] = store(part), part
                return fetch, (shelf.url, known[id(part)][0])
            return super().reducer_override(part)

    packed = io.BytesIO()
    Packer(packed, protocol=pickle.HIGHEST_PROTOCOL).dump(content)
    return packed.getvalue()
