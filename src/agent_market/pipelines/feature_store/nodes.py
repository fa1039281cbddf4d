"""Nodes of feature_store."""

from typing import Any

import pandas as pd

from agent_market.factors import load_factors
from agent_market.factors.files import features_content
from agent_market.factors.options import FeatureOptions
from agent_market.factors.panel_folder import StoredPanel
from agent_market.factors.store import FeatureStream, stream_features
from agent_market.learning import folds as calendar
from agent_market.learning import labels as label_builder
from agent_market.learning import selection as selector
from agent_market.learning.folds import FoldOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.selection import SelectionOptions
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.mining.library import names_of
from agent_market.parallel import on_cluster


def select_factors(features: FeatureOptions, factor_library: dict[str, Any] | None) -> dict[str, Any]:
    """What the features are: `factors`, the expression of each in canonical form, and `compat`, the engine's rules.

    Expressions may name factors of the library, `@name`; with `features.mined` all of them are features, too, but for
    those that are among the others already.
    """
    library = names_of(factor_library)
    how = {"on_rejected": features.on_rejected, "library": library}
    factors = load_factors(features.factor_set, features.factors, **how)
    if features.mined:
        there = set(factors.values())
        mined = {name: expression for name, expression in library.items() if expression not in there}
        factors = load_factors(features.factor_set, {**mined, **features.factors}, **how)
    return {"factors": factors, "compat": features.compat}


def build_features(
    candles: pd.DataFrame,
    factors: dict[str, Any],
    stored_features: StoredPanel | None,
    features: FeatureOptions,
    market: MarketOptions,
) -> FeatureStream:
    """One float32 column per factor, known at the close of each candle; computed pair by pair while it is saved."""
    return stream_features(
        candles,
        **factors,
        timeframe=market.timeframe,
        max_gap=market.max_gap,
        stored=stored_features if features.append else None,
        threads=features.threads,
        n_jobs=-1 if on_cluster() else 1,
    )


def build_labels(
    candles: pd.DataFrame, labels: LabelOptions, market: MarketOptions, training: TrainingOptions
) -> pd.DataFrame:
    """Returns from the next open over each horizon, what models are trained on of them, and when it is known."""
    options = labels.including(training.label)
    return label_builder.build_labels(candles, options, timeframe=market.timeframe, max_gap=market.max_gap)


def make_folds(candles: pd.DataFrame, folds: FoldOptions, market: MarketOptions) -> pd.DataFrame:
    """The walk-forward calendar."""
    return calendar.make_folds(candles["date"], folds, timeframe=market.timeframe)


def score_features(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    training: TrainingOptions,
    selection: SelectionOptions,
    market: MarketOptions,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of each feature, their mean and spread over folds first, then fold by fold; of training rows only."""
    scores = selector.score_features(
        features, labels, folds, training, selection, timeframe=market.timeframe, max_gap=market.max_gap
    )
    return selector.summarize_scores(scores), scores


def write_scores(
    feature_scores: pd.DataFrame,
    factors: dict[str, Any],
    labels: pd.DataFrame,
    training: TrainingOptions,
    selection: SelectionOptions,
    market: MarketOptions,
) -> dict[str, Any]:
    """The features and their scores in the format of `freqai_features.json`, which `features.factor_set` reads."""
    header = {
        "label_period_candles": training.horizon,
        "timeframe": market.timeframe,
        "pairs": list(labels["pair"].cat.categories),
        "selection_methods": list(selection.scores),
    }
    return features_content(selector.rank_features(feature_scores, factors["factors"], selection.scores[0]), header)
