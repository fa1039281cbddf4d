"""Ensembles against their best member, out of sample, on what a run has stored.

    kedro run                                    # or on your own candles: market.source=freqtrade_datadir, …
    python benchmarks/ensembles.py --data data

Blends the same members in every way, and compares the RankIC of each date in the test windows with two of them: the one
that was best there, which nobody could know, and in each fold the one that was best on its validation window.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.adapters import parse_model_options
from agent_market.evaluation import ic_series, mean_interval, overlap_lags
from agent_market.learning.ensemble import MemberRun, blend_models
from agent_market.learning.model_folder import load_model
from agent_market.learning.walk_forward import TrainingOptions

METHODS = ("mean", "rank_mean", "ic_weights", "stacking", "diverse")


def newest(folder: Path) -> Path:
    """The newest version of a dataset."""
    return sorted(folder.glob("*/*"))[-1]


def load_run(data: Path, name: str) -> MemberRun:
    """A member as the run has stored it."""
    tables = [
        pd.read_parquet(newest(data / "07_model_output" / name / f"{what}.parquet"))
        for what in ("predictions", "validation")
    ]
    return MemberRun(name, load_model(newest(data / "06_models" / name / "model")), *tables)


def told(series: pd.Series, horizon: int) -> str:
    """Mean with its 95 % interval, which allows for overlapping labels."""
    values = series.dropna().to_numpy()
    found = mean_interval(values, overlap_lags(horizon, len(values)))
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--members", nargs="+", help="default: all that have validation predictions")
    parser.add_argument("--horizon", type=int, default=12)
    given = parser.parse_args()
    there = sorted(path.parent.name for path in (given.data / "07_model_output").glob("*/validation.parquet"))
    runs = [load_run(given.data, name) for name in given.members or there]
    labels = pd.read_parquet(newest(given.data / "04_feature" / "labels.parquet"))
    folds = pd.read_parquet(newest(given.data / "05_model_input" / "folds.parquet"))
    training, horizon = TrainingOptions(horizon=given.horizon), given.horizon

    def rank_ic(predictions: pd.DataFrame) -> pd.Series:
        return ic_series(predictions, labels, horizon).set_index("date")["rank_ic"]

    alone = {run.name: rank_ic(run.predictions) for run in runs}
    best = max(alone, key=lambda name: alone[name].mean())
    blends, validated = {}, None
    for evidence in ("validation", "tested"):
        for method in METHODS:
            block = {"adapter": "ensemble", "members": [run.name for run in runs]}
            options = parse_model_options(block | {"method": method, "evidence": evidence})
            _, predictions, weights = blend_models(runs, labels, folds, options, training)
            blends[f"{method}, {evidence}"] = rank_ic(predictions)
            validated = weights if validated is None else validated
    chosen = validated.loc[validated.groupby("fold")["ic"].idxmax()].set_index("fold")["member"]
    picked = pd.concat(
        [
            rank_ic(run.predictions[run.predictions["fold"].map(chosen) == run.name])
            for run in runs
            if (run.predictions["fold"].map(chosen) == run.name).any()
        ]
    ).sort_index()
    before = validated.groupby("member", sort=False)["ic"].mean()
    print("| member | RankIC, validation windows | RankIC, test windows |")
    print("|---|---|---|")
    for name in sorted(alone, key=lambda name: -alone[name].mean()):
        print(f"| {name} | {before[name]:+.4f} | {told(alone[name], horizon)} |")
    print(f"| best of each fold's validation window | | {told(picked, horizon)} |\n")
    print(
        f"| ensemble | RankIC, test windows | less {best}, the best there | less the best of each validation window |"
    )
    print("|---|---|---|---|")
    for name, series in blends.items():
        rows = (series, series - alone[best], series - picked)
        print(f"| {name} | " + " | ".join(told(row, horizon) for row in rows) + " |")
    together = np.corrcoef(np.column_stack([run.predictions["prediction"] for run in runs]).T)
    others = together[~np.eye(len(runs), dtype=bool)]
    print(
        f"\nCorrelation of two members' predictions: {others.mean():.2f} on average, {others.min():.2f} at the least."
    )


if __name__ == "__main__":
    main()
