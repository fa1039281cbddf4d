"""Opening the vault: what the last segment says of the library, and the line in the ledger that it costs."""

from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession

from agent_market import __version__
from agent_market.configured import check_parameters
from agent_market.errors import DataError
from agent_market.flow.archive import code_state
from agent_market.mining.bench import Bench
from agent_market.mining.ledger import vault_record
from agent_market.mining.library import names_of
from agent_market.mining.vault import look_into


def open_vault(*, env: str | None) -> list[str]:
    """Lines to show: how often the vault was opened, and each factor of the library on it.

    The line in the ledger is written before anything is computed.

    Raises:
        DataError: There are no candles, or no factor in the library.
    """
    with KedroSession.create(env=env) as session:
        context = session.load_context()
        parameters = check_parameters(context.config_loader)
        catalog = context.catalog
        library, candles = catalog.load("factor_library"), catalog.load("candles")
        factors = names_of(library)
        if not factors:
            raise DataError("the library holds no factor: mine first, `kedro run --pipelines factor_mining`")
        bench = Bench(candles, parameters.mining, parameters.market)
        look = bench.look(bench.segments.vault)
        openings = bench.past(catalog.load("mining_ledger")).openings + 1
        keys = {name: facts["rank_key"] for name, facts in library["factors"].items()}
        catalog.save("mining_ledger_entry", vault_record(look, factors=keys, code=_code_version(context.project_path)))
    return [
        f"The vault, {look.span[0]} to {look.span[1]}, was opened {openings} time{'s' * (openings != 1)}; the ledger "
        "says so.",
        *_table(bench, factors, library),
        "What is chosen by these figures has seen the vault: none is left to test it on.",
    ]


def _table(bench: Bench, factors: dict[str, str], library: dict[str, Any]) -> list[str]:
    market = bench.market
    before = {name: facts["gate"] for name, facts in library["factors"].items()}
    how = {"timeframe": market.timeframe, "max_gap": market.max_gap, "before": before}
    figures = look_into(bench.candles, bench.segments.vault, factors, bench.options, **how)
    width = max(len(name) for name in factors)
    lines = [f"{'factor':<{width}}  gate IC  vault IC      t        p  blocks"]
    for row in figures.itertuples(index=False):
        lines.append(
            f"{row.name:<{width}}  {row.gate_ic:+.4f}   {row.ic:+.4f}  {row.t:+5.1f}  {row.p:7.1g}  {row.blocks:6}"
        )
    return lines


def _code_version(project: Path) -> str:
    """The commit of the project, with a mark if files differ from it; the package's version outside of git."""
    state = code_state(project)
    return state["commit"][:12] + ("+" if state["changed"] else "") if state else __version__
