"""Node functions that read what no dataset holds."""

from collections.abc import Callable


def reads_outside(state: Callable[..., str | None]) -> Callable[[Callable], Callable]:
    """Mark a node function that reads what no dataset holds: files, or an exchange.

    `state` is called with the node's parameters, in the order of its inputs; it gives a hash of what the function would
    read, "" if that is nothing, and None if it cannot be known beforehand, so that the node always runs.
    """

    def marked(function: Callable) -> Callable:
        function.reads_outside = state
        return function

    return marked
