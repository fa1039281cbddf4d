"""Named sets of factors: the packaged ones, and files."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from agent_market.errors import FactorError, ParameterError
from agent_market.factors.expression import Names, canonical
from agent_market.factors.sources import INCLUDE, bad_name, factor_sets, read_source

__all__ = ["OnRejected", "factor_sets", "load_factors"]

log = logging.getLogger(__name__)

OnRejected = Literal["error", "warn"]

_SHOWN = 5


def load_factors(
    factor_set: str,
    factors: Mapping[str, str] | None = None,
    *,
    on_rejected: OnRejected = "error",
    library: Names | None = None,
) -> dict[str, str]:
    """The factors of a set, then the further `factors`: name to canonical expression, in the order written.

    `factor_set` is the name of a packaged set (`factor_sets()`) or the path of a YAML or JSON file of the
    form `{name: expression}`, or of a `freqai_features.json` or `freqai_expressions.json`. A file of the first form may
    begin with `include: [set or file, …]`; the path of an included file is taken from the folder of the file that
    includes it. Rows of a `freqai_*.json` that cannot be read are an error that names them, or, with
    `on_rejected="warn"`, are left out and logged. `library` gives the expressions of `@name`.
    """
    loader = _Loader(on_rejected, library or {})
    loaded = loader.load(factor_set, Path(), ())
    _merge(loaded, loader.canonical(factors or {}, "features.factors"), "features.factors")
    if not loaded:
        raise ParameterError(f"features.factor_set: {factor_set!r} and features.factors hold no factor")
    return loaded


class _Loader:
    def __init__(self, on_rejected: OnRejected, library: Names) -> None:
        self.on_rejected, self.library = on_rejected, library

    def load(self, factor_set: str, folder: Path, parents: tuple[str, ...]) -> dict[str, str]:
        source, content = read_source(factor_set, folder)
        if source in parents:
            raise ParameterError(f"features.factor_set: {source} includes itself ({' > '.join((*parents, source))})")
        loaded: dict[str, str] = {}
        for name in included(source, content):
            _merge(loaded, self.load(name, Path(source).parent, (*parents, source)), name)
        own = {name: text for name, text in content.items() if name != INCLUDE}
        _merge(loaded, self._own(source, own), source)
        return loaded

    def _own(self, source: str, content: dict) -> dict[str, str]:
        from agent_market.factors import files  # reads tables, which most sets do without

        if not files.is_factor_file(content):
            return self.canonical(content, source)
        read = files.parse_factor_file(source, content, library=self.library)
        rejected = [f"{row.kind} {row.name!r}: {row.reason}" for row in read.rejected.itertuples(index=False)]
        if rejected and self.on_rejected == "error":
            more = f"\n  … and {len(rejected) - _SHOWN} more" * (len(rejected) > _SHOWN)
            raise FactorError(
                f"features.factor_set: {len(rejected)} of {len(read.rows)} rows of {source} cannot be read; mend them, "
                "or go on without them with features.on_rejected=warn:\n  " + "\n  ".join(rejected[:_SHOWN]) + more
            )
        for row in rejected:
            log.warning("%s: left out %s", source, row)
        return read.factors

    def canonical(self, factors: Mapping, source: str) -> dict[str, str]:
        return {_checked(name, source): self._expression(name, text, source) for name, text in factors.items()}

    def _expression(self, name: str, text: str, source: str) -> str:
        try:
            return canonical(text, library=self.library)
        except FactorError as error:
            raise FactorError(f"factor {name!r} of {source}: {error}") from None


def included(source: str, content: Mapping) -> list[str]:
    """The sets that a file takes over."""
    names = content.get(INCLUDE, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ParameterError(f"features.factor_set: {INCLUDE!r} in {source} must be a list of sets, found {names!r}")
    return names


def _checked(name: object, source: str) -> str:
    if why := bad_name(name):
        raise FactorError(f"{name!r} in {source} {why}")
    return name


def _merge(loaded: dict[str, str], more: dict[str, str], source: str) -> None:
    if twice := sorted(loaded.keys() & more.keys()):
        raise FactorError(f"{source} names factors that are there already: {', '.join(twice)}; rename them")
    loaded.update(more)
