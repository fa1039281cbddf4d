"""What a dataset holds, as a hash: equal contents, equal hashes, whatever version or folder they lie in.

A catalog entry may say how it is to be seen, under `metadata: {cache: …}`:

- `{ignored: true}`: contents do not matter. An input that changes no result, or a file that each run goes on with.
- `{volatile: [column, …]}`: these columns of a table are measured by a clock, and do not count.

A dataset in a folder may have a method `stand_ins(path)`: by name of file, what counts in place of its content; and
`code_of(path)`: names of modules, or of adapters, whose code works on what is stored there.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, MemoryDataset
from kedro.io.core import get_filepath_str
from pydantic import BaseModel

from agent_market.parameters import TECHNICAL, Parameters

IGNORED = "ignored"
ABSENT = "absent"


def is_ignored(dataset: AbstractDataset) -> bool:
    """Whether the contents of a dataset do not matter."""
    return bool(_rules(dataset).get("ignored"))


def content_of(name: str, dataset: AbstractDataset, version: str | None = None) -> str | None:
    """The hash of what is stored: of `version`, or of what `load` would give.

    `absent` if nothing is stored, None if it cannot be known without loading it, as of what is in memory only.
    """
    if is_ignored(dataset):
        return IGNORED
    if isinstance(dataset, MemoryDataset):
        return content_of_parameter(name, dataset.load()) if is_parameter(name) and dataset.exists() else None
    if hasattr(dataset, "fingerprint"):
        return dataset.fingerprint()
    path = path_of(dataset, version)
    if path is None:
        return None if not hasattr(dataset, "_filepath") else ABSENT
    if volatile := _rules(dataset).get("volatile"):
        return _content_of_table(path, dataset, volatile)
    return _content_of_files(path, dataset)


def is_parameter(name: str) -> bool:
    """Whether a dataset's name is that of parameters."""
    return name == "parameters" or name.startswith("params:")


def content_of_parameter(name: str, value: Any) -> str:
    """The hash of a block of parameters with its defaults, less what changes no result; files named are read."""
    path = name.removeprefix("params:")
    plain = _all_parameters(value) if name == "parameters" else _plain(value)
    if name == "parameters":
        for block, keys in TECHNICAL.items():
            _leave_out(plain, block, keys)
    elif path in TECHNICAL:
        tree = {path: plain}
        _leave_out(tree, path, TECHNICAL[path])
        plain = tree.get(path)
    return _digest(json.dumps(_with_files(plain), sort_keys=True, default=str).encode())


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a block of parameters."""
    plain = _plain(value)
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, dict):
        for part in plain.values():
            yield from texts_in(part)
    elif isinstance(plain, list | tuple):
        for part in plain:
            yield from texts_in(part)


def path_of(dataset: AbstractDataset, version: str | None = None) -> str | None:
    """Where a dataset lies that is kept in files, `version` of it or what `load` gives; None if nothing is there."""
    if isinstance(dataset, AbstractVersionedDataset):
        try:
            path = dataset._get_load_path() if version is None else versioned_path(dataset, version)
        except DatasetError:
            return None
    elif (path := getattr(dataset, "_filepath", None)) is None:
        return None
    text = get_filepath_str(path, getattr(dataset, "_protocol", "file"))
    return text if file_system(dataset).exists(text) else None


def versioned_path(dataset: AbstractVersionedDataset, version: str) -> Any:
    """Where one version of a dataset lies, or would lie."""
    return dataset._get_versioned_path(version) if dataset._version else dataset._filepath


def file_system(dataset: AbstractDataset) -> fsspec.AbstractFileSystem:
    """The file system that a dataset is kept in."""
    return getattr(dataset, "_fs", None) or fsspec.filesystem("file")


def _rules(dataset: AbstractDataset) -> dict[str, Any]:
    return (getattr(dataset, "metadata", None) or {}).get("cache", {})


def _content_of_files(path: str, dataset: AbstractDataset) -> str:
    files = file_system(dataset)
    stand_ins = dataset.stand_ins(Path(path)) if hasattr(dataset, "stand_ins") else {}
    lines = []
    for file in sorted(files.find(path)):
        name = file.removeprefix(path).lstrip("/")
        if name in stand_ins:
            lines.append(f"{name} {_digest(stand_ins[name])}")
            continue
        with files.open(file, "rb") as stream:
            lines.append(f"{name} {hashlib.file_digest(stream, _blake).hexdigest()}")
    return _digest("\n".join(lines).encode())


def _content_of_table(path: str, dataset: AbstractDataset, volatile: list[str]) -> str:
    import pandas as pd

    with file_system(dataset).open(path, "rb") as stream:
        table = pd.read_parquet(stream).drop(columns=volatile)
    types = "\n".join(f"{name} {kind}" for name, kind in table.dtypes.items())
    return _digest(types.encode() + pd.util.hash_pandas_object(table).to_numpy().tobytes())


def _blake() -> Any:
    return hashlib.blake2b(digest_size=16)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _all_parameters(tree: dict[str, Any]) -> dict[str, Any]:
    """All parameters as they are with their defaults; Kedro gives some blocks as they were written, others typed."""
    typed = Parameters.model_validate(tree)
    models = {name: options.model_dump(mode="json") for name, options in typed.models.items()}
    return typed.model_dump(mode="json", exclude={"models"}) | {"models": models}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _leave_out(tree: dict[str, Any], block: str, keys: Any) -> None:
    if keys is True:
        tree.pop(block, None)
    elif isinstance(tree.get(block), dict):
        tree[block] = {name: value for name, value in tree[block].items() if name not in keys}


def _with_files(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: _with_files(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_with_files(value) for value in plain]
    if isinstance(plain, str) and re.fullmatch(r"[^\n\0]{1,1000}\.\w{1,12}", plain) and Path(plain).is_file():
        return {"file": _digest(Path(plain).read_bytes())}
    return plain
