import json

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import ParameterError
from agent_market.evaluation import edge_verdict, overall_verdict

DAYS = 365


def market(rng, n=DAYS):
    return pd.Series(rng.standard_t(5, n) * 0.02 + 0.001, index=pd.date_range("2024-01-01", periods=n, tz="UTC"))


def strategy(rng, benchmark, alpha_sharpe):
    """Half the market plus own returns whose annual Sharpe ratio is `alpha_sharpe`."""
    own = rng.standard_t(5, len(benchmark)) * 0.01
    own = own / own.std() + alpha_sharpe / np.sqrt(365)
    return 0.5 * benchmark + 0.01 * own


def coefficients(rng, mean, n=3000):
    return pd.Series(rng.normal(mean, 0.38, n))


def judge(returns, benchmark, rank_ic, **options):
    options = {"horizon": 1, "trading_days": 365, "repetitions": 1000, "seed": 1} | options
    return edge_verdict(returns, benchmark, rank_ic, **options)


def one(alpha_sharpe, ic, seed=0):
    rng = np.random.default_rng(seed)
    benchmark = market(rng)
    return judge({"a": strategy(rng, benchmark, alpha_sharpe)}, benchmark, {"a": coefficients(rng, ic)})["a"]


def test_a_strong_edge_is_claimed():
    verdict = one(alpha_sharpe=5.0, ic=0.05)
    assert verdict["claim"] is True
    assert verdict["failed"] == []
    assert verdict["probability"] > 0.99
    assert verdict["beta"] == pytest.approx(0.5, abs=0.1)
    assert verdict["alpha_sharpe_ci"][0] > 0.0
    assert verdict["sentence"].startswith("An edge after costs: the RankIC of ")
    json.dumps(verdict, allow_nan=False)


def test_predictions_that_cannot_pay_their_costs_are_no_edge():
    verdict = one(alpha_sharpe=-1.0, ic=0.05)
    assert verdict["claim"] is False
    assert verdict["failed"] == ["alpha Sharpe ratio"]
    assert verdict["sentence"].startswith("No edge after costs: the alpha Sharpe ratio of ")


def test_profit_without_a_signal_is_no_edge():
    verdict = one(alpha_sharpe=5.0, ic=0.0)
    assert verdict["failed"] == ["RankIC"]
    assert verdict["sentence"].startswith("No edge after costs: the RankIC of ")


def test_a_signal_of_the_wrong_sign_is_named_as_such():
    verdict = one(alpha_sharpe=-8.0, ic=-0.05)
    assert verdict["failed"] == ["RankIC", "alpha Sharpe ratio"]
    assert verdict["sentence"].count("lies below zero") == 2


def test_following_a_rising_market_is_no_edge():
    rng = np.random.default_rng(2)
    benchmark = market(rng) + 0.008
    held = 0.8 * benchmark
    verdict = judge({"a": held}, benchmark, {"a": coefficients(rng, 0.05)})["a"]
    assert verdict["sharpe_low"] > 0.0
    assert verdict["claim"] is False


def test_the_level_is_shared_by_the_models():
    rng = np.random.default_rng(3)
    benchmark = market(rng)
    series, ic = strategy(rng, benchmark, 2.0), coefficients(rng, 0.02)
    alone = judge({"a": series}, benchmark, {"a": ic})["a"]
    names = [f"m{at}" for at in range(8)]
    among = judge(dict.fromkeys(names, series), benchmark, dict.fromkeys(names, ic))["m0"]
    assert (alone["level"], among["level"]) == (0.05, 0.00625)
    assert among["ic_ci"][0] < alone["ic_ci"][0]
    assert among["alpha_sharpe_ci"][0] < alone["alpha_sharpe_ci"][0]
    assert among["sharpe_low"] == pytest.approx(alone["sharpe_low"], abs=0.3)


def test_false_claims_among_models_without_an_edge_are_rare():
    rng = np.random.default_rng(11)
    false_alpha = claims = 0
    for run in range(60):
        benchmark = market(rng, 180)
        returns = {f"m{at}": strategy(rng, benchmark, 0.0) for at in range(4)}
        rank_ic = {name: coefficients(rng, 0.0, 500) for name in returns}
        verdicts = judge(returns, benchmark, rank_ic, seed=run).values()
        claims += any(verdict["claim"] for verdict in verdicts)
        false_alpha += any(verdict["alpha_sharpe_ci"][0] > 0.0 for verdict in verdicts)
    assert claims <= 1
    assert false_alpha <= 8  # nominal 1.5 of 60; 8 has a chance below 0.1 % even at twice that


def test_strong_edges_are_found_nearly_always():
    found = sum(one(alpha_sharpe=5.0, ic=0.04, seed=seed)["claim"] for seed in range(30))
    assert found >= 27


def test_same_seed_same_verdict():
    assert one(1.0, 0.02) == one(1.0, 0.02)


def test_a_model_that_never_traded_is_told_so():
    rng = np.random.default_rng(5)
    benchmark = market(rng)
    verdict = judge({"a": 0.0 * benchmark}, benchmark, {"a": coefficients(rng, 0.05)})["a"]
    assert verdict["sentence"] == "No edge after costs: the model never traded."


def test_a_few_days_are_too_few_to_tell():
    rng = np.random.default_rng(5)
    benchmark = market(rng, 20)
    verdict = judge({"a": benchmark + 0.01}, benchmark, {"a": coefficients(rng, 0.5)})["a"]
    assert verdict["claim"] is False
    assert "20 days are too few" in verdict["sentence"]
    json.dumps(verdict, allow_nan=False)


def test_a_model_without_any_coefficient_cannot_claim():
    rng = np.random.default_rng(5)
    benchmark = market(rng)
    verdict = judge({"a": strategy(rng, benchmark, 6.0)}, benchmark, {"a": pd.Series([np.nan] * 50)})["a"]
    assert verdict["failed"] == ["RankIC"]
    assert "cannot be told from so little data" in verdict["sentence"]
    assert verdict["rank_ic"] is None


def test_the_answer_of_a_run_names_the_models_with_an_edge():
    rng = np.random.default_rng(6)
    benchmark = market(rng)
    returns = {"good": strategy(rng, benchmark, 7.0), "poor": strategy(rng, benchmark, 0.0)}
    rank_ic = {"good": coefficients(rng, 0.06), "poor": coefficients(rng, 0.0)}
    verdicts = judge(returns, benchmark, rank_ic)
    answer = overall_verdict(verdicts)
    assert (answer["claim"], answer["models"], answer["n_models"]) == (True, ["good"], 2)
    assert answer["sentence"].startswith("An edge after costs: good, of 2 models compared.")
    none = overall_verdict({"poor": verdicts["poor"]})
    assert none["sentence"].startswith("No edge after costs: none of 1 model shows one")
    assert overall_verdict({})["claim"] is False


def test_a_model_without_coefficients_given_is_an_error():
    benchmark = market(np.random.default_rng(0))
    with pytest.raises(ParameterError, match="no RankIC was given for b"):
        judge({"b": benchmark}, benchmark, {"a": benchmark})
    with pytest.raises(ParameterError, match="level is 5"):
        judge({"b": benchmark}, benchmark, {"b": benchmark}, level=5)
