"""Parts of a page of the report: headings with sentences, figures and tables."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.errors import DataError
from agent_market.evaluation.formatting import table_cells

if TYPE_CHECKING:
    import jinja2
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Table:
    """A table with what it shows (`title`) and how it is read (`note`); cells are written by `format_value`."""

    data: pd.DataFrame
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, sentences below it, then figures and tables in their order; `figures` maps a heading to a figure.

    `notes` says below a figure's heading how it is read.
    """

    title: str
    text: Sequence[str] = ()
    figures: Mapping[str, "go.Figure"] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


def section_views(sections: Sequence[Section | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sections as the templates take them, JSON-ready; those that are so already stay as they are."""
    return [
        dict(section)
        if isinstance(section, Mapping)
        else {
            "id": _anchor(section.title),
            "title": section.title,
            "text": list(section.text),
            "figures": figure_views(section.figures, prefix=_anchor(section.title), notes=section.notes),
            "tables": [
                {"title": table.title, "note": table.note, "cells": table_cells(table.data)} for table in section.tables
            ],
        }
        for section in sections
    ]


def figure_views(
    figures: Mapping[str, "go.Figure"], *, prefix: str = "figure", notes: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Figures as the templates take them: name, note, an id of the page, and the JSON to draw from."""
    return [
        {"name": name, "note": (notes or {}).get(name, ""), "id": f"{prefix}-{number}", "json": _script_json(figure)}
        for number, (name, figure) in enumerate(figures.items(), 1)
    ]


def page_names(models: Sequence[str]) -> dict[str, str]:
    """Model → the file of its page below the report's folder.

    Raises:
        DataError: Two models would have the same file.
    """
    names = {model: f"models/{re.sub(r'[^A-Za-z0-9_-]+', '_', model)}.html" for model in models}
    if len(set(names.values())) < len(names):
        raise DataError(
            f"models {', '.join(map(repr, names))} would have pages of the same name; let them differ in letters, "
            "digits, _ or -"
        )
    return names


@functools.cache
def template(name: str) -> "jinja2.Template":
    """A template of the report's pages."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("agent_market.evaluation", "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _script_json(figure: "go.Figure") -> str:
    return script_text(json.loads(figure.to_json()))


def script_text(value: Any) -> str:
    """A value as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
