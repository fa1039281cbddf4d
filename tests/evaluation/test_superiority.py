import numpy as np
import pytest
from arch.bootstrap import SPA

from agent_market.errors import DataError
from agent_market.evaluation import superiority_test
from agent_market.evaluation.superiority import _bootstrap_variance

BLOCK, DRAWS = 7.0, 4000


def excess(seed, skill=0.0):
    """Nine models against one benchmark, so their excess returns are correlated; some far worse, one with skill."""
    rng = np.random.default_rng(seed)
    table = 0.01 * (rng.normal(size=(335, 9)) * np.linspace(0.5, 3.0, 9) - rng.normal(size=(335, 1)))
    return table - 0.004 * (np.arange(9) > 6) + skill * (np.arange(9) == 3)


def by_arch(table):
    test = SPA(np.zeros(len(table)), -table, block_size=int(BLOCK), reps=DRAWS, seed=1)
    test.compute()
    return test


def close(share):
    """Four standard errors of the difference of two shares of so many draws."""
    return 4 * np.sqrt(2 * max(share * (1 - share), 0.002) / DRAWS)


def test_the_variance_of_a_resampled_mean_is_that_of_arch():
    table = excess(0)
    assert _bootstrap_variance(table, BLOCK) == pytest.approx(by_arch(table)._loss_diff_var, rel=1e-8)


@pytest.mark.parametrize(("seed", "skill"), [(0, 0.0), (1, 0.0), (2, 0.0015)])
def test_chances_agree_with_arch_within_monte_carlo_error(seed, skill):
    table = excess(seed, skill)
    ours = superiority_test(table, seed=3, repetitions=DRAWS, block=BLOCK)
    # arch compares means as they are, whatever `studentize` says: its table has to be scaled first
    scaled = by_arch(table / np.sqrt(_bootstrap_variance(table, BLOCK))).pvalues
    for name, chance in (("lower", ours.spa_low), ("consistent", ours.spa), ("upper", ours.spa_high)):
        assert chance == pytest.approx(scaled[name], abs=close(scaled[name])), name
    plain = by_arch(table).pvalues["upper"]
    assert ours.reality_check == pytest.approx(plain, abs=close(plain))
    assert ours.spa_low <= ours.spa <= ours.spa_high


def test_skill_is_found_and_named():
    found = superiority_test(excess(2, 0.006), seed=1)
    assert found.spa < 0.01
    assert found.best == 3


def test_without_skill_one_in_twenty_is_found():
    rng = np.random.default_rng(8)
    false = sum(
        superiority_test(rng.normal(size=(250, 6)), seed=run, repetitions=500, block=5).spa < 0.05 for run in range(200)
    )
    assert 2 <= false <= 21  # of 200 at 5 %: 10, and 21 has a chance of 0.1 %


def test_hopeless_models_do_not_hide_a_good_one():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(335, 1)) * 0.01 + 0.0012
    hopeless = rng.normal(size=(335, 60)) * 0.01 - 0.01
    alone = superiority_test(table, seed=2, block=5)
    among = superiority_test(np.hstack([table, hopeless]), seed=2, block=5)
    assert among.spa == pytest.approx(alone.spa, abs=0.01)
    assert among.spa_high > among.spa + 0.2


def test_what_equals_the_benchmark_is_left_out():
    table = np.hstack([np.zeros((335, 1)), excess(2, 0.006)])
    assert superiority_test(table, seed=1, block=5).best == 4
    assert superiority_test(np.zeros((50, 2)), seed=1) is None
    with pytest.raises(DataError, match="finite table"):
        superiority_test(np.full((50, 2), np.nan), seed=1)


def test_same_seed_same_chances():
    assert superiority_test(excess(1), seed=4, repetitions=300) == superiority_test(excess(1), seed=4, repetitions=300)
