"""Reading a tree of settings key by key, so that what nobody asked for can be told in the end."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agent_market.errors import ParameterError

SECRETS = ("key", "token", "secret", "password")
"""Parts of a setting's name whose value is not shown."""

_MISSING = object()


class Reader:
    """One section: each setting is taken, dropped with a reason, or told by `rest`."""

    def __init__(self, content: dict[str, Any], path: str, said: list[str] | None = None) -> None:
        self._content = dict(content)
        self._path = path
        self.said = [] if said is None else said

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def path(self, key: str) -> str:
        """Where a setting stands in the file."""
        return f"{self._path}.{key}" if self._path else key

    def say(self, key: str, value: Any, reason: str) -> None:
        """Tell a setting that has no counterpart."""
        hidden = any(word in key.lower() for word in SECRETS) and value not in (None, "")
        shown = " = …" if hidden else f" = {value!r}" if not isinstance(value, dict) else ""
        self.said.append(f"{self.path(key)}{shown}: {reason}")

    def take(self, key: str, default: Any = None) -> Any:
        """A setting's value; it counts as understood."""
        return self._content.pop(key, default)

    def pass_on(self, key: str, path: str, setter: Callable[[str, Any, str], None]) -> None:
        """Hand a setting to `setter` under another name, if it is there and not null."""
        value = self.take(key)
        if value is not None:
            setter(path, value, self.path(key))

    def remaining(self) -> dict[str, Any]:
        """All settings that are left; they count as understood."""
        left, self._content = self._content, {}
        return left

    def drop(self, reason: str, *keys: str) -> None:
        """Tell settings that have no counterpart, if they are there."""
        for key in keys:
            if (value := self._content.pop(key, _MISSING)) is not _MISSING:
                self.say(key, value, reason)

    def rest(self, reason: str, *, whole: bool = False) -> None:
        """Tell all settings that are left; a section inside is told setting by setting unless `whole`."""
        for key, value in self._content.items():
            if isinstance(value, dict) and value and not whole:
                Reader(value, self.path(key), self.said).rest(reason)
            else:
                self.say(key, value, reason)
        self._content = {}

    def section(self, key: str) -> "Reader":
        """A section inside this one, empty if it is not there.

        Raises:
            ParameterError: It is something else than a section.
        """
        return self._reader(self._content.pop(key, {}), self.path(key))

    def sections(self, single: str, several: str) -> Iterator["Reader"]:
        """The section `single`, or those of the list `several`.

        Raises:
            ParameterError: There are both or neither, or one is no section.
        """
        if (single in self) == (several in self):
            found = "both" if single in self else "neither"
            raise ParameterError(f"{self._path}: one of {single} and {several} is expected, found {found}")
        if single in self:
            yield self.section(single)
            return
        listed = self._content.pop(several)
        if not isinstance(listed, list):
            raise ParameterError(f"{self.path(several)}: a list is expected, found {type(listed).__name__}")
        for number, content in enumerate(listed):
            yield self._reader(content, f"{self.path(several)}[{number}]")

    def _reader(self, content: Any, path: str) -> "Reader":
        if not isinstance(content, dict):
            raise ParameterError(f"{path}: a section of settings is expected, found {type(content).__name__}")
        return Reader(content, path, self.said)


class Arguments:
    """The arguments of a command line: options with the values that follow them, and what stands before the first."""

    def __init__(self, words: Any, path: str, said: list[str]) -> None:
        if not isinstance(words, list):
            raise ParameterError(f"{path}: a list of arguments is expected, found {type(words).__name__}")
        self._path = path
        self._said = said
        self.given: dict[str, list[str]] = {}
        values: list[str] = []
        for word in map(str, words):
            if word.startswith("-") and not _is_number(word):
                option, _, value = word.partition("=")
                values = self.given.setdefault(option, [])
                values += [value] if value else []
            else:
                values.append(word)  # the first words are the command itself

    def path(self, option: str) -> str:
        """Where an option stands in the file."""
        return f"{self._path} {option}"

    def say(self, option: str, value: Any, reason: str) -> None:
        """Tell an option that has no counterpart."""
        self._said.append(f"{self.path(option)} {_words(value)}".rstrip() + f": {reason}")

    def flag(self, *options: str) -> bool:
        """Whether any of the options is there; all count as understood."""
        found = [self.given.pop(option, None) for option in options]
        return any(values is not None for values in found)

    def texts(self, option: str) -> list[str]:
        """The values of an option."""
        return [part for value in self.given.pop(option, []) for part in value.split(",") if part]

    def text(self, option: str) -> str | None:
        """The one value of an option, None without it."""
        values = self.given.get(option)
        if values is None:
            return None
        if len(values) != 1:
            raise ParameterError(f"{self.path(option)}: one value is expected, found {_words(values) or 'none'}")
        return self.given.pop(option)[0]

    def number(self, option: str, default: float | None = None, *, words: tuple[str, ...] = ()) -> Any:
        """The one value of an option as a whole number or a fraction, or as one of the `words`.

        Raises:
            ParameterError: It is none of these.
        """
        text = self.text(option)
        if text is None or text in words:
            return default if text is None else text
        if not _is_number(text):
            raise ParameterError(f"{self.path(option)}: a number is expected, found {text!r}")
        return int(text) if text.lstrip("-").isdigit() else float(text)

    def drop(self, reason: str, *options: str, secret: bool = False) -> None:
        """Tell options that have no counterpart, if they are there."""
        for option in options:
            if (values := self.given.pop(option, None)) is not None:
                self.say(option, "…" if secret else values, reason)

    def rest(self, reason: str) -> None:
        """Tell all options that are left."""
        self.drop(reason, *list(self.given))


def _words(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
