"""A panel table as a folder: Parquet files of one pair each, and `panel.json` that says what is in it.

A table is written as it is made, one pair after the other and one slice of rows after the other, and read back whole,
by pair, by column or by rows: neither way needs it in memory at once. A pair has one file, and one more each time that
rows were added. Every file holds the `pair` column as well, so that any tool that reads `folder/*.parquet` sees the
whole table.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from agent_market import __version__
from agent_market.errors import DataError

CONTENTS = "panel.json"
FORMAT = 1


@dataclass(frozen=True)
class StoredPanel:
    """A panel table on disk: what is in it is known, its rows are read when they are asked for.

    `columns` begin with pair and date; `rows` is the number of rows of each pair, pairs in alphabetical order;
    `files` are the names and numbers of rows of each pair's files; `facts` is what the writer said of the table's
    making.
    """

    folder: Path
    columns: tuple[str, ...]
    rows: Mapping[str, int]
    files: Mapping[str, tuple[tuple[str, int], ...]]
    facts: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "StoredPanel":
        """The panel in a folder that `write_panel` wrote; DataError if it is none."""
        try:
            contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{folder} holds no panel table: it has no {CONTENTS}") from None
        if contents["format"] != FORMAT:
            raise DataError(
                f"{folder} has the panel format {contents['format']}, this version reads {FORMAT}; make it anew"
            )
        return cls(
            folder=folder,
            columns=("pair", *contents["columns"]),
            rows={part["pair"]: part["rows"] for part in contents["pairs"]},
            files={part["pair"]: tuple((f["file"], f["rows"]) for f in part["files"]) for part in contents["pairs"]},
            facts=contents["facts"],
        )

    @cached_property
    def pairs(self) -> tuple[str, ...]:
        """The pairs in alphabetical order."""
        return tuple(self.rows)

    def __len__(self) -> int:
        return sum(self.rows.values())

    def __iter__(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield (pair, its table), in order, one at a time."""
        for pair in self.pairs:
            yield pair, self.read(pair)

    def read(
        self, pair: str, columns: Sequence[str] | None = None, *, start: int = 0, stop: int | None = None
    ) -> pd.DataFrame:
        """Rows `start` to `stop` of one pair, with the columns asked for; only what is asked for is decoded."""
        names = self._known(columns)
        table = self._decode(pair, [name for name in names if name != "pair"], start, stop)
        frame = table.to_pandas(self_destruct=True)
        if "pair" in names:
            frame.insert(names.index("pair"), "pair", pd.Categorical.from_codes(np.zeros(len(frame), np.int8), [pair]))
        return frame

    def to_pandas(self, columns: Sequence[str] | None = None, pairs: Sequence[str] | None = None) -> pd.DataFrame:
        """The whole table, or some of its columns and pairs: rows sorted by (pair, date), `pair` a categorical."""
        names = self._known(columns)
        chosen = [pair for pair in self.pairs if pairs is None or pair in set(pairs)]
        if not chosen:
            raise DataError(f"none of the pairs {list(pairs)} is stored in {self.folder}; it has {list(self.pairs)}")
        table = pa.concat_tables(self._decode(pair, [name for name in names if name != "pair"]) for pair in chosen)
        frame = table.to_pandas(self_destruct=True)
        if "pair" in names:
            codes = np.repeat(np.arange(len(chosen), dtype=np.int32), [self.rows[pair] for pair in chosen])
            frame.insert(names.index("pair"), "pair", pd.Categorical.from_codes(codes, chosen))
        return frame

    def _known(self, columns: Sequence[str] | None) -> list[str]:
        names = list(self.columns if columns is None else columns)
        if unknown := [name for name in names if name not in self.columns]:
            raise DataError(f"{self.folder} has no column {', '.join(unknown)}; it has {', '.join(self.columns)}")
        return names

    def first_files(self, pair: str, rows: int) -> "StoredFiles":
        """The first files of a pair that hold no more than that many rows."""
        ends = np.cumsum([n for _, n in self.files[pair]])
        return StoredFiles(self, pair, self.files[pair][: int(np.searchsorted(ends, rows, side="right"))])

    def _decode(self, pair: str, columns: list[str], start: int = 0, stop: int | None = None) -> pa.Table:
        if pair not in self.files:
            raise DataError(f"{pair} is not stored in {self.folder}; it has {', '.join(self.pairs)}")
        stop = self.rows[pair] if stop is None else stop
        tables, before = [], 0
        for name, rows in self.files[pair]:
            within = max(start - before, 0), min(stop - before, rows)
            if within[0] < within[1] or name == self.files[pair][0][0]:  # the first one for its types, if no other
                tables.append(_decode_file(self.folder / name, columns, *within))
            before += rows
        return pa.concat_tables(tables)


@dataclass(frozen=True)
class StoredFiles:
    """The first rows of a stored pair, in whole files: another folder can take them over as they are."""

    panel: StoredPanel
    pair: str
    files: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return sum(rows for _, rows in self.files)

    def spread(self, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of each column, NaN if it has none; no row is read for this."""
        low, high = np.full((2, len(columns)), np.nan, dtype=np.float32)
        for name, _ in self.files:
            metadata = pq.read_metadata(self.panel.folder / name)
            places = [self.panel.columns.index(column) for column in columns]
            for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
                known = [group.column(place).statistics for place in places]
                known = [(s.min, s.max) if s is not None and s.has_min_max else (np.nan, np.nan) for s in known]
                smallest, largest = np.array(known, dtype=np.float32).reshape(-1, 2).T
                low, high = np.fmin(low, smallest), np.fmax(high, largest)
        return low, high


def _decode_file(path: Path, columns: list[str], start: int, stop: int) -> pa.Table:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            groups, before = _groups_between(file.metadata, start, stop)
            table = file.read_row_groups(groups, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())}): make the table anew") from error
    return table.slice(start - before, max(stop - start, 0))


def write_panel(folder: Path, parts: Iterable[tuple[str, "pd.DataFrame | StoredFiles"]]) -> None:
    """Write a panel table as its parts come: `folder` appears when it is whole, or not at all.

    `parts` are (pair, rows) in alphabetical order of the pairs and in order of date; a pair may come in several parts,
    one after the other. Files of another folder are linked, not copied, where the file system can. What `parts.facts`
    says, if there is such a mapping, is kept in `panel.json`. An existing folder is replaced at the end, so that
    `parts` may read from it.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with _Writer(draft) as writer, _closing(storable(parts)) as items:
            for pair, rows in items:
                if isinstance(rows, StoredFiles):
                    writer.take_over(pair, rows)
                else:
                    writer.add(pair, rows)
        writer.describe(getattr(parts, "facts", {}))
    except BaseException:  # an interrupt, too, leaves nothing behind
        shutil.rmtree(draft)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)


@contextmanager
def _closing(parts: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """An iterator over the parts; one that holds resources lets them go at once, also after an error."""
    items = iter(parts)
    try:
        yield items
    finally:
        getattr(items, "close", lambda: None)()


def storable(parts: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, "pd.DataFrame | StoredFiles"]]:
    """The parts in the form in which they are cheapest to store: that of their `for_storage()`, if they have one."""
    return parts.for_storage() if hasattr(parts, "for_storage") else parts


def parts_of(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (pair, rows) of each run of rows of one pair."""
    codes, pairs = pd.factorize(table["pair"])
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    for start, stop in pairwise(edges if len(table) else []):
        yield str(pairs[codes[start]]), table.iloc[start:stop]


class _Writer:
    """Writes the files of one pair after the other, and remembers what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[dict[str, Any]] = []
        self.schema: pa.Schema | None = None
        self.file: pq.ParquetWriter | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def add(self, pair: str, rows: pd.DataFrame) -> None:
        """Write some rows behind those of the same pair, or begin the next pair."""
        if rows.empty:
            return
        pair = str(pair)
        table = _encode(pair, rows)
        self._follow(pair, rows["date"], table.schema)
        if self.file is None:
            self.file = pq.ParquetWriter(
                self.folder / self._name_file(pair),
                self.schema,
                compression="zstd",
                use_dictionary=["pair"],  # floats hardly repeat: a dictionary of them costs four times the time
                use_byte_stream_split=[f.name for f in self.schema if pa.types.is_floating(f.type)],
            )
        self.file.write_table(table, row_group_size=len(rows))
        self._count(len(rows))

    def take_over(self, pair: str, stored: StoredFiles) -> None:
        """Begin a pair with files of another folder."""
        if not len(stored):
            return
        ends = [stored.panel.read(pair, ["date"], start=row, stop=row + 1) for row in (0, len(stored) - 1)]
        schema = pq.read_schema(stored.panel.folder / stored.files[0][0]).remove_metadata()
        self._follow(pair, pd.concat(ends)["date"].drop_duplicates(), schema)
        self._close()
        for name, rows in stored.files:
            source, target = stored.panel.folder / name, self.folder / self._name_file(pair)
            try:
                target.hardlink_to(source)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, target)
            self._count(rows)

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Write `panel.json`."""
        if not self.written:
            raise DataError("a panel table without rows cannot be stored: no pair has any")
        contents = {
            "format": FORMAT,
            "agent_market": __version__,
            "columns": {field.name: str(field.type) for field in self.schema if field.name != "pair"},
            "pairs": self.written,
            "facts": dict(facts),
        }
        (self.folder / CONTENTS).write_text(json.dumps(contents, indent=1), encoding="utf-8")

    def _follow(self, pair: str, date: pd.Series, schema: pa.Schema) -> None:
        """Check that these rows can follow those written before, and begin the pair if it is a new one."""
        self._check(pair, date, schema)
        if self._newest != pair:
            self._close()
            self.written.append({"pair": pair, "rows": 0, "first": date.iloc[0].isoformat(), "last": "", "files": []})
        self.written[-1]["last"] = date.iloc[-1].isoformat()

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def _name_file(self, pair: str) -> str:
        taken = {file["file"] for part in self.written for file in part["files"]}
        self.written[-1]["files"].append({"file": file_name(pair, taken), "rows": 0})
        return self.written[-1]["files"][-1]["file"]

    def _count(self, rows: int) -> None:
        self.written[-1]["rows"] += rows
        self.written[-1]["files"][-1]["rows"] += rows

    def _check(self, pair: str, date: pd.Series, schema: pa.Schema) -> None:
        """Raise unless these rows can follow those written before."""
        if self.schema is None:
            self.schema = schema
        if schema != self.schema:
            unlike = {*schema.names, *self.schema.names} - {
                name for name in schema.names if _type(schema, name) == _type(self.schema, name)
            }
            raise DataError(
                f"{pair} has other columns or types than the rows before it: {', '.join(sorted(unlike)) or 'the order'}"
            )
        if self._newest is not None and pair < self._newest:
            raise DataError(
                f"{pair} comes after {self._newest}: a table's pairs must be in alphabetical order, each once"
            )
        follows = self._newest != pair or date.iloc[0] > pd.Timestamp(self.written[-1]["last"])
        if not (follows and date.is_monotonic_increasing and date.is_unique):
            raise DataError(f"the rows of {pair} are not in order of date, or a date stands twice; sort them")

    @property
    def _newest(self) -> str | None:
        return self.written[-1]["pair"] if self.written else None


def _encode(pair: str, rows: pd.DataFrame) -> pa.Table:
    """The rows as Arrow keeps them, `pair` as a dictionary of one word."""
    if list(rows.columns[:2]) != ["pair", "date"]:
        raise DataError(f"a panel table begins with the columns pair and date, found {list(rows.columns[:2])}")
    if not (rows["pair"] == pair).all():
        raise DataError(f"rows that are to be stored as {pair} are of {list(rows['pair'].unique())[:3]}")
    table = pa.Table.from_pandas(rows.drop(columns="pair"), preserve_index=False)
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), [pair])
    return table.add_column(0, "pair", name).replace_schema_metadata()


def file_name(pair: str, taken: set[str]) -> str:
    """A name for a pair's file, `BTC_USDT.parquet`, that no other one has, on any file system."""
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", pair)
    lower = {name.lower() for name in taken}
    names = (f"{stem}{'' if n == 0 else f'~{n}'}.parquet" for n in range(len(taken) + 1))
    return next(name for name in names if name.lower() not in lower)


def _type(schema: pa.Schema, name: str) -> Any:
    return schema.field(name).type if name in schema.names else None


def _groups_between(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold rows `start` to `stop`, and the number of rows before the first of them."""
    edges = np.cumsum([0, *(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))])
    groups = [i for i in range(metadata.num_row_groups) if edges[i] < stop and edges[i + 1] > start]
    return groups, int(edges[groups[0]]) if groups else start
