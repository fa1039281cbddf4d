"""What is fitted to the training rows of a fold before the model sees them, and kept with the model."""

from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from agent_market.adapters.skops_file import write_skops

Step = Literal["impute", "clip", "standardize"]


class QuantileClipper(TransformerMixin, BaseEstimator):
    """Clips each feature to its own training quantiles, so that one wild candle does not rule a linear model."""

    def __init__(self, lower: float = 0.005, upper: float = 0.995) -> None:
        self.lower = lower
        self.upper = upper

    def fit(self, X: np.ndarray, y: None = None) -> "QuantileClipper":
        """Learn the quantiles of each column of X (n, d); NaN are left out."""
        self.low_, self.high_ = np.nanquantile(X, [self.lower, self.upper], axis=0).astype(X.dtype)  # (d,), (d,)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """X (n, d) held within the learned quantiles."""
        return np.clip(X, self.low_, self.high_)


def build_preprocessing(steps: tuple[Step, ...]) -> Pipeline | None:
    """An unfitted scikit-learn pipeline of the named steps, in their order; None where there are none."""
    parts = {
        "impute": SimpleImputer(strategy="median", keep_empty_features=True),
        "clip": QuantileClipper(),
        "standardize": StandardScaler(),
    }
    return Pipeline([(step, parts[step]) for step in steps]) if steps else None


def save_preprocessing(pipeline: Pipeline, path: Path) -> None:
    """Write a fitted pipeline with skops: no pickle."""
    write_skops(pipeline, path)


def load_preprocessing(path: Path) -> Pipeline:
    """Read what `save_preprocessing` wrote; any type but scikit-learn's and ours is refused."""
    import skops.io

    return skops.io.load(path, trusted=["agent_market.learning.preprocessing.QuantileClipper", "numpy.dtype"])
