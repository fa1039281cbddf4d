"""Removing old runs of flows, and the versions of datasets that no run that is kept refers to."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kedro.io import AbstractVersionedDataset, CatalogProtocol

from agent_market.configured import data_folder, state_folder
from agent_market.flow.archive import Archive, Round, Run
from agent_market.flow.content import versioned_path
from agent_market.flow.records import Records
from agent_market.flow.reproduce import left_behind
from agent_market.flow.session import LIBRARY


@dataclass(frozen=True)
class Garbage:
    """Runs, folders of versions, those of reproductions that were cut off, and their bytes on the disk."""

    runs: list[Run]
    versions: list[Path]
    cut_off: list[Path]
    size: int


def find_garbage(archive: Archive, catalog: CatalogProtocol, keep: int | None) -> Garbage:
    """What can go if of each name the latest `keep` finished runs stay, and all that did not come to their end since.

    Without `keep`, the key of that name in the latest run's task says how many stay; if it is none, all do.
    Versions go that these runs made, unless a run that stays refers to them, or they are the newest of their dataset.
    """
    kept: list[Run] = []
    gone: list[Run] = []
    finished: dict[str, int] = {}
    limits: dict[str, int | None] = {}
    for run in archive.all():  # the newest first
        limit = limits.setdefault(run.name, keep or run.task.get("keep"))
        finished[run.name] = finished.get(run.name, 0) + (run.state == "done")
        over = limit is not None and finished[run.name] + (run.state != "done") > limit
        (gone if over else kept).append(run)
    made = {version for run in gone for part in run.rounds for version in part.kedro_runs}
    needed = {folder for run in kept for part in run.rounds for folder in _needed(part, catalog)}
    found = [folder for folder in _versions() if folder.name in made and folder not in needed]
    versions = [folder for folder in found if not _is_newest(folder)]
    cut_off = left_behind(state_folder())
    return Garbage(gone, versions, cut_off, _size([*versions, *cut_off, *(run.folder for run in gone)]))


def remove(archive: Archive, catalog: CatalogProtocol, garbage: Garbage) -> None:
    """Take it out; records of what nodes were made of that refer to it go, too."""
    for run in garbage.runs:
        archive.remove(run)
    for folder in [*garbage.versions, *garbage.cut_off]:
        shutil.rmtree(folder)
    records = Records(state_folder() / "nodes")
    for record in records.all():
        for name, made in record.outputs.items():
            dataset = catalog.get(name)
            if made.version is not None and not Path(versioned_path(dataset, made.version)).exists():
                records.drop(record)


def _needed(part: Round, catalog: CatalogProtocol) -> Iterator[Path]:
    """Folders of the versions that a round rests on, or has made."""
    versions = dict(part.versions)
    if part.pins is not None:
        versions |= {LIBRARY: part.pins.library}
    for name, version in versions.items():
        if version is not None and isinstance(dataset := catalog.get(name), AbstractVersionedDataset):
            yield Path(versioned_path(dataset, version)).parent


def _versions() -> Iterator[Path]:
    """Folders of versions: of any dataset, `<its name>/<version>/<its name>`."""
    root = data_folder()
    for stage in sorted(root.glob("0[1-8]_*")):
        for path in stage.rglob("*"):
            if path.is_dir() and (path / path.parent.name).exists() and "T" in path.name:
                yield path


def _is_newest(folder: Path) -> bool:
    return folder.name == max(path.name for path in folder.parent.iterdir() if path.is_dir())


def _size(folders: list[Path]) -> int:
    """Bytes on the disk that are free when all of these are gone; a file with names elsewhere stays."""
    names: dict[int, list[int]] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                found = path.stat()
                names.setdefault(found.st_ino, [found.st_nlink, found.st_size, 0])[2] += 1
    return sum(size for links, size, seen in names.values() if seen >= links)
