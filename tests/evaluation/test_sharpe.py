import numpy as np
import pytest
from scipy import stats

from agent_market.errors import DataError, ParameterError
from agent_market.evaluation import (
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
)

# What skfolio 1.12.2 (PSR, its expected maximum, DSR) and purgedcv 0.1.11 (track record, rounded up) give for `heavy`.
PSR, PSR_ABOVE_005, BEST_OF_25, DSR_25 = 0.900068480296375, 0.6169146635466007, 0.09998255077099154, 0.24609706148078747
TRACK, TRACK_ABOVE_002 = 658, 1370


def heavy():
    return np.random.default_rng(5).standard_t(4, 400) * 0.01 + 0.001


def test_probabilistic_sharpe_is_that_of_skfolio():
    assert probabilistic_sharpe(heavy()) == pytest.approx(PSR, abs=1e-10)
    assert probabilistic_sharpe(heavy(), 0.05) == pytest.approx(PSR_ABOVE_005, abs=1e-10)


def test_deflated_sharpe_is_that_of_skfolio_for_trials_of_the_deviation_that_chance_gives():
    assert expected_best_sharpe(25, 1 / np.sqrt(399)) == pytest.approx(BEST_OF_25, abs=1e-12)
    assert deflated_sharpe(heavy(), 25) == pytest.approx(DSR_25, abs=1e-10)


def test_the_track_record_is_that_of_purgedcv():
    assert np.ceil(minimum_track_record(heavy())) == TRACK
    assert np.ceil(minimum_track_record(heavy(), benchmark=0.02)) == TRACK_ABOVE_002


def test_a_record_of_the_minimum_length_just_suffices():
    # the same moments over so many returns as the formula asks for
    returns = np.tile(heavy(), 500)
    needed = minimum_track_record(returns)
    ratio = returns.mean() / returns.std(ddof=1)
    error = np.sqrt(
        (1 - stats.skew(returns) * ratio + (stats.kurtosis(returns, fisher=False) - 1) / 4 * ratio**2) / (needed - 1)
    )
    assert stats.norm.cdf(ratio / error) == pytest.approx(0.95, abs=1e-9)


def test_the_best_of_many_trials_without_skill_is_what_the_formula_expects():
    rng = np.random.default_rng(3)
    returns = rng.normal(size=(400, 250, 30))
    best = (returns.mean(axis=1) / returns.std(axis=1, ddof=1)).max(axis=1)
    error = best.std() / np.sqrt(len(best))
    assert expected_best_sharpe(30, 1 / np.sqrt(249)) == pytest.approx(best.mean(), abs=4 * error + 0.001)
    assert expected_best_sharpe(1, 0.1) == 0.0


def test_the_deflated_ratio_of_the_best_of_many_is_no_claim_where_the_plain_one_is():
    rng = np.random.default_rng(4)
    plain = deflated = 0
    for _ in range(200):
        trials = rng.normal(size=(365, 40))
        best = trials[:, (trials.mean(axis=0) / trials.std(axis=0)).argmax()]
        plain += probabilistic_sharpe(best) > 0.95
        deflated += deflated_sharpe(best, 40) > 0.95
    assert plain > 150  # expected: 1 - 0.95 ** 40 = 87 % of 200
    assert deflated <= 10  # the best of 40 exceeds its own expectation so clearly in about 1 %


def test_a_probabilistic_ratio_without_skill_is_uniform():
    chances = [probabilistic_sharpe(row) for row in np.random.default_rng(6).standard_t(6, (600, 300))]
    assert stats.kstest(chances, "uniform").pvalue > 0.01


def test_what_has_no_ratio_has_no_chance():
    assert np.isnan(probabilistic_sharpe(np.zeros(50)))
    assert np.isnan(deflated_sharpe([0.01, 0.02], 5))
    assert np.isnan(minimum_track_record(-heavy()))
    with pytest.raises(DataError, match="not finite"):
        probabilistic_sharpe([0.1, np.nan, 0.2])
    with pytest.raises(ParameterError, match="number of trials is 0"):
        expected_best_sharpe(0, 0.1)
    with pytest.raises(ParameterError, match=r"level is 0.7"):
        minimum_track_record(heavy(), 0.7)
