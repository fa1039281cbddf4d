import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap
from arch.bootstrap import optimal_block_length as arch_block_length

from agent_market.errors import DataError, ParameterError
from agent_market.evaluation import (
    mean_interval,
    newey_west,
    optimal_block_length,
    overlap_lags,
    stationary_bootstrap,
)


def autoregressive(n, phi, seed):
    shocks = np.random.default_rng(seed).normal(size=n)
    values = np.zeros(n)
    for t in range(1, n):
        values[t] = phi * values[t - 1] + shocks[t]
    return values


def daily(n, seed, mean=0.0):
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, n) * 0.02
    return mean + 0.5 * market + rng.normal(0, 0.01, n), market


@pytest.mark.parametrize("lags", [0, 1, 7, 24])
def test_newey_west_is_that_of_statsmodels(lags):
    values = autoregressive(500, 0.6, seed=1) + 0.3
    fit = sm.OLS(values, np.ones(500)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    mean, error = newey_west(values, lags)
    assert mean == pytest.approx(fit.params[0], rel=1e-12)
    assert error == pytest.approx(fit.bse[0], rel=1e-12)


def test_newey_west_refuses_missing_values_and_too_many_lags():
    with pytest.raises(DataError, match="not finite"):
        newey_west([1.0, np.nan, 2.0], 1)
    with pytest.raises(ParameterError, match="3 lags do not fit a series of 3 values"):
        newey_west([1.0, 2.0, 3.0], 3)


def test_lags_grow_with_the_horizon_and_with_the_sample():
    assert [overlap_lags(h, 1000) for h in (1, 2, 12)] == [6, 8, 48]
    assert overlap_lags(1, 100_000) == 18
    with pytest.raises(ParameterError, match="horizon is 0"):
        overlap_lags(0, 100)


def test_overlap_does_not_make_noise_significant():
    # 12-candle sums of noise: a naive 5 % test rejects about 30 %, the corrected one near 5 %.
    rng = np.random.default_rng(7)
    naive = corrected = 0
    for _ in range(400):
        values = np.convolve(rng.normal(size=1511), np.ones(12), "valid")
        naive += abs(values.mean()) > 1.96 * values.std() / np.sqrt(len(values))
        interval = mean_interval(values, overlap_lags(12, len(values)))
        corrected += not interval.low <= 0.0 <= interval.high
    assert naive / 400 > 0.25
    assert 0.02 < corrected / 400 < 0.10


def test_a_sample_too_short_for_its_lags_has_a_mean_and_no_interval():
    interval = mean_interval(np.arange(10.0), lags=5)
    assert interval.mean == 4.5
    assert np.isnan([interval.low, interval.high, interval.t, interval.error]).all()
    assert np.isnan(mean_interval([], lags=1).mean)


@pytest.mark.parametrize("series", [autoregressive(1000, 0.7, 3), autoregressive(300, 0.0, 4), daily(700, 5)[0]])
def test_block_length_is_that_of_arch(series):
    # arch cuts the correlations one lag later than the paper does, so a little longer where there are any.
    theirs = max(arch_block_length(series)["stationary"].iloc[0], 1.0)
    assert optimal_block_length(series) == pytest.approx(theirs, rel=0.05)


def test_sharpe_interval_agrees_with_arch_within_monte_carlo_error():
    returns, market = daily(400, seed=2, mean=0.001)
    ours = stationary_bootstrap(returns, market, periods=365, seed=3, repetitions=4000, block=6.0)
    arch = StationaryBootstrap(6.0, returns, market, seed=11)

    def ratios(r, m):
        beta = np.cov(r, m)[0, 1] / m.var(ddof=1)
        rest = r - beta * m
        return np.array([r.mean() / r.std(ddof=1), rest.mean() / rest.std(ddof=1)]) * np.sqrt(365)

    draws = arch.apply(ratios, 4000)
    assert [ours.sharpe, ours.alpha_sharpe] == pytest.approx(ratios(returns, market))
    for mine, theirs in ((ours.sharpe_draws, draws[:, 0]), (ours.alpha_sharpe_draws, draws[:, 1])):
        spread = theirs.std()
        assert mine.mean() == pytest.approx(theirs.mean(), abs=4 * spread * np.sqrt(2 / 4000))
        assert mine.std() == pytest.approx(spread, rel=0.06)
        # The error of a 2.5 % quantile of 4000 draws is about 0.045 deviations; here of two of them.
        assert np.quantile(mine, [0.025, 0.975]) == pytest.approx(np.quantile(theirs, [0.025, 0.975]), abs=0.2 * spread)


def test_same_seed_same_draws_and_another_seed_others():
    returns, market = daily(200, seed=1)
    first, again, other = (
        stationary_bootstrap(returns, market, periods=365, seed=seed, repetitions=300) for seed in (5, 5, 6)
    )
    assert (first.sharpe_draws == again.sharpe_draws).all()
    assert (first.sharpe_draws != other.sharpe_draws).any()


def test_alpha_is_what_the_market_does_not_explain():
    _, market = daily(500, seed=4)
    rng = np.random.default_rng(9)
    own = rng.normal(0.001, 0.01, 500)
    result = stationary_bootstrap(2.0 * market + own, market, periods=365, seed=1, repetitions=200)
    fit = sm.OLS(2.0 * market + own, sm.add_constant(market)).fit()
    assert result.beta == pytest.approx(fit.params[1])
    assert result.alpha == pytest.approx(fit.params[0] * 365)


def test_half_of_buy_and_hold_has_no_alpha_however_well_it_does():
    _, market = daily(500, seed=4)
    result = stationary_bootstrap(0.5 * (market + 0.004), market + 0.004, periods=365, seed=1, repetitions=300)
    assert result.sharpe_interval(0.05)[0] > 0.0
    assert result.beta == pytest.approx(0.5)
    assert result.alpha_sharpe_interval(0.05) == (0.0, 0.0)


def test_returns_that_never_move_have_zero_everywhere():
    result = stationary_bootstrap(np.zeros(60), np.zeros(60), periods=365, seed=1, repetitions=100)
    assert (result.sharpe, result.alpha_sharpe, result.beta, result.probability) == (0.0, 0.0, 0.0, 0.0)
    assert result.sharpe_interval(0.05) == (0.0, 0.0)


def test_returns_that_cannot_be_resampled_are_refused():
    with pytest.raises(DataError, match="3 returns beside 2"):
        stationary_bootstrap([0.1, 0.2, 0.3], [0.1, 0.2], periods=365, seed=0)
    with pytest.raises(DataError, match="not finite"):
        stationary_bootstrap([0.1, np.nan], [0.1, 0.2], periods=365, seed=0)
