"""How operators and macros are called."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Signature:
    """A name, and the names of its parameters with blanks between them."""

    name: str
    signature: str

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(self.signature.split())

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return len(self.parameters)

    @property
    def call(self) -> str:
        """How it is written as a function."""
        return f"{self.name}({', '.join(self.parameters)})" if self.arity else self.name
