"""Files and packaged sets of factors as they lie: their text, what it decodes to, and how factors are named."""

import json
import re
from collections.abc import Hashable
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import yaml

from agent_market.errors import ParameterError

INCLUDE = "include"
SUFFIXES = (".yml", ".yaml", ".json")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def factor_sets() -> list[str]:
    """The names of the packaged sets."""
    return sorted(Path(file.name).stem for file in _packaged().iterdir() if file.name.endswith(".yml"))


def read_source(factor_set: str, folder: Path = Path()) -> tuple[str, dict]:
    """What a set is called in messages, and its content; a path is taken from `folder`."""
    source, text = _text(factor_set, folder)
    return source, _decoded(text, source)


def bad_name(name: object) -> str | None:
    """Why something cannot name a factor, or None."""
    if isinstance(name, str) and _NAME.fullmatch(name) and name not in ("pair", "date", INCLUDE):
        return None
    return (
        "cannot name a factor: use 1 to 64 small letters, digits and underscores, a letter first, and none of "
        f"pair, date, {INCLUDE}"
    )


def _packaged():
    return resources.files("agent_market.factors") / "sets"


def _text(factor_set: str, folder: Path) -> tuple[str, str]:
    if not factor_set.endswith(SUFFIXES):
        if factor_set in factor_sets():
            return factor_set, (_packaged() / f"{factor_set}.yml").read_text(encoding="utf-8")
        close = get_close_matches(factor_set, factor_sets(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ParameterError(
            f"features.factor_set: unknown set {factor_set!r}{hint}; "
            f"known sets: {', '.join(factor_sets())}; a file must end in {', '.join(SUFFIXES)}"
        )
    path = folder / factor_set
    try:
        return str(path), path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"features.factor_set: cannot read the file {path}: {error}") from None


def _decoded(text: str, source: str) -> dict:
    try:
        if source.endswith(".json"):
            content = json.loads(text, object_pairs_hook=_unique)
        else:
            content = yaml.load(text, _UniqueLoader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ParameterError(f"features.factor_set: {source} cannot be read: {error}") from None
    except _DuplicateError as error:
        raise ParameterError(f"features.factor_set: {source} holds {error} twice; rename one of them") from None
    if not isinstance(content, dict):
        raise ParameterError(
            f"features.factor_set: {source} must hold {{name: expression}}, found {type(content).__name__}"
        )
    return content


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
