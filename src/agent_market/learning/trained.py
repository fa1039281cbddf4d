"""A model of every fold, with all that is needed to use it again, elsewhere and later."""

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agent_market.adapters import Adapter, ModelOptions, get_adapter, parse_model_options
from agent_market.errors import ModelError
from agent_market.learning.samples import FeatureTensor, Samples, build_samples

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class FitRecord:
    """How a fit went: training and validation rows, steps (trees, epochs) taken, seconds, and whether it went on
    from the fold before."""

    rows: int
    valid_rows: int
    steps: int
    seconds: float
    warm_start: bool


@dataclass(frozen=True)
class FoldModel:
    """What one fold's training rows gave: the model, its preprocessing, and the scale of its target.

    `record` is there after a fit, and not stored: it has a clock in it, and models of equal inputs are equal files.
    """

    fold: int
    model: Any
    preprocessing: "Pipeline | None"
    target_scale: float
    record: FitRecord | None = None

    def predict(self, adapter: Adapter, tensor: FeatureTensor, rows: np.ndarray) -> np.ndarray:
        """Predictions (n,) of the given rows: returns, or probabilities; of several horizons the first."""
        said = np.asarray(adapter.predict(self.model, self.samples(tensor, rows)), float)
        return (said if said.ndim == 1 else said[:, 0]) * self.target_scale

    def predict_members(self, adapter: Adapter, tensor: FeatureTensor, rows: np.ndarray) -> np.ndarray | None:
        """What each of the model's seeds says of the given rows, (n, n_seeds); None where it has not two or more."""
        if not hasattr(adapter, "predict_members"):
            return None
        said = np.asarray(adapter.predict_members(self.model, self.samples(tensor, rows)), float)
        return said * self.target_scale if said.shape[1] > 1 else None

    def samples(self, tensor: FeatureTensor, rows: np.ndarray) -> Samples:
        """The given rows as the model sees them: features scaled and filled as it was fitted."""
        samples = build_samples(tensor, None, rows)
        if self.preprocessing is None:
            return samples
        return samples.with_values(self.preprocessing.transform(tensor.values))


@dataclass(frozen=True)
class TrainedModel:
    """One configured model, walked forward: `folds` are in order, the last one is the newest.

    `factors` maps each feature that it was trained on to its expression, in the order of the columns; `compat` says by
    which rules they were computed (`features.compat`); `fingerprint` has hashes of the `data` it was trained on and of
    this package's `code`. `gate` is the verdict of `judge_policy` on a policy; other models have none.
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
    gate: dict[str, Any] | None = None

    @property
    def adapter(self) -> Adapter:
        """The module that fits and predicts."""
        return get_adapter(self.options.adapter)

    @property
    def lookback(self) -> int:
        """Candles that a prediction sees, its own included."""
        return getattr(self.folds[-1].model, "lookback", None) or getattr(self.options, "lookback", 1)

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
            weight = np.broadcast_to(np.asarray(adapter.importance(part.model), float), len(self.factors))
            share = weight / weight.sum() if weight.sum() > 0 else weight
            tables.append(pd.DataFrame({"fold": part.fold, "feature": list(self.factors), "importance": share}))
        return pd.concat(tables, ignore_index=True)

    def fits(self) -> pd.DataFrame:
        """How the fit of each fold went, one row each; empty for a model that was loaded.

        Columns fold, warm_start (whether it went on from the fold before), rows and valid_rows (trained on, stopped
        by), steps (trees or epochs that this fit added), seconds (by the clock, beside whatever else ran).
        """
        columns = {"fold": int, "warm_start": bool, "rows": int, "valid_rows": int, "steps": int, "seconds": float}
        rows = [{"fold": part.fold, **asdict(part.record)} for part in self.folds if part.record is not None]
        return pd.DataFrame(rows, columns=list(columns)).astype(columns)

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
            **({} if self.gate is None else {"gate": self.gate}),
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
            gate=facts.get("gate"),
        )


def data_fingerprint(*tables: pd.DataFrame) -> str:
    """A short hash of the tables' values and column names, equal for equal data."""
    digest = hashlib.blake2b(digest_size=8)
    for table in tables:
        digest.update("\0".join(table.columns).encode())
        digest.update(pd.util.hash_pandas_object(table, index=False, categorize=True).to_numpy().tobytes())
    return digest.hexdigest()
