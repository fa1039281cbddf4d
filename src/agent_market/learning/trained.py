"""A model of every fold, with all that is needed to use it again, elsewhere and later."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agent_market.adapters import Adapter, ModelOptions, get_adapter, parse_model_options
from agent_market.errors import ModelError
from agent_market.learning.samples import FeatureTensor, build_samples

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class FoldModel:
    """What one fold's training rows gave: the model, its preprocessing, and the scale of its target."""

    fold: int
    model: Any
    preprocessing: "Pipeline | None"
    target_scale: float

    def predict(self, adapter: Adapter, tensor: FeatureTensor, rows: np.ndarray) -> np.ndarray:
        """Predictions (n,) of the given rows: returns, or probabilities."""
        samples = build_samples(tensor, None, rows)
        if self.preprocessing is not None:
            samples = samples.with_values(self.preprocessing.transform(tensor.values))
        return adapter.predict(self.model, samples) * self.target_scale


@dataclass(frozen=True)
class TrainedModel:
    """One configured model, walked forward: `folds` are in order, the last one is the newest.

    `factors` maps each feature that it was trained on to its expression, in the order of the columns; `compat` says by
    which rules they were computed (`features.compat`); `fingerprint` has hashes of the `data` it was trained on and of
    this package's `code`.
    """

    options: ModelOptions
    factors: dict[str, str]
    compat: str
    target: str
    kind: str
    timeframe: str
    max_gap: int
    fingerprint: dict[str, str]
    folds: tuple[FoldModel, ...]

    @property
    def adapter(self) -> Adapter:
        """The module that fits and predicts."""
        return get_adapter(self.options.adapter)

    def predict(
        self, features: pd.DataFrame, factors: dict[str, str], compat: str, *, fold: int | None = None
    ) -> pd.DataFrame:
        """Predictions of all rows of a features table by one fold's model, the newest unless `fold` says which.

        `factors` and `compat` say how the features were computed, as the dataset `factors` has them.

        Raises:
            ModelError: The features are not those that the model was trained on; the message says which differ.
        """
        self.check_factors(factors, compat)
        chosen = self.folds[-1] if fold is None else next(part for part in self.folds if part.fold == fold)
        tensor = FeatureTensor.from_frame(features, timeframe=self.timeframe, max_gap=self.max_gap)
        values = chosen.predict(self.adapter, tensor, np.arange(len(features)))
        return features[["pair", "date"]].assign(fold=chosen.fold, prediction=values, kind=self.kind)

    def check_factors(self, factors: dict[str, str], compat: str) -> None:
        """Raise ModelError unless `factors` are the model's own: same names, expressions, order and rules."""
        differences = [
            *(f"{name} is missing" for name in self.factors if name not in factors),
            *(f"{name} is new" for name in factors if name not in self.factors),
            *(
                f"{name} was {self.factors[name]} and is now {expression}"
                for name, expression in factors.items()
                if self.factors.get(name, expression) != expression
            ),
        ]
        if not differences and list(factors) != list(self.factors):
            differences = [f"the order was {list(self.factors)} and is now {list(factors)}"]
        if compat != self.compat:
            differences.append(f"they followed the rules {self.compat!r} (features.compat) and now follow {compat!r}")
        if differences:
            raise ModelError(
                f"the model ({self.options.adapter}) was trained on other features: {'; '.join(differences)}. "
                "Train it again, or restore the factors (features.factor_set, features.factors, features.compat)."
            )

    def importance(self) -> pd.DataFrame:
        """Share of each feature in each fold's model: columns fold, feature, importance (sums to 1 per fold)."""
        adapter = self.adapter
        if not hasattr(adapter, "importance"):
            return pd.DataFrame({"fold": [], "feature": [], "importance": []})
        tables = []
        for part in self.folds:
            weight = np.asarray(adapter.importance(part.model), float)
            share = weight / weight.sum() if weight.sum() > 0 else weight
            tables.append(pd.DataFrame({"fold": part.fold, "feature": list(self.factors), "importance": share}))
        return pd.concat(tables, ignore_index=True)

    def describe(self) -> dict[str, Any]:
        """All but the fitted parts, JSON-ready: what `adapter.json` holds."""
        return {
            "adapter": self.options.adapter,
            "options": self.options.model_dump(mode="json"),
            "target": self.target,
            "kind": self.kind,
            "timeframe": self.timeframe,
            "max_gap": self.max_gap,
            "factors": self.factors,
            "compat": self.compat,
            "fingerprint": self.fingerprint,
            "folds": [
                {
                    "fold": part.fold,
                    "target_scale": part.target_scale,
                    "preprocessing": part.preprocessing is not None,
                }
                for part in self.folds
            ],
        }

    @classmethod
    def from_description(cls, facts: dict[str, Any], folds: tuple[FoldModel, ...]) -> "TrainedModel":
        """The model that `describe` described, with its fitted parts."""
        return cls(
            options=parse_model_options(facts["options"]),
            factors=facts["factors"],
            compat=facts["compat"],
            target=facts["target"],
            kind=facts["kind"],
            timeframe=facts["timeframe"],
            max_gap=facts["max_gap"],
            fingerprint=facts["fingerprint"],
            folds=folds,
        )


def data_fingerprint(*tables: pd.DataFrame) -> str:
    """A short hash of the tables' values and column names, equal for equal data."""
    digest = hashlib.blake2b(digest_size=8)
    for table in tables:
        digest.update("\0".join(table.columns).encode())
        digest.update(pd.util.hash_pandas_object(table, index=False, categorize=True).to_numpy().tobytes())
    return digest.hexdigest()


@functools.cache
def code_fingerprint() -> str:
    """A short hash of this package's source, equal for equal code."""
    digest = hashlib.blake2b(digest_size=8)
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
