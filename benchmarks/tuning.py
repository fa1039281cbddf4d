"""Do tuned models beat their defaults on folds that the choice never saw? On simulated markets, model by model.

    python benchmarks/tuning.py --markets 3 --trials 20 --rows tuning.jsonl
    python benchmarks/tuning.py --rows tuning.jsonl --show

On each market, options are chosen as `tuning.enabled=true` chooses them: by RankIC on inner folds of the first fold's
training window. Both, the tuned and the configured options, are then walked forward over all folds, and the RankIC of
each date in the test windows is compared, date by date.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.adapters import parse_model_options
from agent_market.evaluation import ic_series, mean_interval, overlap_lags
from agent_market.factors import compute_factors, load_factors
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.tuning import TuningOptions, tune
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.market import clean_candles, simulate
from agent_market.market.options import MarketOptions
from agent_market.pipelines.tuning import scorer
from agent_market.trading.options import BacktestOptions

HORIZON = 12
MODELS = {
    "ridge": {"adapter": "sklearn"},
    "lightgbm": {"adapter": "lightgbm"},
    "xgboost": {"adapter": "xgboost"},
    "catboost": {"adapter": "catboost"},
}


def compare(seed: int, trials: int, model: str, market: dict) -> dict:
    """One row: RankIC in the test windows with the configured and with the tuned options, and of their difference."""
    factors = load_factors("basic", {})
    features = compute_factors(market["candles"], factors, timeframe="1h")
    labels, folds, training = market["labels"], market["folds"], TrainingOptions(horizon=HORIZON, n_jobs=1)
    options = parse_model_options(MODELS[model])
    score = scorer("rank_ic", training, MarketOptions(), BacktestOptions(), {}, None)
    started = time.process_time()
    tuning = TuningOptions(enabled=True, trials=trials, seed=seed)
    tuned = tune(features, labels, folds, options, training, tuning, score, timeframe="1h", name=model)
    seconds = time.process_time() - started
    series = []
    for chosen in (options, tuned.options):
        _, predictions = walk_forward(features, factors, labels, folds, chosen, training, timeframe="1h")
        series.append(ic_series(predictions, labels, HORIZON).set_index("date")["rank_ic"])
    gain = (series[1] - series[0]).dropna()
    return {
        "seed": seed,
        "model": model,
        "trials": trials,
        "pruned": tuned.facts["pruned"],
        "cpu_seconds": round(seconds, 1),
        "inner_default": tuned.facts["first_value"],
        "inner_tuned": tuned.facts["best_value"],
        "default": series[0].mean(),
        "tuned": series[1].mean(),
        "gain": gain.tolist(),
        "chosen": tuned.facts["chosen"],
    }


def make_market(seed: int, strength: float) -> dict:
    """Candles, labels and folds of the default market with another seed."""
    options = MarketOptions(seed=seed, signal_strength=strength)
    candles, _ = clean_candles(simulate(options), options)
    labels = build_labels(candles, LabelOptions(horizons=(HORIZON,)), timeframe="1h")
    return {
        "candles": candles,
        "labels": labels,
        "folds": make_folds(candles["date"], FoldOptions(), timeframe="1h"),
    }


def show(rows: list[dict]) -> None:
    """Means over markets; the gain's 95 % interval allows for overlapping labels, and takes markets as independent."""
    print("| model | markets | inner: default | inner: chosen | test: default | test: tuned | gain | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for model, part in pd.DataFrame(rows).groupby("model", sort=False):
        each = [mean_interval(np.array(gain), overlap_lags(HORIZON, len(gain))) for gain in part["gain"]]
        gain = np.mean([one.mean for one in each])
        error = np.sqrt(np.sum([one.error**2 for one in each])) / len(each)
        means = part[["inner_default", "inner_tuned", "default", "tuned"]].mean()
        told = " | ".join(f"{value:+.4f}" for value in means)
        low, high = gain - 1.96 * error, gain + 1.96 * error
        print(
            f"| {model} | {len(part)} | {told} | {gain:+.4f} [{low:+.4f}, {high:+.4f}] "
            f"| {part['cpu_seconds'].mean():.0f} |"
        )


def main() -> None:
    """Run, or show what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--strength", type=float, default=0.03, help="market.signal_strength")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument(
        "--rows", type=Path, default=Path("tuning.jsonl"), help="finished rows; a stopped study goes on"
    )
    parser.add_argument("--show", action="store_true", help="only print the table")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.rows.read_text().splitlines()] if given.rows.exists() else []
    done = {(row["seed"], row["model"]) for row in rows}
    for seed in range(100, 100 + (0 if given.show else given.markets)):
        market = make_market(seed, given.strength)
        for model in given.models:
            if (seed, model) not in done:
                rows.append(compare(seed, given.trials, model, market))
                with given.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
