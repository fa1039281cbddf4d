"""Weights of each fold from what its members said before the fold's test window, and the blended predictions."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ModelError
from agent_market.evaluation import ic_series
from agent_market.learning.ensemble.blend import Blend, Evidence, fit_blend
from agent_market.learning.ensemble.model import Ensemble, Member, from_nothing
from agent_market.learning.ensemble.options import Options
from agent_market.learning.folds import check_out_of_sample
from agent_market.learning.labels import label_end_column
from agent_market.learning.trained import FitRecord, FoldModel, TrainedModel, data_fingerprint
from agent_market.learning.walk_forward import TrainingOptions, target_column
from agent_market.source import code_fingerprint

KEYS = ["pair", "date", "fold"]


@dataclass(frozen=True)
class MemberRun:
    """A model that was walked forward: its predictions of test windows, and those of validation windows."""

    name: str
    model: TrainedModel
    predictions: pd.DataFrame
    validation: pd.DataFrame


@dataclass(frozen=True)
class _Said:
    """What all members said of some rows, (n_rows, n_members) beside the keys and the label of each row."""

    rows: pd.DataFrame
    values: np.ndarray


def blend_models(
    runs: Sequence[MemberRun],
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    options: Options,
    training: TrainingOptions,
    *,
    name: str = "ensemble",
) -> tuple[TrainedModel, pd.DataFrame, pd.DataFrame]:
    """The ensemble of every fold, its predictions of that fold's test rows, and the weights with what they rest on.

    The weights of a fold rest on rows whose label is known at the end of its validation window, and so before its test
    window begins: of that window, or with `evidence: tested` of earlier folds' test windows. Predictions are scores
    around 0. The third table has one row per fold and member: fold, member, weight, ic (mean over the dates of the
    evidence), rows (of evidence), fell_back (no member gave reason for a weight, so all weigh the same).

    Raises:
        DataError: The members' predictions are not of the same rows, or there are none to rest weights on.
        ModelError: The members were trained on other features, or other folds.
    """
    started = time.perf_counter()
    _check_alike(runs, folds, name)
    target = target_column(labels, options, training)
    tested = _together(runs, labels, target, "predictions", name)
    validated = _together(runs, labels, target, "validation", name)
    parts, tables, weights = [], [], []
    for fold in folds.sort_values("test_start").to_dict("records"):
        rows, values = _evidence(fold, folds, tested, validated, options, name)
        ic = np.array([_mean_ic(rows, column, labels, training.horizon, options) for column in values.T])
        evidence = Evidence(values, rows["label"].to_numpy(), ic)
        blend = fit_blend(evidence, options, clip=training.clip_target)
        here = (tested.rows["fold"] == fold["fold"]).to_numpy()
        said = tested.rows.loc[here, KEYS].assign(prediction=blend.combine(tested.values[here]), kind="score")
        parts.append(_part(fold["fold"], runs, blend, len(rows), time.perf_counter() - started))
        weights.append(_weights(fold["fold"], runs, blend, ic, len(rows)))
        tables.append(said)
    predictions = pd.concat(tables).astype({"pair": runs[0].predictions["pair"].dtype})
    predictions = predictions.sort_values(["pair", "date"], ignore_index=True)
    check_out_of_sample(predictions, folds, name=name)
    first, names = runs[0].model, [run.name for run in runs]
    trained = TrainedModel(
        options=options,
        factors=first.factors,
        compat=first.compat,
        target=target,
        kind="score",
        timeframe=first.timeframe,
        max_gap=first.max_gap,
        fingerprint={
            "data": data_fingerprint(
                tested.rows,
                validated.rows,
                folds,
                *(pd.DataFrame(said.values, columns=names) for said in (tested, validated)),
            ),
            "code": code_fingerprint(),
        },
        folds=tuple(parts),
        gate=_gate(runs, parts),
    )
    return trained, predictions, pd.concat(weights, ignore_index=True)


def _check_alike(runs: Sequence[MemberRun], folds: pd.DataFrame, name: str) -> None:
    first = runs[0]
    for run in runs:
        try:
            run.model.check_factors(first.model.factors, first.model.compat)
        except ModelError as error:
            raise ModelError(f"{name}: {run.name} and {first.name} have other features: {error}") from error
        if sorted(part.fold for part in run.model.folds) != sorted(folds["fold"]):
            raise ModelError(f"{name}: {run.name} was trained on other folds; train it again with the present calendar")


def _together(runs: Sequence[MemberRun], labels: pd.DataFrame, target: str, what: str, name: str) -> _Said:
    """The members' predictions side by side, measured from where each says nothing, with the label of each row."""
    tables = [getattr(run, what).sort_values(["fold", "pair", "date"], ignore_index=True) for run in runs]
    rows = tables[0][KEYS]
    for run, table in zip(runs, tables, strict=True):
        if not (len(table) == len(rows) and all((table[key] == rows[key]).all() for key in KEYS)):
            raise DataError(
                f"{name}: {run.name}.{what} ({len(table)} rows) and {runs[0].name}.{what} ({len(rows)} rows) are not "
                "of the same rows: they come from different runs; train the members again"
            )
    known = _known(labels, target).set_axis(["pair", "date", "label", "end"], axis=1)
    values = [
        from_nothing(table["prediction"].to_numpy(float), run.model.kind)
        for run, table in zip(runs, tables, strict=True)
    ]
    return _Said(rows.merge(known, on=["pair", "date"], how="left"), np.column_stack(values))


def _known(labels: pd.DataFrame, target: str) -> pd.DataFrame:
    """The label of each pair and date, and when it is known."""
    return labels[["pair", "date", target, label_end_column(target)]]


def _evidence(
    fold: dict, folds: pd.DataFrame, tested: _Said, validated: _Said, options: Options, name: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows that the weights of a fold may rest on, and what the members said of them."""
    earlier = set(folds.loc[folds["test_start"] < fold["test_start"], "fold"])
    source, of = (tested, earlier) if options.evidence == "tested" and earlier else (validated, {fold["fold"]})
    usable = (
        source.rows["fold"].isin(of)
        & (source.rows["end"] <= fold["valid_end"])  # what is not known by then is purged
        & np.isfinite(source.rows["label"])
        & np.isfinite(source.values).all(axis=1)
    ).to_numpy()
    if usable.sum() < 2:
        raise DataError(
            f"{name}, fold {fold['fold']}: {usable.sum()} rows before {fold['valid_end']} have predictions of all "
            "members and a known label, too few for weights: lengthen folds.valid"
        )
    return source.rows[usable], source.values[usable]


def _mean_ic(rows: pd.DataFrame, said: np.ndarray, labels: pd.DataFrame, horizon: int, options: Options) -> float:
    predictions = rows[["pair", "date"]].assign(prediction=said, kind="score")
    return float(ic_series(predictions, labels, horizon)[options.measure].mean())


def _part(fold: int, runs: Sequence[MemberRun], blend: Blend, n_rows: int, seconds: float) -> FoldModel:
    members = tuple(
        Member(run.name, run.model.options, run.model.kind, next(part for part in run.model.folds if part.fold == fold))
        for run in runs
    )
    return FoldModel(fold, Ensemble(members, blend), None, 1.0, FitRecord(n_rows, 0, 1, seconds, False))


def _weights(fold: int, runs: Sequence[MemberRun], blend: Blend, ic: np.ndarray, n_rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "fold": fold,
            "member": [run.name for run in runs],
            "weight": blend.weights,
            "ic": ic,
            "rows": n_rows,
            "fell_back": blend.fell_back,
        }
    )


def _gate(runs: Sequence[MemberRun], parts: Sequence[FoldModel]) -> dict | None:
    """The go-live gates of the policies that have a say in some fold, taken together; None where there are none."""
    heard = sum(part.model.blend.weights for part in parts) > 0
    gates = {run.name: run.model.gate for run, has_say in zip(runs, heard, strict=True) if has_say and run.model.gate}
    if not gates:
        return None
    reasons = [f"its member {name}: {reason}" for name, gate in gates.items() for reason in gate["reasons"]]
    return {"passed": not reasons, "reasons": reasons, "checks": [], "members": list(gates)}
