"""Nodes of attribution."""

from typing import Any

import pandas as pd

from agent_market.learning import attribution, drift
from agent_market.learning.attribution import AttributionOptions
from agent_market.learning.curves import learning_curve
from agent_market.learning.trained import TrainedModel
from agent_market.learning.walk_forward import TrainingOptions


def attribute(
    model: TrainedModel,
    features: pd.DataFrame,
    factors: dict[str, Any],
    folds: pd.DataFrame,
    options: AttributionOptions,
    training: TrainingOptions,
) -> pd.DataFrame:
    """How strongly the predictions of each test window rest on each feature."""
    model.check_factors(factors["factors"], factors["compat"])
    return attribution.attribute(model, features, folds, options, n_jobs=training.n_jobs)


def trace_learning(model: TrainedModel) -> pd.DataFrame:
    """How the fits went on the validation rows, step by step."""
    return learning_curve(model)


def compare_predictions(
    model: TrainedModel, features: pd.DataFrame, predictions: pd.DataFrame, folds: pd.DataFrame
) -> pd.DataFrame:
    """How far the predictions of each test window are from those of the validation window before it."""
    return attribution.prediction_drift(model, features, predictions, folds)


def compare_features(features: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """How far the features of each test window are from those of its training window."""
    return drift.feature_drift(features, folds)
