"""How much each feature has to do with the label, on training rows only: what a selection of features may look at."""

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field

from agent_market.adapters import ModelOptions, get_adapter, parse_model_options
from agent_market.errors import ModelError, ParameterError
from agent_market.learning.fitting import fit_model, silent
from agent_market.learning.labels import label_end_column
from agent_market.learning.samples import FeatureTensor, Samples, build_samples, check_aligned
from agent_market.learning.sampling import every_kth, labelled_rows
from agent_market.learning.walk_forward import TrainingOptions, target_column
from agent_market.options import Options

SCORES = ("correlation", "mutual_info", "importance")

_OF_FEW_VALUES = ("up", "class", "barrier")
_LEAST_ROWS = 20
"""Fewer values than this of a feature have no score."""


def _model(block: Any) -> ModelOptions:
    return block if isinstance(block, ModelOptions) else _parsed(block)


def _parsed(block: dict[str, Any]) -> ModelOptions:
    try:
        return parse_model_options(block)
    except ParameterError as error:
        raise ValueError(str(error)) from error


class SelectionOptions(Options):
    """Whether and how features are scored."""

    enabled: bool = Field(
        False, description="make the datasets feature_scores, feature_scores_by_fold and freqai_features"
    )
    scores: tuple[Literal["correlation", "mutual_info", "importance"], ...] = Field(
        SCORES, min_length=1, description="what is measured, the one that ranks first; the other columns are empty"
    )
    max_rows: int = Field(
        10_000, ge=100, description="training rows drawn per fold for mutual_info, whose cost is per row"
    )
    model: Annotated[ModelOptions, BeforeValidator(_model)] = Field(
        {"adapter": "lightgbm", "n_estimators": 100},
        validate_default=True,
        description="the model whose importance is measured, a block like those of `models`",
    )
    seed: int = Field(0, ge=0, description="seed of the rows drawn and of the mutual information")


def score_features(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    training: TrainingOptions,
    options: SelectionOptions,
    *,
    timeframe: str,
    max_gap: int = 0,
) -> pd.DataFrame:
    """Scores of each feature in each fold, from the rows of its training window whose label is known by its end.

    The label is the one that `options.model` would be trained on. One row per fold and feature:

    - `correlation`: Pearson's, of the feature with the label, NaN where either does not vary;
    - `mutual_info`: in nats, 0 or more; by nearest neighbours (Kraskov et al. 2004, Ross 2014) on `max_rows` rows
      at most. Of what is independent, 10,000 rows give values up to about 0.02: compare the folds;
    - `importance`: share of the feature in `options.model` fitted to those rows, 0 to 1;
    - `n_rows`: training rows of the fold.

    Raises:
        ParameterError: There is no such label.
        ModelError: A fold has too few training rows.
    """
    target = target_column(labels, options.model, training)
    tensor = FeatureTensor.from_frame(features, timeframe=timeframe, max_gap=max_gap)
    check_aligned(tensor, labels)
    tables = []
    for fold in folds.to_dict("records"):
        rows = labelled_rows(tensor, labels, target, label_end_column(target), fold["train_start"], fold["train_end"])
        train = build_samples(
            tensor, labels, every_kth(tensor, rows, training.stride, timeframe=timeframe), target=(target,)
        )
        if len(train) < _LEAST_ROWS:
            raise ModelError(
                f"fold {fold['fold']} has {len(train)} training rows with {target} and features, at least "
                f"{_LEAST_ROWS} are needed to score features: lengthen folds.train, or lower training.stride"
            )
        scores = _scores_of_fold(fold["fold"], train, training, options, target)
        tables.append(
            pd.DataFrame({"fold": fold["fold"], "feature": list(tensor.names), **scores, "n_rows": len(train)})
        )
    return pd.concat(tables, ignore_index=True)


def summarize_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over folds of what `score_features` measured, one row per feature in the features' order.

    Columns name, then of each score its mean (`correlation`, `mutual_info`, `importance`) and its standard deviation
    over folds (`<score>_std`, ddof 1, NaN with one fold), and `folds`, how many there were.
    """
    by_feature = scores.groupby("feature", sort=False)
    table = pd.DataFrame({"name": list(by_feature.groups)})
    for score in SCORES:
        table[score] = by_feature[score].mean().to_numpy()
        table[f"{score}_std"] = by_feature[score].std().to_numpy()
    return table.assign(folds=scores["fold"].nunique())


def rank_features(summary: pd.DataFrame, factors: dict[str, str], method: str) -> pd.DataFrame:
    """The features with their scores, the highest in size by `method` first: what a `freqai_features.json` holds.

    `summary` is what `summarize_scores` gives, `factors` the expression of each feature. Columns name, expression,
    score (that of `method`), score_metric and the scores; what has no score comes last.
    """
    ranked = summary.assign(score=summary[method], score_metric=method, expression=summary["name"].map(factors))
    order = ranked["score"].abs().sort_values(ascending=False, kind="stable").index
    return ranked.loc[order, ["name", "expression", "score", "score_metric", *SCORES]].reset_index(drop=True)


def _scores_of_fold(
    number: int, train: Samples, training: TrainingOptions, options: SelectionOptions, target: str
) -> dict[str, np.ndarray]:
    """Each score of all features, (n_features,), from one fold's training rows; NaN where it is not asked for."""
    found = {score: np.full(train.X.shape[1], np.nan) for score in SCORES}
    X, y = train.X, train.y[:, 0]
    if "correlation" in options.scores:
        found["correlation"] = correlation(X, y)
    if "mutual_info" in options.scores:
        rng = np.random.default_rng((options.seed, number))
        drawn = np.sort(rng.permutation(len(y))[: options.max_rows])
        discrete = target.rpartition("_")[0] in _OF_FEW_VALUES
        found["mutual_info"] = mutual_info(X[drawn], y[drawn], discrete=discrete, seed=options.seed)
    if "importance" in options.scores:
        found["importance"] = _importance(number, train, training, options.model)
    return found


def correlation(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column of X (n, d) with y (n,), over the rows where the column is not NaN: (d,)."""
    found = np.full(X.shape[1], np.nan)
    for column in range(X.shape[1]):
        x = X[:, column].astype(float)
        known = np.isfinite(x)
        if known.sum() >= _LEAST_ROWS and np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0:
            found[column] = np.corrcoef(x[known], y[known])[0, 1]
    return found


def mutual_info(X: np.ndarray, y: np.ndarray, *, discrete: bool, seed: int) -> np.ndarray:
    """Mutual information in nats of each column of X (n, d) with y (n,), over the rows where it is not NaN: (d,).

    NaN where the column does not vary. `discrete` says that y takes a few values only; the seed is that of the tiny
    noise that breaks ties.
    """
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    estimate = mutual_info_classif if discrete else mutual_info_regression
    y = y.astype(int) if discrete else y
    found = np.full(X.shape[1], np.nan)
    for column in range(X.shape[1]):
        known = np.isfinite(X[:, column])
        x = X[known, column].astype(float)[:, None]  # (n, 1)
        if len(x) >= _LEAST_ROWS and np.ptp(x) > 0:
            found[column] = estimate(x, y[known], random_state=seed)[0]
    return found


def _importance(number: int, train: Samples, training: TrainingOptions, options: ModelOptions) -> np.ndarray:
    """Share of each feature (n_features,) in a model fitted to the training rows alone, without early stopping."""
    adapter = get_adapter(options.adapter)
    if not hasattr(adapter, "importance"):
        raise ParameterError(
            f"selection.model.adapter is {options.adapter}, which does not say how important features are; "
            "take another, or leave importance out of selection.scores"
        )
    part = fit_model(
        number, train, None, options, clip_target=training.clip_target, report=silent, name="selection.model"
    )
    weight = np.asarray(adapter.importance(part.model), float)
    return weight / weight.sum() if weight.sum() > 0 else weight
