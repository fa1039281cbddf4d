"""What has been spent on a language model, and whether there is more."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent_market.mining.options import BudgetOptions


class AskingEndedError(Exception):
    """No more answers will come: a budget is spent, or the server does not answer any more."""


class BudgetSpentError(AskingEndedError):
    """No more requests: which part of the budget is spent."""


@dataclass
class Budget:
    """Counts requests, tokens, seconds and money; `check` raises when one of them has run out."""

    options: BudgetOptions
    clock: Callable[[], float] = time.monotonic
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    begun: float | None = field(default=None)

    @property
    def money(self) -> float:
        """What was spent, in the currency of the prices."""
        return (self.tokens_in * self.options.price_in + self.tokens_out * self.options.price_out) / 1e6

    @property
    def seconds_left(self) -> float:
        """Seconds until the budget of time has run out."""
        return self.options.seconds - (self.clock() - self.begun if self.begun is not None else 0.0)

    def start(self) -> None:
        """Let the time run, once."""
        if self.begun is None:
            self.begun = self.clock()

    def check(self) -> None:
        """Raise BudgetSpentError if another request is not covered."""
        tokens = self.tokens_in + self.tokens_out
        if self.calls >= self.options.calls:
            raise BudgetSpentError(f"budget.calls: {self.calls} requests were sent")
        if tokens >= self.options.tokens:
            raise BudgetSpentError(f"budget.tokens: {tokens} tokens were used")
        if self.seconds_left <= 0:
            raise BudgetSpentError(f"budget.seconds: {self.options.seconds:g} seconds are over")
        if self.options.money is not None and self.money >= self.options.money:
            raise BudgetSpentError(f"budget.money: {self.money:.4f} was spent")

    def spend(self, *, calls: int = 0, tokens_in: int = 0, tokens_out: int = 0) -> None:
        """Count what a request took."""
        self.calls += calls
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
