"""The files of the older tool, `freqai_features.json` and `freqai_expressions.json`: read row by row, and written.

A features file holds `features` (a type and a period each) and `feature_combos` (formulas of features); an
expressions file holds `expressions`, and the `feature_combos` that they may use. No row is dropped: each is
accepted, with its canonical expression, or rejected, with the reason. Scores and all other columns are kept.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import FactorError, ParameterError
from agent_market.factors import macros
from agent_market.factors.checks import Checked, check
from agent_market.factors.expression import Names
from agent_market.factors.sources import bad_name, read_source
from agent_market.factors.tokens import reason

REPORT = ("kind", "name", "accepted", "reason", "note", "canonical", "look_back", "unit")
"""Columns of the rows of a file that say what was made of them; all others are the file's own."""

_LISTS = {"features": "feature", "feature_combos": "combo", "expressions": "expression"}
_TEXT_KEYS = {"combo": "formula", "expression": "expression"}
_FEATURE_KEYS = (
    *("name", "type", "period", "score", "score_metric", "correlation", "mutual_info", "importance", "description"),
)


@dataclass(frozen=True)
class FactorFile:
    """What a file holds: one table row per row of the file, and what else stands in it.

    `rows` has the columns of `REPORT` and those of the file; `kind` is feature, combo or expression. A key that a
    row does not have is NaN, a null is None.
    """

    source: str
    rows: pd.DataFrame
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def factors(self) -> dict[str, str]:
        """Canonical expression by name, of the rows that were accepted: of an expressions file the expressions."""
        rows = self.rows[self.rows["accepted"].astype(bool)]
        if (rows["kind"] == "expression").any():
            rows = rows[rows["kind"] == "expression"]
        return dict(zip(rows["name"], rows["canonical"], strict=True))

    @property
    def rejected(self) -> pd.DataFrame:
        """The rows that cannot be read, each with its reason."""
        return self.rows[~self.rows["accepted"].astype(bool)]


def read_features_file(path: str | Path, *, library: Names | None = None) -> FactorFile:
    """The features and combinations of a `freqai_features.json`; a ParameterError if it is none."""
    return _read(path, "features", library)


def read_expressions_file(path: str | Path, *, library: Names | None = None) -> FactorFile:
    """The expressions and combinations of a `freqai_expressions.json`; a ParameterError if it is none."""
    return _read(path, "expressions", library)


def is_factor_file(content: Mapping[str, Any]) -> bool:
    """Whether a decoded file has one of the two formats, rather than {name: expression}."""
    return any(isinstance(content.get(name), list) for name in ("features", "expressions"))


def parse_factor_file(source: str, content: Mapping[str, Any], *, library: Names | None = None) -> FactorFile:
    """The rows of a decoded file of either format."""
    lists = {name: content[name] for name in _LISTS if isinstance(content.get(name), list)}
    header = {name: value for name, value in content.items() if name not in lists}
    reader = _Reader(library or {})
    for name, rows in lists.items():
        for row in rows:
            reader.add(_LISTS[name], row)
    return FactorFile(source, pd.DataFrame(reader.rows, columns=reader.columns, dtype=object), header)


def write_features_file(path: str | Path, rows: pd.DataFrame, *, header: Mapping[str, Any] | None = None) -> None:
    """Write features with their scores as a `freqai_features.json`.

    `rows` is what `read_features_file` gives, or any table with `name`, `expression` and score columns: a name such as
    `feat_rsi_14` is written with its type and period, any other factor with the type `expression`. `header` holds the
    further keys: `label_period_candles`, `timeframe`, `exchange`, `pairs`, `selection_methods`…
    """
    _write(path, features_content(rows, header))


def features_content(rows: pd.DataFrame, header: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `write_features_file` writes, but for the time of writing."""
    kinds = _kinds(rows, "feature")
    is_report = "accepted" in rows.columns  # rows that were read stay as they were, the rejected ones too
    features = _file_rows(rows, kinds, "feature")
    features = features if is_report else [_feature_row(row) for row in features]
    combos = _file_rows(rows, kinds, "combo")
    return {**(header or {}), "features": features, **({"feature_combos": combos} if combos else {})}


def write_expressions_file(path: str | Path, rows: pd.DataFrame, *, header: Mapping[str, Any] | None = None) -> None:
    """Write expressions with their scores as a `freqai_expressions.json`; `rows` has `name` and `expression`."""
    kinds = _kinds(rows, "expression")
    combos = _file_rows(rows, kinds, "combo")
    expressions = _file_rows(rows, kinds, "expression")
    _write(path, {**(header or {}), **({"feature_combos": combos} if combos else {}), "expressions": expressions})


# ---- reading


def _read(path: str | Path, wanted: str, library: Names | None) -> FactorFile:
    source, content = read_source(str(Path(path)))
    if not isinstance(content.get(wanted), list):
        raise ParameterError(f"{source} is no file of {wanted}: it has no list {wanted!r}, but {sorted(content)[:12]}")
    return parse_factor_file(source, content, library=library)


class _Reader:
    """Takes in the rows of a file one after the other; features and combinations are known to later rows."""

    def __init__(self, library: Names) -> None:
        self.library = library
        self.rows: list[dict[str, Any]] = []
        self.columns: list[str] = list(REPORT)
        self.known: dict[str, str] = {}  # canonical expressions of features and combinations
        self.names: dict[str, int] = {}
        self.keys: dict[str, str] = {}

    def add(self, kind: str, row: Any) -> None:
        """Accept or reject one row."""
        own = dict(row) if isinstance(row, dict) else {"value": row}
        report: dict[str, Any] = dict.fromkeys(REPORT, "") | {"kind": kind, "accepted": False, "look_back": 0}
        report["name"] = own.get("name")
        try:
            if not isinstance(row, dict):
                raise FactorError(f"a row must be an object, found {type(row).__name__}")
            report["name"] = name = self._name(kind, own)
            checked = check(*self._text(kind, own), library=self.library, columns=self.known)
            report |= self._accepted(kind, name, checked)
        except FactorError as error:
            report["reason"] = reason(error)
        kept = {_own_column(key): value for key, value in own.items() if key != "name"}
        self.columns += [key for key in kept if key not in self.columns]
        self.rows.append(kept | report)

    def _name(self, kind: str, row: dict[str, Any]) -> str:
        name = row.get("name")
        if name is None and kind == "feature":
            name = "_".join(str(part) for part in ("feat", row.get("type"), row.get("period")) if part is not None)
        if why := bad_name(name):
            raise FactorError(f"{str(name)[:80]!r} {why}")
        if name in self.names:
            raise FactorError(f"the name {name!r} stands twice, first in row {self.names[name]}; rename one of them")
        self.names[name] = len(self.rows) + 1
        return name

    def _text(self, kind: str, row: dict[str, Any]) -> tuple[str]:
        """The expression that a row stands for."""
        key = _TEXT_KEYS.get(kind, "expression" if row.get("type") == "expression" else None)
        if key is None:
            try:
                return (macros.feature(str(row.get("type")).lower(), _period(row.get("period"))),)
            except ValueError as error:
                raise FactorError(str(error)) from None
        if row.get(key) is None:
            raise FactorError(f"the row has no {key}")
        return (row[key],)

    def _accepted(self, kind: str, name: str, checked: Checked) -> dict[str, Any]:
        notes = [*checked.notes, *(warning.split("\n")[0] for warning in checked.warnings)]
        if (first := self.keys.setdefault(checked.key, name)) != name:
            notes.append(f"says the same as {first}")
        if kind != "expression":
            self.known[name] = checked.canonical
        return {
            "accepted": True,
            "note": "; ".join(notes),
            "canonical": checked.canonical,
            "look_back": checked.look_back,
            "unit": checked.unit,
        }


def _period(value: Any) -> Any:
    """A period as the older tool takes it: 14, 14.0 and "14" are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


# ---- writing


def _own_column(key: str) -> str:
    return f"file.{key}" if key in REPORT else key


def _kinds(rows: pd.DataFrame, default: str) -> pd.Series:
    return rows["kind"] if "kind" in rows.columns else pd.Series(default, rows.index)


def _file_rows(rows: pd.DataFrame, kinds: pd.Series, kind: str) -> list[dict[str, Any]]:
    """The rows of a kind with the file's own columns; what is NaN is left out, None is kept."""
    found = []
    for record in rows[kinds == kind].to_dict("records"):
        if "value" in record and "name" in record and record["name"] is None and not _is_absent(record["value"]):
            found.append(record["value"])  # it was no object
            continue
        own = {key.removeprefix("file."): value for key, value in record.items() if key == "name" or key not in REPORT}
        found.append({key: _plain(value) for key, value in own.items() if not _is_absent(value)})
    return found


def _feature_row(row: dict[str, Any]) -> dict[str, Any]:
    """A feature with all columns of the format, its type and period from its name if they are not given."""
    if "type" not in row:
        row = row | _type_and_period(row)
    return {key: row.get(key) for key in _FEATURE_KEYS} | row


def _type_and_period(row: dict[str, Any]) -> dict[str, Any]:
    name = str(row.get("name"))
    kind, _, period = name.removeprefix("feat_").rpartition("_")
    if name.startswith("feat_") and period.isdigit() and kind in macros.FEATURES:
        return {"type": kind, "period": int(period)}
    if name.removeprefix("feat_") in macros.FEATURES and name.startswith("feat_"):
        return {"type": name.removeprefix("feat_"), "period": None}
    if not isinstance(row.get("expression"), str):
        raise ParameterError(f"the feature {name!r} has neither a type nor an expression to be written with")
    return {"type": "expression", "period": None}


def _is_absent(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _write(path: str | Path, content: dict[str, Any]) -> None:
    content = {"generated_at": datetime.now(UTC).isoformat(), **content}
    Path(path).write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
