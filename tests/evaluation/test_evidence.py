import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from agent_market.errors import ParameterError
from agent_market.evaluation import alpha_returns, probabilistic_sharpe, weigh_evidence


def run(seed=0, days=240, skill=0.0, models=4):
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2024-01-01", periods=days, tz="UTC")
    benchmark = pd.Series(rng.standard_t(5, days) * 0.02, index=dates)
    own = rng.standard_t(5, (days, models)) * 0.01 + skill * (np.arange(models) == 1)
    return {f"m{at}": 0.5 * benchmark + own[:, at] for at in range(models)}, benchmark


def test_all_that_is_known_stands_together_and_is_json():
    returns, benchmark = run(skill=0.006)
    found = weigh_evidence(returns, benchmark, dict.fromkeys(returns, 1), repetitions=500)
    json.dumps(found, allow_nan=False)
    assert (found["days"], found["models_compared"], found["trials"], found["pbo_slices"]) == (240, 4, 4, 16)
    assert found["spa_best"] == found["alpha_spa_best"] == "m1"
    assert found["alpha_spa_p"] < 0.01
    assert found["pbo"] < 0.05
    assert found["models"]["m1"]["alpha_dsr"] > 0.95
    assert found["models"]["m0"]["alpha_dsr"] < 0.95
    assert found["models"]["m1"]["psr"] == pytest.approx(probabilistic_sharpe(returns["m1"]))


def test_more_trials_make_the_same_return_worth_less():
    returns, benchmark = run(skill=0.002)
    few = weigh_evidence(returns, benchmark, dict.fromkeys(returns, 1), repetitions=100)
    many = weigh_evidence(returns, benchmark, dict.fromkeys(returns, 1) | {"m0": 200}, repetitions=100)
    assert many["trials"] == 203
    assert many["models"]["m1"]["dsr"] < few["models"]["m1"]["dsr"]
    assert many["models"]["m1"]["psr"] == few["models"]["m1"]["psr"]


def test_alpha_is_the_rest_of_a_regression():
    returns, benchmark = run()
    table = pd.DataFrame(returns).to_numpy()
    rest = alpha_returns(table, benchmark.to_numpy())
    for at in range(table.shape[1]):
        fit = sm.OLS(table[:, at], sm.add_constant(benchmark.to_numpy())).fit()
        assert rest[:, at] == pytest.approx(fit.params[0] + fit.resid, abs=1e-12)
    assert (alpha_returns(2.0 * benchmark.to_numpy()[:, None], benchmark.to_numpy()) == 0.0).all()


def test_what_follows_a_rising_market_has_skill_by_its_sharpe_ratio_and_none_beyond_it():
    _, benchmark = run()
    rising = benchmark + 0.01
    found = weigh_evidence({"held": 0.8 * rising}, rising, {"held": 1}, repetitions=100)
    assert found["models"]["held"]["psr"] > 0.95
    assert found["models"]["held"]["alpha_psr"] is None
    assert found["alpha_spa_p"] is None


def test_a_few_days_are_too_few():
    returns, benchmark = run(days=20)
    found = weigh_evidence(returns, benchmark, dict.fromkeys(returns, 1))
    assert found["pbo"] is None
    assert found["spa_p"] is None


def test_a_model_without_a_number_of_trials_is_refused():
    returns, benchmark = run()
    with pytest.raises(ParameterError, match="m2, m3"):
        weigh_evidence(returns, benchmark, {"m0": 1, "m1": 3})
