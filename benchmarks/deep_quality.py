"""Which models find a signal that needs memory, and how much of it: the quality of the deep networks beside others.

    python benchmarks/deep_quality.py                          # the whole table
    python benchmarks/deep_quality.py --seeds 0 --models ridge lstm
    python benchmarks/deep_quality.py --strength 0             # the placebo: nothing may be found
    python benchmarks/deep_quality.py --kind pattern --noise 0.5
    python benchmarks/deep_quality.py --warm --folds 5 --models lstm lightgbm  # each beside its warm start

The simulated market shows its hidden state through noise only, in the wicks of each candle; every model gets the ten
features of `single_candle.yml`, none of which looks at an earlier candle. The best that can be known is the Kalman
filter (`optimal_expectation`). Each seed is a market of its own, and the seed of the fit. There is one fold: candles
for training, then for validation, then for the test; or as many as are asked for, which share the test.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.adapters import parse_model_options
from agent_market.evaluation import ic_series
from agent_market.factors import compute_factors, load_factors
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.market import MarketOptions, clean_candles, optimal_expectation, planted_expectation, simulate

FACTORS = Path(__file__).with_name("single_candle.yml")
LAGS = 32
HORIZON = 1
TRAINING = TrainingOptions(horizon=HORIZON, label="scaled", n_jobs=1)
REPETITIONS, BLOCK = 2000, 24  # of the bootstrap; candles per block
WARM = {"warm_start": True}

RIDGE = {"adapter": "sklearn"}
LIGHTGBM = {"adapter": "lightgbm"}
NETWORK = {"adapter": "torch", "seeds": 1, "device": "cpu"}
# name: (whether its features are those of the last LAGS candles side by side, parameters)
MODELS = {
    "ridge": (False, RIDGE),
    "ridge, lags": (True, RIDGE),
    "lightgbm": (False, LIGHTGBM),
    "lightgbm, lags": (True, LIGHTGBM),
    "mlp": (False, NETWORK | {"network": "mlp"}),
    "mlp, window": (False, NETWORK | {"network": "mlp", "lookback": LAGS}),
    "lstm": (False, NETWORK | {"network": "lstm"}),
    "lstm, window": (False, NETWORK | {"network": "lstm", "training": "window"}),
    "gru": (False, NETWORK | {"network": "gru"}),
    "tcn": (False, NETWORK | {"network": "tcn"}),
    "transformer": (False, NETWORK | {"network": "transformer"}),
    "lstm, ic loss": (False, NETWORK | {"network": "lstm", "loss": "ic"}),
    "lstm, 3 seeds": (False, NETWORK | {"network": "lstm", "seeds": 3}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="*", default=list(MODELS), choices=MODELS, metavar="MODEL", help=str([*MODELS])
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--strength", type=float, default=0.1)
    parser.add_argument("--noise", type=float, default=3.0)
    parser.add_argument("--kind", default="state", choices=["state", "pattern"])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--candles", type=int, default=17_520, help="per pair")
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--warm", action="store_true", help="each model a second time, with warm starts")
    chosen = parser.parse_args()
    if chosen.warm:
        MODELS.update({f"{name}, warm": (MODELS[name][0], MODELS[name][1] | WARM) for name in chosen.models})
        chosen.models = [name for model in chosen.models for name in (model, f"{model}, warm")]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {chosen}\n", flush=True)
    runs = {seed: run_market(seed, chosen) for seed in chosen.seeds}
    show(runs, chosen.models)


def run_market(seed: int, chosen: argparse.Namespace) -> dict[str, dict]:
    """IC of each model, of the filter and of the truth on the test candles of one market."""
    market = MarketOptions(
        seed=seed,
        n_pairs=chosen.pairs,
        n_candles=chosen.candles,
        signal_strength=chosen.strength,
        signal_noise=chosen.noise,
        signal_kind=chosen.kind,
    )
    candles, _ = clean_candles(simulate(market), market)
    labels = build_labels(candles, LabelOptions(horizons=(HORIZON,), kinds=("scaled",)), timeframe="1h")
    folds = make_folds(candles["date"], split(chosen.candles, chosen.folds), timeframe="1h")
    single = load_factors(str(FACTORS), {})
    tables = {lagged: (with_lags(single) if lagged else single) for lagged in (False, True)}
    features = {
        lagged: compute_factors(candles, factors, timeframe="1h")
        for lagged, factors in tables.items()
        if any(MODELS[name][0] == lagged for name in chosen.models)
    }
    truth = planted_expectation(market, HORIZON)
    results = {}
    for name in chosen.models:
        lagged, block = MODELS[name]
        options = parse_model_options(block | {"seed": seed})
        spent = time.process_time()
        _, predictions = walk_forward(
            features[lagged], tables[lagged], labels, folds, options, TRAINING, timeframe="1h"
        )
        spent = time.process_time() - spent
        results[name] = judge(predictions, labels, truth) | {"cpu": spent}
        print(f"seed {seed} {name:18s} rank IC {np.nanmean(results[name]['ic']):.4f}, {spent:.1f} CPU s", flush=True)
    if not chosen.strength:  # there is nothing to know
        return results
    for name, expectation in (("optimal filter", optimal_expectation(market, HORIZON)), ("truth", truth)):
        known = predictions.drop(columns="prediction").merge(expectation, on=["pair", "date"])
        results[name] = judge(known.rename(columns={"expected": "prediction"}), labels, truth) | {"cpu": 0.0}
    return results


def judge(predictions: pd.DataFrame, labels: pd.DataFrame, truth: pd.DataFrame) -> dict[str, np.ndarray]:
    """Rank correlation across pairs at each date with the returns that came, and with their expectation."""
    ic = ic_series(predictions, labels, HORIZON)["rank_ic"].to_numpy()
    both = predictions.merge(truth, on=["pair", "date"])
    ranks = both.groupby("date")[["prediction", "expected"]].rank()
    ranks = ranks - ranks.groupby(both["date"]).transform("mean")
    scale = np.sqrt((ranks**2).groupby(both["date"]).sum().prod(axis=1)).replace(0, np.nan)
    return {"ic": ic, "truth": (ranks.prod(axis=1).groupby(both["date"]).sum() / scale).to_numpy()}


def split(n_candles: int, n_folds: int) -> FoldOptions:
    """Of all candles 58 % for training, 8 % for validation and a third for the tests of all folds."""
    days = n_candles // 24
    train, valid = int(0.58 * days), int(0.08 * days)
    return FoldOptions(train=f"{train}d", valid=f"{valid}d", test=f"{(days - train - valid - 2) // n_folds}d")


def with_lags(factors: dict[str, str]) -> dict[str, str]:
    """Each factor now and at the LAGS - 1 candles before."""
    late = {f"{name}_{lag}": f"delay({text}, {lag})" for lag in range(1, LAGS) for name, text in factors.items()}
    return factors | late


# ---- the table


def show(runs: dict[int, dict[str, dict]], models: list[str]) -> None:
    """Mean over all test dates of all markets; intervals of 95 % by a block bootstrap of the dates.

    The first share is that of the optimum's IC with the returns that came; the second, untouched by their noise,
    is that of its correlation with the returns' expectation.
    """
    known = [name for name in ("truth", "optimal filter") if name in next(iter(runs.values()))]
    names = [*known, *models]
    series = {name: np.concatenate([run[name]["ic"] for run in runs.values()]) for name in names}
    means = {name: np.nanmean(values) for name, values in series.items()}
    draws = resample(np.column_stack([series[name] for name in names]))  # (repetitions, models)
    draws = dict(zip(names, draws.T, strict=True))
    shares = f"{'of optimum':>12s}{'95 %':>15s}{'by truth':>10s}" if known else ""
    print(f"\n{'':18s}{'rank IC':>9s}{'95 %':>19s}{'by seed':>18s}{'CPU s':>8s}{shares}")
    for name in names:
        spread = [np.nanmean(run[name]["ic"]) for run in runs.values()]
        low, high = np.quantile(draws[name], [0.025, 0.975])
        cpu = np.mean([run[name]["cpu"] for run in runs.values()])
        print(
            f"{name:18s}{means[name]:9.4f}{low:10.4f} ..{high:7.4f}{min(spread):10.4f} ..{max(spread):6.4f}{cpu:8.1f}"
            + (share_of_optimum(name, runs, means, draws) if known else "")
        )
    rivals = ("ridge", "lightgbm, lags", "mlp", *(name.removesuffix(", warm") for name in models if "warm" in name))
    for rival in (name for name in models if name in rivals):
        print(f"\nIC less that of {rival}:")
        for name in (name for name in models if name != rival):
            margin = means[name] - means[rival]
            low, high = np.quantile(draws[name] - draws[rival], [0.025, 0.975])
            print(f"  {name:18s}{margin:+9.4f} ({low:+.4f} .. {high:+.4f})")


def share_of_optimum(name: str, runs: dict[int, dict], means: dict[str, float], draws: dict[str, np.ndarray]) -> str:
    """The cells that compare a model with the optimal filter."""
    best = "optimal filter"
    few, many = np.quantile(draws[name] / draws[best], [0.025, 0.975])
    near, optimum = (np.mean([np.nanmean(run[part]["truth"]) for run in runs.values()]) for part in (name, best))
    return f"{means[name] / means[best]:11.0%}{few:9.0%} ..{many:4.0%}{near / optimum:10.0%}"


def resample(series: np.ndarray) -> np.ndarray:
    """Means (REPETITIONS, n_series) of resamples of the rows (n_dates, n_series) in blocks around the circle."""
    series = series[np.isfinite(series).all(axis=1)]
    n = len(series)
    totals = np.vstack([np.zeros(series.shape[1]), np.cumsum(np.vstack([series, series[:BLOCK]]), axis=0)])
    blocks = totals[BLOCK : n + BLOCK] - totals[:n]  # sum of the BLOCK rows from each row on
    starts = np.random.default_rng(0).integers(n, size=(REPETITIONS, round(n / BLOCK)))
    return np.stack([blocks[draw].mean(axis=0) / BLOCK for draw in starts])


if __name__ == "__main__":
    main()
