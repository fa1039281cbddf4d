"""Features pair by pair, never all in memory: computed piece by piece, and carried on when new candles come.

The values are those of one `compute_factors` call on all candles, bit for bit, whatever the pieces and whatever was
stored before.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from agent_market import parallel
from agent_market.errors import FactorError
from agent_market.factors.engine import compute_factors
from agent_market.factors.expression import canonical, look_back
from agent_market.factors.fingerprints import CandleSource, CandleTable, fingerprint, still_holds
from agent_market.factors.operators import OPERATORS
from agent_market.factors.panel_folder import StoredFiles, StoredPanel
from agent_market.factors.pieces import Piece, Planner, names_in

SLICE_ROWS = 131_072
"""Rows of features that are computed, sent and written at once: of 158 factors, 83 MB."""

MOST_FILES = 30
"""Files of one pair, each from one time that candles were added, before they are made one again."""

Values = dict[str, np.ndarray]  # by pair: (n_factors, n_rows) float32
Item = TypeVar("Item")


def stream_features(
    candles: pd.DataFrame | StoredPanel,
    factors: Mapping[str, str],
    *,
    timeframe: str,
    max_gap: int = 0,
    compat: str = "sane",
    stored: StoredPanel | None = None,
    slice_rows: int = SLICE_ROWS,
    n_jobs: int = 1,
    backend: str | None = None,
    threads: int = 1,
    scratch: Path | None = None,
    check: bool = True,
) -> "FeatureStream":
    """The features of a panel as (pair, rows), one after the other; what they are is said by `compute_factors`.

    `candles` are in memory or on disk. `stored` are features of earlier candles: what of them still holds is taken
    over, the rest is computed. `slice_rows` bounds a piece and so the memory. `n_jobs` and `backend` are joblib's
    (None: the cluster of `compute`, if there is one, or else the backend of a surrounding `joblib.parallel_config`),
    `threads` are those of each job. `scratch` is a folder for values on their way.

    A factor that is NaN or constant on all rows is a FactorError at the end of the stream, unless `check=False`.
    """
    source = CandleTable(candles) if isinstance(candles, pd.DataFrame) else candles
    settings = {"timeframe": timeframe, "max_gap": max_gap, "compat": compat}
    facts = fingerprint(source, factors, settings)
    planner = Planner(source, factors, still_holds(stored, facts, source), slice_rows=slice_rows, **settings)
    how = {**settings, "threads": threads, "check": False}
    return FeatureStream(source, dict(factors), how, facts, stored, planner, n_jobs, backend, scratch, check)


@dataclass(frozen=True, repr=False)
class FeatureStream:
    """Features that are computed while one iterates: (pair, rows) in alphabetical order of the pairs, by date.

    `facts` are their fingerprint, by which a later stream knows what it can take over. It is no iterator: each loop
    over it computes anew.
    """

    source: CandleSource
    factors: Mapping[str, str]
    how: Mapping[str, Any]
    facts: Mapping[str, Any]
    stored: StoredPanel | None
    planner: Planner
    n_jobs: int
    backend: str | None
    scratch: Path | None
    check: bool

    def __iter__(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield (pair, rows); a long pair comes in several parts."""
        for pair, part in self.for_storage():
            if isinstance(part, pd.DataFrame):
                yield pair, part
                continue
            for start in range(0, len(part), self.planner.slice_rows):
                stop = min(start + self.planner.slice_rows, len(part))
                yield pair, part.panel.read(pair, start=start, stop=stop)

    def for_storage(self) -> Iterator[tuple[str, pd.DataFrame | StoredFiles]]:
        """Yield the same, with stored files that hold kept rows alone as they are."""
        spread = _Spread(self.factors)
        with (
            tempfile.TemporaryDirectory(prefix="features-", dir=self.scratch) as scratch,
            parallel.pool(self.n_jobs, self.backend) as pool,
        ):
            for pair, start, values in self._values(pool, _Spool(Path(scratch))):
                if isinstance(values, StoredFiles):
                    spread.see(*values.spread(list(self.factors)), len(values))
                    yield pair, values
                else:
                    spread.see(np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1), values.shape[1])
                    yield pair, self._table(pair, start, values)
        if self.check:
            spread.raise_if_dull()

    def _values(self, pool: parallel.Pool, spool: "_Spool") -> Iterator[tuple[str, int, np.ndarray | StoredFiles]]:
        """Yield (pair, first row, values of all factors): cross-sections are computed first, into the spool."""
        for piece, values in self._compute(pool, self.planner.of_cross_sections()):
            spool.put(piece, values)
        for pairs in self._waves(pool, self.source.rows, self.source.rows.__getitem__):
            files = {pair: self._kept_files(pair) for pair in pairs}
            plans = {pair: self.planner.of_pair(pair, begin=len(files[pair])) for pair in pairs}
            for piece, values in self._compute(pool, [piece for whole, _ in plans.values() for piece in whole]):
                spool.put(piece, values)
            slices = self._compute(pool, [piece for _, slices in plans.values() for piece in slices])
            for pair, (_, own) in plans.items():
                if len(files[pair]):
                    yield pair, 0, files[pair]
                for piece, values in islice(slices, len(own)):
                    yield pair, piece.gives[pair][0], self._assemble(piece, values, spool)
                spool.drop(pair)
            list(slices)

    def _kept_files(self, pair: str) -> "StoredFiles | tuple[()]":
        """The stored files of a pair that can stay as they are; none if they have become many, to make them one."""
        if self.stored is None or pair not in self.stored.rows or self.stored.columns[2:] != tuple(self.factors):
            return ()
        if len(self.stored.files[pair]) > MOST_FILES:
            return ()
        return self.stored.first_files(pair, min(self.planner.since(pair, name) for name in self.factors))

    def _compute(self, pool: parallel.Pool, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Values]]:
        """Yield (piece, its values), in order; from a pool that is not bounded in waves: few results wait then."""
        from joblib import delayed

        waves = [list(pieces)] if pool.bounded else self._waves(pool, pieces, lambda piece: piece.size)
        for wave in waves:
            results = pool(delayed(_compute_piece)(*self._inputs(piece)) for piece in wave if piece.names)
            for piece in wave:
                yield piece, next(results) if piece.names else {}
            list(results)  # a pool is free for the next wave only when it was asked past its last result

    def _waves(self, pool: parallel.Pool, items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
        """Cut items into lists that keep all workers busy and are no larger than that takes."""
        workers, wave, total = pool.workers, [], 0
        for item in items:
            wave.append(item)
            total += size(item)
            if len(wave) >= workers and total >= workers * self.planner.slice_rows:
                yield wave
                wave, total = [], 0
        if wave:
            yield wave

    def _inputs(self, piece: Piece) -> tuple[pd.DataFrame, dict[str, str], Mapping[str, Any], dict[str, slice]]:
        """What a worker needs: candles, factors, how to compute, and which rows of the result are wanted."""
        parts = [self.source.read(pair, start=start, stop=stop) for pair, (start, stop) in piece.reads.items()]
        candles = pd.concat([part.drop(columns="pair") for part in parts], ignore_index=True)
        codes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        candles.insert(0, "pair", pd.Categorical.from_codes(codes, list(piece.reads)))
        wanted, before = {}, 0
        for pair, (first, last) in piece.reads.items():
            if pair in piece.gives:
                start, stop = piece.gives[pair]
                wanted[pair] = slice(before + start - first, before + stop - first)
            before += last - first
        return candles, {name: self.factors[name] for name in piece.names}, self.how, wanted

    def _assemble(self, piece: Piece, values: Values, spool: "_Spool") -> np.ndarray:
        """The values of all factors in a slice, from the piece, from the spool and from what is stored."""
        [(pair, (start, stop))] = piece.gives.items()
        if piece.names == tuple(self.factors):
            return values[pair]
        columns = dict(zip(piece.names, values.get(pair, ()), strict=True)) | spool.take(pair, start, stop)
        if kept := [name for name in self.factors if self.planner.since(pair, name) >= stop]:
            table = self.stored.read(pair, kept, start=start, stop=stop)
            columns |= {name: table[name].to_numpy() for name in kept}
        return np.stack([columns[name] for name in self.factors])

    def _table(self, pair: str, start: int, values: np.ndarray) -> pd.DataFrame:
        keys = self.source.read(pair, ["pair", "date"], start=start, stop=start + values.shape[1])
        keys = keys.reset_index(drop=True).assign(pair=pd.Categorical([pair] * len(keys), categories=[pair]))
        return pd.concat([keys, pd.DataFrame(values.T, columns=list(self.factors), copy=False)], axis=1)


def _compute_piece(
    candles: pd.DataFrame, factors: Mapping[str, str], how: Mapping[str, Any], wanted: Mapping[str, slice]
) -> Values:
    """The work of one worker: values of (n_factors, n_rows) by pair."""
    table = compute_factors(candles, factors, **how)
    values = table[list(factors)].to_numpy().T
    return {pair: values[:, rows] for pair, rows in wanted.items()}


class _Spool:
    """Values that wait on disk for their pair's turn: raw float32, row after row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, dict[tuple[str, ...], tuple[Path, int]]] = {}  # by pair and factors: file, first row

    def put(self, piece: Piece, values: Values) -> None:
        """Keep what a piece gave; pieces of the same factors come in order of their rows, without a hole."""
        for pair, (start, _) in piece.gives.items():
            files = self._files.setdefault(pair, {})
            path, _ = files.setdefault(piece.names, (Path(tempfile.mkstemp(dir=self._folder)[1]), start))
            with path.open("ab") as file:
                file.write(np.ascontiguousarray(values[pair].T).data)

    def take(self, pair: str, start: int, stop: int) -> dict[str, np.ndarray]:
        """The values of rows `start` to `stop` of all factors that wait there."""
        taken = {}
        for names, (path, first) in self._files.get(pair, {}).items():
            if first <= start:
                width = len(names)
                flat = np.fromfile(path, np.float32, (stop - start) * width, offset=(start - first) * width * 4)
                taken |= dict(zip(names, flat.reshape(-1, width).T, strict=True))
        return taken

    def drop(self, pair: str) -> None:
        """Forget a pair."""
        for path, _ in self._files.pop(pair, {}).values():
            path.unlink()


class _Spread:
    """The range of each factor's values, seen part by part."""

    def __init__(self, factors: Mapping[str, str]) -> None:
        self._factors = factors
        self._rows = 0
        self._low = np.full(len(factors), np.nan, dtype=np.float32)
        self._high = self._low.copy()

    def see(self, low: np.ndarray, high: np.ndarray, rows: int) -> None:
        """Take note of the range of each factor in some rows."""
        self._rows += rows
        self._low, self._high = np.fmin(self._low, low), np.fmax(self._high, high)

    def raise_if_dull(self) -> None:
        """Raise if a factor that reads the market says the same, or nothing, on all rows."""
        for (name, text), low, high in zip(self._factors.items(), self._low, self._high, strict=True):
            if low < high or names_in(text) <= {*OPERATORS}:
                continue
            state = "NaN" if np.isnan(low) else f"constant ({low:g})"
            raise FactorError(
                f"factor {name!r} is {state} on all {self._rows} rows: {canonical(text)} looks back {look_back(text)} "
                "candles; use more candles, allow longer gaps with market.max_gap, or change or drop the factor in "
                "features.factors or the file of features.factor_set"
            )
