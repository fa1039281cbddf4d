"""Nodes of feature_store."""

import pandas as pd

from agent_market.factors import compute_factors, load_factors
from agent_market.factors.options import FeatureOptions
from agent_market.learning import folds as calendar
from agent_market.learning import labels as label_builder
from agent_market.learning import selection as selector
from agent_market.learning.folds import FoldOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.selection import SelectionOptions
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions


def select_factors(features: FeatureOptions) -> dict[str, str]:
    """Expression of each factor, in canonical form."""
    return load_factors(features.factor_set, features.factors)


def build_features(candles: pd.DataFrame, factors: dict[str, str], market: MarketOptions) -> pd.DataFrame:
    """One float32 column per factor, known at the close of each candle."""
    return compute_factors(candles, factors, timeframe=market.timeframe, max_gap=market.max_gap)


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
