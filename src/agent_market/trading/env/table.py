"""Evaluate a policy without stepping: prices do not react, so that what it does in every state can be asked at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agent_market.errors import ParameterError
from agent_market.trading.env.arrays import EpisodeMarket
from agent_market.trading.env.core import terms_of
from agent_market.trading.env.kernels import ACCOUNT, HOLDING, begin, walk
from agent_market.trading.env.options import EnvOptions

BATCH = 65_536
"""Observations handed to the policy at once."""


@dataclass(frozen=True)
class Path:
    """What a policy did in all the rows in which it could decide, and what that brought.

    rows: (n,) int64, rows of the market. position: (n,) float64, held from the open after each row on.
    log_return: (n,) float64: growth of the equity from the next open to the one after, costs paid; NaN in the two last
    rows of each stretch, whose reward lies beyond it.
    """

    rows: np.ndarray
    position: np.ndarray
    log_return: np.ndarray

    @property
    def total(self) -> float:
        """Log of the growth of the equity over all stretches, one after the other."""
        return float(np.nansum(self.log_return))


def seen_rows(market: EpisodeMarket, options: EnvOptions) -> list[np.ndarray]:
    """The rows of each stretch that a policy can see: those with a whole window, the two last ones included."""
    first = np.maximum(market.stretches[:, 0], market.stretches[:, 2] + options.window - 1)
    rows = [np.arange(a, b) for a, b in zip(first, market.stretches[:, 1], strict=True) if a < b]
    if not rows:
        market.decisions(options.window)  # says what is missing
    return rows


def action_table(
    policy: Callable[[np.ndarray], np.ndarray], market: EpisodeMarket, options: EnvOptions, *, batch: int = BATCH
) -> np.ndarray:
    """The best action of a policy in each row that it sees, for each position that it may hold: (rows, levels) int64.

    `policy` gives scores (b, n_levels), for example logits, of observations (b, width) float32.

    Raises ParameterError if observations show more than features and position: then there are no few states.
    """
    _check_few_states(options)
    rows, levels = np.concatenate(seen_rows(market, options)), options.levels
    width = options.window * market.features.shape[1]
    steps = np.arange(1 - options.window, 1)
    table = np.empty((len(rows), len(levels)), dtype=np.int64)
    seen = np.empty((min(batch, len(rows)), width + 1), dtype=np.float32)
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        part = seen[: len(some)]
        part[:, :width] = market.features[some[:, None] + steps].reshape(len(some), width)
        for state, level in enumerate(levels):
            part[:, width] = level
            scores = np.asarray(policy(part))
            if scores.shape != (len(some), len(levels)):
                raise ParameterError(f"policy gave scores of shape {scores.shape}, expected {(len(some), len(levels))}")
            table[start : start + len(some), state] = scores.argmax(axis=1)
    return table


def evaluate_table(
    policy: Callable[[np.ndarray], np.ndarray] | np.ndarray, market: EpisodeMarket, options: EnvOptions
) -> Path:
    """What a discrete policy does, and earns, in all rows of a market; each stretch begins flat.

    `policy` is a function as `action_table` takes it, or its table: (rows, levels) integers. The account is that of
    stepping the environment through a stretch in one episode. After a liquidation the rest of the account trades on,
    as in the backtest; nothing ends at `bankruptcy`.

    Raises ParameterError if the options are not discrete, or the table does not fit the market.
    """
    _check_few_states(options)
    table = action_table(policy, market, options) if callable(policy) else np.asarray(policy)
    stretches, levels = seen_rows(market, options), np.asarray(options.levels)
    rows = np.concatenate(stretches)
    if table.shape != (len(rows), len(levels)) or not np.issubdtype(table.dtype, np.integer):
        raise ParameterError(
            f"the table of actions has shape {table.shape} of {table.dtype}, expected integers of shape "
            f"{(len(rows), len(levels))}: a row per row of the market that has a whole window, a column per position"
        )
    if table.min() < 0 or table.max() >= len(levels):
        raise ParameterError(f"actions are from {table.min()} to {table.max()}, expected 0 to {len(levels) - 1}")
    table = np.ascontiguousarray(table, dtype=np.int64)
    position, log_return = np.zeros(len(rows)), np.full(len(rows), np.nan)
    terms, done = terms_of(options), 0
    for own in stretches:
        account, holding = np.zeros(1, dtype=ACCOUNT), np.zeros((1, 1), dtype=HOLDING)
        begin(account, holding, np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64), own[:1, None])
        part = slice(done, done + len(own))
        walk(
            market.prices, market.funding, terms, table[part], levels, account, holding, own[-1] + 1, position[part],
            log_return[part],
        )  # fmt: skip
        done += len(own)
    return Path(rows, position, log_return)


def _check_few_states(options: EnvOptions) -> None:
    more = [name for name in ("observe_profit", "observe_time") if getattr(options, name)]
    if options.actions != "discrete" or more:
        found = f"{' and '.join(more)} set" if more else f"actions {options.actions}"
        raise ParameterError(
            f"a policy can be evaluated as a table only if it chooses among `targets` and sees nothing of its account "
            f"but the position; found {found}: step the environment instead"
        )
