import itertools

import numpy as np
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.evaluation import overfitting_probability

# What ffn 1.4.1 gives for `trials` in 12 and in 16 blocks.
PBO_12, PBO_16 = 0.0854978354978355, 0.1094017094017094


def trials():
    return np.random.default_rng(9).standard_t(5, (480, 7)) * 0.01 + np.linspace(0, 0.0008, 7)


def test_the_probability_is_that_of_ffn():
    assert overfitting_probability(trials(), 12).probability == pytest.approx(PBO_12, abs=1e-12)
    assert overfitting_probability(trials()).probability == pytest.approx(PBO_16, abs=1e-12)


def test_sums_of_parts_give_what_the_returns_themselves_give():
    table = trials()[:61]
    found = overfitting_probability(table, 6)
    parts, below, lost = np.split(table[:60], 6), 0, 0
    for half in itertools.combinations(range(6), 3):
        inside = np.concatenate([parts[at] for at in half])
        outside = np.concatenate([parts[at] for at in range(6) if at not in half])
        best = (inside.mean(axis=0) / inside.std(axis=0, ddof=1)).argmax()
        ratio = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        below += (ratio <= ratio[best]).sum() / 8 <= 0.5
        lost += ratio[best] < 0
    assert (found.slices, found.rows_per_slice, found.trials) == (6, 10, 7)
    assert found.probability == below / 20
    assert found.loss == lost / 20


def test_a_trial_that_is_always_best_is_not_overfitted_and_noise_is_in_half_of_the_splits():
    rng = np.random.default_rng(2)
    skilled = rng.normal(size=(320, 5)) * 0.01
    skilled[:, 3] += 0.02
    assert overfitting_probability(skilled).probability == 0.0
    noise = [overfitting_probability(rng.normal(size=(160, 10)), 8).probability for _ in range(60)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.1)


def test_of_equal_trials_none_is_better_than_the_median():
    same = np.repeat(trials()[:, :1], 4, axis=1)
    assert overfitting_probability(same).probability == 1.0


def test_one_model_or_a_few_days_have_no_probability():
    assert overfitting_probability(trials()[:, :1]) is None
    assert overfitting_probability(trials()[:39]) is None
    assert overfitting_probability(trials()[:40]).slices == 8


def test_wrong_tables_are_refused():
    with pytest.raises(ParameterError, match="7 slices of 480"):
        overfitting_probability(trials(), 7)
    with pytest.raises(DataError, match=r"shape \(480,\)"):
        overfitting_probability(trials()[:, 0])
