"""The positions that a policy takes on rows of the feature tensor, each knowing the rows up to its own."""

from collections.abc import Iterator

import numpy as np

from agent_market.adapters.stable_baselines3.policy import Policy
from agent_market.errors import ModelError
from agent_market.trading.env import EnvOptions

BLOCK = 256
"""Rows that are looked at in one go when the position before the first row asked for is sought."""


def follow(
    policy: Policy, values: np.ndarray, segment_start: np.ndarray, rows: np.ndarray, env: EnvOptions
) -> np.ndarray:
    """The position decided at each of `rows` (n,), by a policy that began flat at the first row of its segment.

    `values` (n_rows, n_features) are all scaled features, `segment_start` (n_rows,) says where the stretch without a
    hole begins that a row is in. What a row gets depends on the rows of its segment up to its own, and not on which
    others are asked for. Rows with less than a window of history are flat.

    A policy that chooses among targets sees the one it holds. One that chooses any position sees the size that it
    wished for when it last traded: prices have moved that since, as they have for the backtest.
    """
    if policy.n_inputs != env.window * values.shape[1] + 1:
        raise ModelError(
            f"the policy sees {policy.n_inputs} numbers, and {values.shape[1]} features over a window of {env.window} "
            f"with the position are {env.window * values.shape[1] + 1}: it was trained on others"
        )
    positions = np.zeros(len(rows))
    order = np.argsort(rows, kind="stable")
    for first, asked in _by_segment(segment_start, rows[order]):
        of_segment = order[asked]
        usable = first + env.window - 1
        wanted = rows[of_segment] >= usable
        if not wanted.any():
            continue
        of_segment = of_segment[wanted]
        there = rows[of_segment]
        if policy.is_recurrent or not policy.form.discrete:
            path = _walk(policy, values, usable, int(there[-1]) + 1, env)
            positions[of_segment] = path[there - usable]
        else:
            levels = np.array(env.levels)
            start = _held_before(policy, values, usable, int(there[0]), levels, env.window)
            path, _ = _chosen(_moves(policy, values, int(there[0]), int(there[-1]) + 1, levels, env.window), start)
            positions[of_segment] = levels[path[there - there[0]]]
    return positions


def _by_segment(segment_start: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of each segment that sorted rows lie in, and which of the rows do."""
    starts = segment_start[rows]
    edges = np.flatnonzero(np.diff(starts)) + 1
    for part in np.split(np.arange(len(rows)), edges):
        if len(part):
            yield int(starts[part[0]]), part


def _windows(values: np.ndarray, first: int, stop: int, window: int) -> np.ndarray:
    """Features of the windows that end at the rows [first, stop), oldest candle first: (stop - first, window * d)."""
    if window == 1:
        return values[first:stop]
    rows = np.arange(first, stop)[:, None] + np.arange(1 - window, 1)
    return values[rows].reshape(stop - first, -1)


def _moves(policy: Policy, values: np.ndarray, first: int, stop: int, levels: np.ndarray, window: int) -> list:
    """For the rows [first, stop), the number of the level that each level is left for: lists of k.

    As in the backtest, a position is changed only for one of another side.
    """
    chosen = policy.over_levels(_windows(values, first, stop, window), levels)  # (n, k)
    side = np.sign(levels)
    return np.where(side[chosen] != side, chosen, np.arange(len(levels))).tolist()


def _chosen(moves: list, state: int) -> tuple[np.ndarray, int]:
    path = []
    for row in moves:
        state = row[state]
        path.append(state)
    return np.array(path, dtype=np.int64), state


def _held_before(policy: Policy, values: np.ndarray, usable: int, row: int, levels: np.ndarray, window: int) -> int:
    """The level held before `row`, of a path that begins flat at row `usable`.

    It is sought backwards, as far as it takes until all levels that might have been held lead to the same one.
    """
    ends = list(range(len(levels)))  # where each level leads to, from the rows looked at so far
    stop = row
    while stop > usable:
        first = max(usable, stop - BLOCK)
        states = list(range(len(levels)))
        for moves in _moves(policy, values, first, stop, levels, window):
            states = [moves[state] for state in states]
        ends = [ends[state] for state in states]
        if len(set(ends)) == 1:
            return ends[0]
        stop = first
    return ends[int(np.flatnonzero(levels == 0.0)[0])]


def _walk(policy: Policy, values: np.ndarray, first: int, stop: int, env: EnvOptions) -> np.ndarray:
    """The positions at the rows [first, stop), one step at a time."""
    seen = np.empty((1, policy.n_inputs))
    features = _windows(values, first, stop, env.window)
    levels, state, held = np.array(env.levels), policy.begin(1), 0.0
    path = np.empty(stop - first)
    for number, row in enumerate(features):
        seen[0, :-1], seen[0, -1] = row, held
        if policy.is_recurrent:
            action, state = policy.step(seen, state)
        else:
            action = policy.act(seen)
        wish = levels[action[0]] if policy.form.discrete else action[0]
        if policy.form.discrete:
            held = wish if np.sign(wish) != np.sign(held) else held
        else:
            wish = max(wish, 0.0) if env.trading_mode == "spot" else wish
            held = wish if abs(wish - held) >= env.rebalance_band else held
        path[number] = held
    return path
