"""Named sets of factors: the packaged ones, and files of the same form."""

import json
import re
from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import yaml

from agent_market.errors import FactorError, ParameterError
from agent_market.factors.expression import canonical

INCLUDE = "include"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_SUFFIXES = (".yml", ".yaml", ".json")


def load_factors(factor_set: str, factors: Mapping[str, str] | None = None) -> dict[str, str]:
    """The factors of a set, then the further `factors`: name to canonical expression, in the order written.

    `factor_set` is the name of a packaged set (`factor_sets()`) or the path of a YAML or JSON file of the
    form `{name: expression}`. Such a file may begin with `include: [set or file, …]`; the path of an
    included file is taken from the folder of the file that includes it.
    """
    loaded = _load(factor_set, Path(), ())
    _merge(loaded, _canonical(factors or {}, "features.factors"), "features.factors")
    if not loaded:
        raise ParameterError(f"features.factor_set: {factor_set!r} and features.factors hold no factor")
    return loaded


def factor_sets() -> list[str]:
    """The names of the packaged sets."""
    return sorted(Path(file.name).stem for file in _packaged().iterdir() if file.name.endswith(".yml"))


def _packaged():
    return resources.files("agent_market.factors") / "sets"


def _load(factor_set: str, folder: Path, parents: tuple[str, ...]) -> dict[str, str]:
    source, text = _read(factor_set, folder)
    if source in parents:
        raise ParameterError(f"features.factor_set: {source} includes itself ({' > '.join((*parents, source))})")
    content = _decode(text, source)
    included = content.pop(INCLUDE, [])
    if not isinstance(included, list) or not all(isinstance(name, str) for name in included):
        raise ParameterError(f"features.factor_set: {INCLUDE!r} in {source} must be a list of sets, found {included!r}")
    loaded: dict[str, str] = {}
    for name in included:
        _merge(loaded, _load(name, Path(source).parent, (*parents, source)), name)
    _merge(loaded, _canonical(content, source), source)
    return loaded


def _read(factor_set: str, folder: Path) -> tuple[str, str]:
    """What a set is called in messages, and its text."""
    if not factor_set.endswith(_SUFFIXES):
        if factor_set in factor_sets():
            return factor_set, (_packaged() / f"{factor_set}.yml").read_text(encoding="utf-8")
        close = get_close_matches(factor_set, factor_sets(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ParameterError(
            f"features.factor_set: unknown set {factor_set!r}{hint}; "
            f"known sets: {', '.join(factor_sets())}; a file must end in {', '.join(_SUFFIXES)}"
        )
    path = folder / factor_set
    try:
        return str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"features.factor_set: cannot read the file {path}: {error}") from None


def _decode(text: str, source: str) -> dict:
    try:
        if source.endswith(".json"):
            content = json.loads(text, object_pairs_hook=_unique)
        else:
            content = yaml.load(text, _UniqueLoader)
    except (json.JSONDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ParameterError(f"features.factor_set: {source} cannot be read: {error}") from None
    except _DuplicateError as error:
        raise ParameterError(f"features.factor_set: {source} holds {error} twice; rename one of them") from None
    if not isinstance(content, dict):
        raise ParameterError(
            f"features.factor_set: {source} must hold {{name: expression}}, found {type(content).__name__}"
        )
    return content


def _canonical(factors: Mapping, source: str) -> dict[str, str]:
    return {_checked(name, source): _expression(name, text, source) for name, text in factors.items()}


def _checked(name: object, source: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in ("pair", "date", INCLUDE):
        raise FactorError(
            f"{name!r} in {source} cannot name a factor: use 1 to 48 small letters, digits and underscores, "
            f"a letter first, and none of pair, date, {INCLUDE}"
        )
    return name


def _expression(name: str, text: str, source: str) -> str:
    try:
        return canonical(text)
    except FactorError as error:
        raise FactorError(f"factor {name!r} of {source}: {error}") from None


def _merge(loaded: dict[str, str], more: dict[str, str], source: str) -> None:
    if twice := sorted(loaded.keys() & more.keys()):
        raise FactorError(f"{source} names factors that are there already: {', '.join(twice)}; rename them")
    loaded.update(more)


class _DuplicateError(Exception):
    pass


def _unique(pairs: list[tuple[Hashable, object]]) -> dict:
    content = {}
    for key, value in pairs:
        if key in content:
            raise _DuplicateError(repr(key))
        content[key] = value
    return content


class _UniqueLoader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error, not a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        return _unique(
            [(self.construct_object(key, deep), self.construct_object(value, deep)) for key, value in node.value]
        )


_UniqueLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
    lambda loader, node: loader.construct_mapping(node, deep=True),
)
