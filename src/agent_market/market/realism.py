"""How the simulated market compares with real candles: `python -m agent_market.market.realism DATADIR`."""

import sys

import numpy as np
import pandas as pd

from agent_market.errors import AgentMarketError
from agent_market.market.candles import clean_candles, load_candles
from agent_market.market.options import MarketOptions
from agent_market.market.simulated import planted_expectation, simulate

SEEDS = range(1, 7)
N_CANDLES = 17_544  # two years, as long as the real candles of 2020 and 2021
HOURS_PER_YEAR = 8_760
STRENGTHS = (0.01, 0.02, 0.05, 0.1)
HORIZONS = (1, 4, 12, 24)


def measure_realism(candles: pd.DataFrame) -> pd.DataFrame:
    """Figures of clean 1h candles, one row per pair (index) and one column per figure.

    All from hourly log returns r, close to close: annual volatility (fraction), excess kurtosis of 1h and of
    UTC-day returns, skew, autocorrelation of |r| at 1, 6, 24 and 168 hours and of r at 1, correlation with
    BTC, busiest hour's mean |r| over the quietest's, and mean log(high / low) over mean |r|.
    """
    closes = candles.pivot(index="date", columns="pair", values="close")
    returns = np.log(closes).diff().iloc[1:]
    days = np.log(closes.resample("D").last()).diff().iloc[1:]
    by_hour = returns.abs().groupby(returns.index.hour).mean()
    spread = np.log(candles["high"] / candles["low"]).groupby(candles["pair"], observed=True).mean()
    bitcoin = next((pair for pair in returns if pair.startswith("BTC/")), returns.columns[0])
    figures = {
        "annual volatility": returns.std() * np.sqrt(HOURS_PER_YEAR),
        "excess kurtosis, 1h": returns.kurt(),
        "excess kurtosis, 24h": days.kurt(),
        "skew, 1h": returns.skew(),
        **{f"ACF of abs(r), lag {lag}": returns.abs().apply(pd.Series.autocorr, lag=lag) for lag in (1, 6, 24, 168)},
        "ACF of r, lag 1": returns.apply(pd.Series.autocorr, lag=1),
        "correlation with BTC": returns.corrwith(returns[bitcoin]),
        "busiest / quietest hour": by_hour.max() / by_hour.min(),
        "mean range / mean abs(r)": spread / returns.abs().mean(),
    }
    return pd.DataFrame(figures)


def compare_with_real(datadir: str) -> pd.DataFrame:
    """The figures of real BTC and ETH candles of a freqtrade folder beside those of simulated markets.

    Returns text, one row per figure: real values, and of the simulated ones the mean over the seeds with (min
    .. max); `simulated others` are all pairs besides BTC and ETH. The simulated markets are placebos.
    """
    options = MarketOptions(source="freqtrade_datadir", datadir=datadir, pairs="BTC/USDT ETH/USDT")
    real = measure_realism(clean_candles(load_candles(options), options)[0])
    simulated = pd.concat([_measure_seed(seed) for seed in SEEDS])
    table = {}
    for name in ("BTC", "ETH"):
        table[f"real {name}"] = real.loc[f"{name}/USDT"].map("{:.3f}".format)
        table[f"simulated {name}"] = _mean_and_range(simulated.loc[[f"{name}/USDT"]])
    others = simulated[simulated.index.str.startswith("SIM")]
    table["simulated others"] = _mean_and_range(others)
    return pd.DataFrame(table)


def rank_ic_of_truth() -> pd.DataFrame:
    """How well the simulator's own expectation ranks the pairs: the ceiling for any model.

    Returns text, one row per signal strength and one column per horizon: the mean over dates of the rank
    correlation between `planted_expectation` and the realised label across eight pairs, as mean over the
    seeds with (min .. max).
    """
    table = {}
    for strength in STRENGTHS:
        found = pd.DataFrame([_rank_ic(strength, seed) for seed in SEEDS])
        table[f"signal_strength {strength:g}"] = _mean_and_range(found)
    return pd.DataFrame(table).T


def _rank_ic(strength: float, seed: int) -> dict[str, float]:
    options = MarketOptions(seed=seed, signal_strength=strength)
    opens = simulate(options).pivot(index="date", columns="pair", values="open")
    found = {}
    for horizon in HORIZONS:
        label = (opens.shift(-1 - horizon) / opens.shift(-1) - 1).dropna()
        truth = planted_expectation(options, horizon).pivot(index="date", columns="pair", values="expected")
        ranks = truth.loc[label.index].rank(axis=1)
        found[f"{horizon} h"] = ranks.corrwith(label.rank(axis=1), axis=1).mean()
    return found


def _measure_seed(seed: int) -> pd.DataFrame:
    options = MarketOptions(seed=seed, n_candles=N_CANDLES, signal_strength=0)
    figures = measure_realism(clean_candles(load_candles(options), options)[0])
    return figures.set_index(figures.index.astype("str"))


def _mean_and_range(figures: pd.DataFrame) -> pd.Series:
    return figures.apply(lambda column: f"{column.mean():.3f} ({column.min():.2f} .. {column.max():.2f})")


def _markdown(table: pd.DataFrame, corner: str) -> str:
    rows = [[corner, *table.columns], ["---"] * (table.shape[1] + 1)]
    rows += [[name, *cells] for name, cells in zip(table.index, table.to_numpy().tolist(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m agent_market.market.realism DATADIR (with BTC/USDT and ETH/USDT in 1h candles)")
    try:
        sys.stdout.write(_markdown(compare_with_real(sys.argv[1]), "figure") + "\n\n")
        sys.stdout.write(_markdown(rank_ic_of_truth(), "rank IC of the truth") + "\n")
    except AgentMarketError as error:
        sys.exit(str(error))
