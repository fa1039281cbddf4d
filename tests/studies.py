"""A study small enough to be run again and again; as a script, in a process that can be killed."""

import sys
import time

import numpy as np
import pandas as pd

from agent_market.adapters import parse_model_options
from agent_market.evaluation import ic_series
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.tuning import Tuned, TuningOptions, tune
from agent_market.learning.walk_forward import TrainingOptions
from panels import random_candles, random_features

CANDLES = random_candles(4, 24 * 40)
LABELS = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="20d", valid="4d", test="5d"), timeframe="1h")
TRAINING = TrainingOptions(horizon=2)
FUTURE = LABELS["excess_2"].fillna(0.0).to_numpy()
NOISE = np.random.default_rng(1).normal(0, 4 * FUTURE.std(), len(FUTURE))
FEATURES = random_features(CANDLES).assign(f0=(FUTURE + NOISE).astype("float32"))
SPACE = {"ridge": {"alpha": {"low": 1.0, "high": 1e6, "log": True}, "preprocessing": [("impute",), ("impute", "clip")]}}


def rank_ic(predictions: pd.DataFrame, labels: pd.DataFrame, candles: pd.DataFrame | None) -> float:
    """Mean RankIC of an inner test window; 0 where all predictions are the same."""
    return float(np.nan_to_num(ic_series(predictions, labels, 2)["rank_ic"].mean()))


def run(
    *, features=FEATURES, labels=LABELS, model=None, score=rank_ic, report=lambda tried: None, name="ridge", **tuning
) -> Tuned:
    """The study of ridge regression, or of another model."""
    options = TuningOptions.model_validate({"enabled": True, "trials": 6, "warm_up": 2, "folds": 2} | tuning)
    model = parse_model_options(model or {"adapter": "sklearn"})
    return tune(
        features, labels, FOLDS, model, TRAINING, options, score, timeframe="1h", name=name, report=report
    )  # fmt: skip


if __name__ == "__main__":
    storage, sampler, trials, hang_after = sys.argv[1:]
    ended = []

    def aloud(*tables) -> float:
        print("scoring", flush=True)  # noqa: T201
        if len(ended) >= int(hang_after):
            time.sleep(600)  # until it is killed
        return rank_ic(*tables)

    def say(tried) -> None:
        ended.append(tried)
        print("trial", tried.number, flush=True)  # noqa: T201

    run(score=aloud, report=say, storage=storage, sampler=sampler, trials=int(trials))
