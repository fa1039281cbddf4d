"""What a policy's positions earned out of sample: by test window, by seed, and candle by candle."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from agent_market.learning.samples import FeatureTensor, Samples
from agent_market.market.execution import OPEN, ExecutionPrices
from agent_market.trading.env import EnvOptions, EpisodeMarket, build_market
from agent_market.trading.env.replay import replay_positions

ENSEMBLE = "ensemble"
"""The name, among those of the seeds, of what is traded: their vote."""

SEED = re.compile(r"prediction_(seed\d+)")


@dataclass(frozen=True)
class PolicyAccount:
    """The accounts of a policy over all test windows, one after the other; each pair has one of its own.

    intervals: one row per fold and seed, the vote of the seeds among them: fold, start, end (first and last decision),
    seed, net and net_raised_costs (log return, mean of the pairs, at the costs and at several times those), drawdown
    (deepest fall within the window, fraction), exposure (mean size of the positions), entries, and market (log return
    of holding all pairs).
    net: of the vote, log return of each candle net of costs, indexed by date.
    positions, returns: (n_pairs, n_dates), of the vote and of the market after each decision; 0 where there is none.
    """

    intervals: pd.DataFrame
    net: pd.Series
    positions: np.ndarray
    returns: np.ndarray


def account_policy(
    predictions: pd.DataFrame,
    candles: pd.DataFrame,
    env: EnvOptions,
    *,
    cost_factor: float,
    timeframe: str,
    funding: pd.DataFrame | None = None,
) -> PolicyAccount:
    """Trade the positions that a policy and each of its seeds decided, by the rules and costs of its environment.

    `predictions` are of kind position, with the columns fold and `prediction_seed<i>` where there are several seeds;
    `candles` are those of the run. What trains only (a cost multiplier, a penalty) is left out.
    """
    rules = env.model_copy(update={"cost_multiplier": 1.0, "window": 1})
    market = _market(predictions, candles, funding, timeframe)
    rows = np.concatenate([np.arange(first, stop) for first, stop, _ in market.stretches])
    grid = _Grid.of(market, rows)
    both = pd.DataFrame({"pair": market.pair[rows].astype(str), "date": market.date[rows]})
    told = both.merge(predictions.astype({"pair": "str"}), on=["pair", "date"], how="left")
    fold = pd.Series(grid.lay(told["fold"].to_numpy(float), np.nan).max(axis=0)).ffill().to_numpy()
    returns = _returns(market, rows)
    laid = grid.lay(returns)
    raised = rules.model_copy(update={"fee": rules.fee * cost_factor, "slippage": rules.slippage * cost_factor})
    tables, net = [], None
    for name, column in _seeds(predictions).items():
        positions = np.zeros(len(market.date))
        positions[rows] = told[column].fillna(0.0)
        gained = [
            grid.mean(np.nan_to_num(replay_positions(market, positions, part).log_return)) for part in (rules, raised)
        ]
        held = grid.lay(positions[rows])
        tables.append(_by_fold(grid.dates, fold, gained, held, grid.mean(np.log1p(returns))).assign(seed=name))
        if name == ENSEMBLE:
            net, voted = pd.Series(gained[0], index=grid.dates), held
    intervals = pd.concat(tables, ignore_index=True).sort_values(["fold", "seed"], ignore_index=True, kind="stable")
    names = ["fold", "start", "end", "seed"]
    return PolicyAccount(intervals[names + [n for n in intervals if n not in names]], net, voted, laid)


@dataclass(frozen=True)
class _Grid:
    """Rows of a panel as a table of pairs by dates."""

    dates: pd.DatetimeIndex
    pair: np.ndarray
    date: np.ndarray
    n_pairs: int

    @classmethod
    def of(cls, market: EpisodeMarket, rows: np.ndarray) -> "_Grid":
        codes, pair = np.unique(market.pair.codes[rows], return_inverse=True)
        dates = pd.DatetimeIndex(np.unique(market.date[rows])).tz_localize(None).tz_localize("UTC")
        return cls(dates, pair, dates.get_indexer(market.date[rows]), len(codes))

    def lay(self, values: np.ndarray, missing: float = 0.0) -> np.ndarray:
        """Values of the rows as (n_pairs, n_dates)."""
        table = np.full((self.n_pairs, len(self.dates)), missing)
        table[self.pair, self.date] = values
        return table

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Their mean over pairs at each date (n_dates,); a pair that is not there adds nothing."""
        return self.lay(values).mean(axis=0)


def _market(
    predictions: pd.DataFrame, candles: pd.DataFrame, funding: pd.DataFrame | None, timeframe: str
) -> EpisodeMarket:
    """The market that the predictions are about; the policy has looked at it already, so it has no features."""
    pairs = predictions["pair"].astype(str).unique()
    there = candles[candles["pair"].astype(str).isin(pairs)].reset_index(drop=True)
    tensor = FeatureTensor.from_frame(there[["pair", "date"]].assign(none=np.float32(0)), timeframe=timeframe)
    tensor = replace(tensor, execution=ExecutionPrices.from_candles(there, funding, timeframe=timeframe))
    first, last = predictions["date"].min(), predictions["date"].max()
    rows = np.flatnonzero((tensor.date >= first) & (tensor.date <= last))
    return build_market(Samples(tensor, rows))


def _returns(market: EpisodeMarket, rows: np.ndarray) -> np.ndarray:
    """What the price did from the next open to the one after (n,); 0 at the two last rows of each stretch."""
    opens = market.prices[:, OPEN]
    returns = np.zeros(len(opens))
    returns[:-2] = opens[2:] / opens[1:-1] - 1.0
    for _, stop, _ in market.stretches:
        returns[stop - 2 : stop] = 0.0
    return returns[rows]


def _seeds(predictions: pd.DataFrame) -> dict[str, str]:
    """Column of each seed's positions, and of their vote; one policy alone is both."""
    found = {match.group(1): match.group(0) for match in map(SEED.fullmatch, predictions) if match}
    return (found or {"seed0": "prediction"}) | {ENSEMBLE: "prediction"}


def _by_fold(
    dates: pd.DatetimeIndex, fold: np.ndarray, gained: list[np.ndarray], held: np.ndarray, market: np.ndarray
) -> pd.DataFrame:
    side = np.sign(held)
    entries = ((side != 0) & (np.diff(side, axis=1, prepend=0) != 0)).sum(axis=0)
    rows = []
    for number in np.unique(fold):
        own = fold == number
        worth = np.concatenate([[0.0], np.cumsum(gained[0][own])])
        rows.append(
            {
                "fold": int(number),
                "start": dates[own][0],
                "end": dates[own][-1],
                "net": gained[0][own].sum(),
                "net_raised_costs": gained[1][own].sum(),
                "drawdown": -np.expm1((worth - np.maximum.accumulate(worth)).min()),
                "exposure": np.abs(held[:, own]).mean(),
                "entries": int(entries[own].sum()),
                "market": market[own].sum(),
            }
        )
    return pd.DataFrame(rows)
