"""A credential that does not show itself."""


class Secret:
    """A text that is neither printed, logged, compared nor stored by accident; `value` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str | None) -> None:
        self._value = (value or "").strip()

    @property
    def value(self) -> str:
        """The text itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(set)" if self._value else "Secret(none)"

    def __reduce__(self) -> tuple:
        raise TypeError("a credential is not stored")

    def scrubbed(self, text: str) -> str:
        """A text in which the credential, should it occur, is replaced."""
        return text.replace(self._value, "[credential]") if self._value else text
