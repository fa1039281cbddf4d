import numpy as np
import pandas as pd
import pytest

import studies
from agent_market.adapters import BUILT_IN, get_adapter, parse_model_options
from agent_market.errors import ParameterError
from agent_market.learning.folds import inner_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.tuning import TuningOptions
from agent_market.learning.tuning import search as module
from agent_market.learning.tuning.options import Recorder, grid_of
from agent_market.learning.tuning.search import with_drawn
from panels import scramble_after

END = studies.FOLDS["train_end"].iloc[0]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_seed_tries_the_same_and_another_one_something_else(sampler):
    first, again, other = (studies.run(sampler=sampler, seed=seed, grid_points=7) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.trials, again.trials, check_exact=True)
    assert first.facts | {"study": ""} == again.facts | {"study": ""}
    assert first.trials["alpha"].tolist() != other.trials["alpha"].tolist()
    assert len(first.trials) == 6


def test_the_first_trial_is_the_configuration_as_it_stands_and_the_best_is_chosen():
    found = studies.run(pruner="none")
    table = found.trials
    assert table.loc[0, "alpha"] == 1000.0
    assert found.facts["trials"] == 6
    assert found.facts["best_value"] == table["value"].max() >= table.loc[0, "value"]
    assert found.options.alpha == table["alpha"][table["value"].idxmax()]
    scores = table[["score_0", "score_1"]]
    np.testing.assert_allclose(scores.mean(axis=1), table["value"])


def test_a_grid_holds_all_combinations_once():
    space = {"ridge": {"alpha": {"low": 10.0, "high": 1000.0, "log": True}, "seed": [0, 1]}}
    table = studies.run(sampler="grid", space=space, trials=50).trials
    expected = {(alpha, seed) for alpha in (10.0, 100.0, 1000.0) for seed in (0, 1)}
    assert {(round(row.alpha, 9), row.seed) for row in table.itertuples()} == expected
    assert len(table) == 6


def test_choices_may_be_lists():
    found = studies.run(space=studies.SPACE, trials=8)
    assert set(found.trials["preprocessing"]) == {0, 1}
    assert found.options.preprocessing in (("impute",), ("impute", "clip"))


def test_a_trial_worse_than_the_median_ends_early_and_is_counted():
    found = studies.run(trials=12, folds=3, sampler="random", warm_up=2)
    pruned = found.trials[found.trials["pruned"]]
    assert 0 < len(pruned) == found.facts["pruned"] < 12
    assert pruned["score_2"].isna().any()
    assert not found.trials["pruned"].iloc[:2].any()
    assert found.facts["trials"] == 12
    assert studies.run(trials=12, folds=3, sampler="random", pruner="none").facts["pruned"] == 0


def test_a_loss_is_minimised():
    found = studies.run(objective="logloss", score=lambda *tables: -studies.rank_ic(*tables), pruner="none")
    assert found.facts["best_value"] == found.trials["value"].min()


def test_importance_is_shared_among_the_options():
    space = {"ridge": {"alpha": {"low": 1e-3, "high": 1e9, "log": True}, "seed": {"low": 0, "high": 9}}}
    found = studies.run(space=space, trials=16, pruner="none", sampler="random")
    assert found.importance["importance"].sum() == pytest.approx(1.0)
    assert found.importance["option"].iloc[0] == "alpha"


# ---- what a choice may know


def _with_another_future(end):
    """Features and labels that differ in all that is not known at `end`."""
    other = build_labels(scramble_after(studies.CANDLES, end), LabelOptions(horizons=(2,)), timeframe="1h")
    later = (studies.LABELS["label_end_2"] > end) | studies.LABELS["label_end_2"].isna()
    labels = studies.LABELS.copy()
    values = ["return_2", "excess_2", "up_2"]
    labels.loc[later, values] = 1.0 - 5 * other.loc[later, values]
    features = studies.FEATURES.copy()
    features.loc[features["date"] >= end, list(features.columns[2:])] *= -3.0
    return features, labels


@pytest.mark.parametrize("adapter", ["sklearn", "lightgbm"])
def test_nothing_after_the_first_training_window_changes_a_trial_or_the_choice(adapter):
    small = {"adapter": adapter} | ({"n_estimators": 20} if adapter == "lightgbm" else {})
    features, labels = _with_another_future(END)
    before, after = studies.run(model=small), studies.run(model=small, features=features, labels=labels)
    pd.testing.assert_frame_equal(before.trials, after.trials, check_exact=True)
    assert before.facts == after.facts


@pytest.mark.parametrize("leak", ["rows", "labels"])
def test_the_check_above_would_catch_a_cut_that_comes_too_late(monkeypatch, leak):
    features, labels = _with_another_future(END)
    late = pd.Timedelta("12h")
    if leak == "rows":  # an inner fold that reaches over the end of the training window
        monkeypatch.setattr(module, "before", lambda table, end: table)
        monkeypatch.setattr(module, "known_by", lambda labels, end: labels)
        real = module.inner_folds
        monkeypatch.setattr(module, "inner_folds", lambda start, end, n, **how: real(start, end + late, n, **how))
    else:  # labels of the last rows, which nobody knows in time
        monkeypatch.setattr(module, "known_by", lambda labels, end: labels)
    before, after = studies.run(), studies.run(features=features, labels=labels)
    assert not before.trials["value"].equals(after.trials["value"])


def test_inner_folds_lie_within_the_window_and_do_not_overlap():
    start, end = pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-25", tz="UTC")
    inner = inner_folds(start, end, 3, timeframe="1h", embargo=2)
    assert (inner["train_start"] == start).all()
    assert inner["test_start"].tolist() == [start + pd.Timedelta(days=days) for days in (12, 16, 20)]
    assert inner["test_end"].tolist() == [*inner["test_start"].iloc[1:], end]
    gap = pd.Timedelta("2h")
    assert (inner["valid_start"] - inner["train_end"] == gap).all()
    assert (inner["test_start"] - inner["valid_end"] == gap).all()
    assert (inner["valid_end"] - inner["valid_start"] == pd.Timedelta("2D")).all()
    with pytest.raises(ParameterError, match=r"lower tuning\.folds"):
        inner_folds(start, end, 400, timeframe="1h")


# ---- spaces


def _models():
    networks = [{"adapter": "torch", "network": name} for name in ("mlp", "lstm", "gru", "tcn", "transformer")]
    algorithms = [
        {"adapter": "stable_baselines3", "algorithm": name}
        for name in ("ppo", "a2c", "dqn", "sac", "td3", "recurrent_ppo", "qr_dqn")
    ]
    plain = sorted(set(BUILT_IN) - {"torch", "stable_baselines3"})
    return [*({"adapter": name} for name in plain), *networks, *algorithms]


@pytest.mark.parametrize("model", _models(), ids=lambda model: "-".join(model.values()))
def test_every_model_takes_all_corners_of_its_adapters_space(model):
    options, suggest = parse_model_options(model), get_adapter(model["adapter"]).suggest
    recorder = Recorder()
    suggest(recorder)
    assert recorder.space
    for number, row in enumerate(grid_of(suggest, 2, seed=0)):
        if number == 64:
            break
        drawn = suggest(_Fixed(row))
        assert with_drawn(options, drawn, "model") is not None


class _Fixed:
    def __init__(self, row):
        self.row = row

    def __getattr__(self, name):
        return lambda option, *bounds, **how: self.row[option]


def test_an_option_of_a_block_is_named_by_its_path():
    options = parse_model_options({"adapter": "stable_baselines3", "env": {"window": 3}})
    drawn = with_drawn(options, {"env.fee": 0.005, "gamma": 0.8}, "ppo")
    assert (drawn.env.fee, drawn.env.window, drawn.gamma) == (0.005, 3, 0.8)
    assert "slippage" not in drawn.env.model_fields_set, "what nobody named is still taken from the backtest"


def test_a_value_that_the_model_cannot_take_is_an_error_that_names_the_space():
    space = {"ridge": {"alpha": [-1.0, -2.0]}}
    with pytest.raises(ParameterError, match=r"tuning\.space\.ridge: the model cannot take .*alpha"):
        studies.run(space=space)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"low": 3, "high": 3}, r"low \(3\) must be below high"),
        ({"low": 0, "high": 3, "log": True}, "low must be above 0"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "log and step exclude each other"),
        ([], "ridge.alpha is an empty list"),
    ],
)
def test_a_range_must_be_one(block, said):
    with pytest.raises(ValueError, match=said):
        TuningOptions.model_validate({"space": {"ridge": {"alpha": block}}})
