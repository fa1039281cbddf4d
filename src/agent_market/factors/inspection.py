"""What a user wants to see of factors: a table of a whole file, and one factor on a simulated market."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.errors import AgentMarketError, FactorError
from agent_market.factors.checks import Checked, check
from agent_market.factors.engine import compute_factors
from agent_market.factors.expression import Names, canonical
from agent_market.factors.factor_set import included, load_factors
from agent_market.factors.files import REPORT, is_factor_file, parse_factor_file
from agent_market.factors.identity import key, rank_key, shape_key
from agent_market.factors.qlib_text import to_qlib
from agent_market.factors.sources import INCLUDE, SUFFIXES, bad_name, factor_sets, read_source
from agent_market.factors.tokens import reason
from agent_market.market import MarketOptions, simulate


def check_source(factor_set: str, *, strict: bool = False, library: Names | None = None) -> pd.DataFrame:
    """One row per factor of a set or file of any format, with the columns `kind`, `name`, `accepted`, `reason`, `note`,
    `canonical`, `look_back` (candles) and `unit`.

    `strict` rejects what depends on the unit of price or volume, too. A ParameterError if the file cannot be read.
    """
    source, content = read_source(factor_set)
    if is_factor_file(content):
        rows = parse_factor_file(source, content, library=library).rows[list(REPORT)]
        return _strictly(rows) if strict else rows
    rows = [_included(name, Path(source).parent) for name in included(source, content)]
    for name, text in content.items():
        if name != INCLUDE:
            rows.append(_row(name, text, strict, library))
    return pd.DataFrame(rows, columns=list(REPORT))


def _row(name: object, text: object, strict: bool, library: Names | None) -> dict:
    row = dict.fromkeys(REPORT, "") | {"kind": "factor", "name": name, "accepted": False, "look_back": 0}
    if why := bad_name(name):
        return row | {"reason": f"{name!r} {why}"}
    try:
        checked = check(text, strict=strict, library=library)
    except FactorError as error:
        return row | {"reason": reason(error)}
    notes = [*checked.notes, *(warning.split("\n")[0] for warning in checked.warnings)]
    facts = {"note": "; ".join(notes), "canonical": checked.canonical, "look_back": checked.look_back}
    return row | facts | {"accepted": True, "unit": checked.unit}


def _included(name: str, folder: Path) -> dict:
    row = dict.fromkeys(REPORT, "") | {"kind": "set", "name": name, "accepted": True, "look_back": 0}
    try:
        path = str(folder / name) if (folder / name).is_file() else name
        return row | {"note": f"{len(load_factors(path))} factors"}
    except AgentMarketError as error:
        return row | {"accepted": False, "reason": str(error).split("\n")[0]}


def _strictly(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a file, those that depend on a unit rejected."""
    rows = rows.copy()
    for index, row in rows[rows["accepted"].astype(bool)].iterrows():
        try:
            check(row["canonical"], strict=True)
        except FactorError as error:
            rows.loc[index, ["accepted", "reason"]] = False, reason(error)
    return rows


@dataclass(frozen=True)
class Portrait:
    """All there is to say about one factor without a market of one's own."""

    text: str
    checked: Checked
    keys: Mapping[str, str]

    def lines(self) -> list[str]:
        """What the command line shows."""
        c = self.checked
        memory = ", what is older fades away" if c.is_recursive else ""
        return [
            f"canonical  {c.canonical}",
            f"look-back  {c.look_back} candles{memory}",
            f"unit       {c.unit or 'none: it compares among pairs'}",
            *(f"{name:<10} {value}" for name, value in self.keys.items()),
            *(f"note       {note}" for note in c.notes),
            *("warning    " + warning.replace("\n", "\n           ") for warning in c.warnings),
        ]


def describe(text: str, *, library: Names | None = None) -> Portrait:
    """The canonical form, look-back, unit and keys of an expression."""
    checked = check(text, library=library)
    keys = {"key": key, "rank key": rank_key, "shape key": shape_key}
    return Portrait(text, checked, {name: function(checked.canonical) for name, function in keys.items()})


def draw(expression: str, path: Path, *, n_candles: int = 500, n_pairs: int = 4, seed: int = 7) -> Path:
    """Write an HTML page with the factor on the last `n_candles` hours of a simulated market, and give its path."""
    from plotly.subplots import make_subplots

    needed = check(expression).look_back
    market = MarketOptions(n_pairs=n_pairs, n_candles=n_candles + needed, seed=seed)
    candles = simulate(market)
    values = compute_factors(candles, {"factor": expression}, timeframe=market.timeframe)["factor"]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.4, 0.6], vertical_spacing=0.04)
    for pair, rows in candles.groupby("pair", observed=True).indices.items():
        shown = rows[-n_candles:]
        dates, close = candles["date"].iloc[shown], candles["close"].iloc[shown].to_numpy()
        figure.add_scatter(x=dates, y=close / close[0], name=f"{pair} close", legendgroup=pair, row=1, col=1)
        known = values.iloc[shown].astype(np.float64)
        figure.add_scatter(x=dates, y=known, name=str(pair), legendgroup=pair, showlegend=False, row=2, col=1)
    figure.update_yaxes(title="close, first = 1", row=1, col=1)
    figure.update_yaxes(title="factor", row=2, col=1)
    figure.update_layout(title=expression, template="plotly_white", height=700, hovermode="x unified")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs=True)
    return path


def convert(factors: str, dialect: str) -> tuple[list[str], list[str]]:
    """An expression, or each factor of a file or packaged set as a line of YAML, in the dialect `native` or `qlib`.

    Second come the factors that cannot be written in that dialect, each with the reason.
    """
    write = {"native": str, "qlib": to_qlib}[dialect]
    if not factors.endswith(SUFFIXES) and factors not in factor_sets():
        return [write(canonical(factors))], []
    lines, failed = [], []
    for name, text in load_factors(factors).items():
        try:
            lines.append(f'{name}: "{write(text)}"')
        except FactorError as error:
            failed.append(f"{name}: {error}")
    return lines, failed
