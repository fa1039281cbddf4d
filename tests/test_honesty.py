"""Where there is nothing to find, nothing is claimed; where something was planted, it is found."""

from collections import Counter

import pytest

from agent_market.evaluation import claims_of, prediction_metrics
from agent_market.evaluation.placebo import CLAIMS
from agent_market.learning.folds import FoldOptions
from agent_market.market import clean_candles, planted_expectation, simulate
from agent_market.market.options import MarketOptions
from chain import FOLDS, HORIZON, judge, run_chain, weigh

MODELS = {
    "ridge": {"adapter": "sklearn"},
    "lightgbm": {"adapter": "lightgbm", "n_estimators": 60},
    "xgboost": {"adapter": "xgboost", "n_estimators": 60},
}


def _run(strength: float, seed: int, *, days: int = 160, windows: FoldOptions = FOLDS):
    options = MarketOptions(n_pairs=6, n_candles=24 * days, seed=seed, signal_strength=strength)
    candles, _ = clean_candles(simulate(options), options)
    outcomes = {name: run_chain(candles, model, windows=windows) for name, model in MODELS.items()}
    metrics = {
        name: prediction_metrics(outcome.predictions, outcome.labels, horizon=HORIZON, demeaned=True)
        for name, outcome in outcomes.items()
    }
    return options, outcomes, metrics, judge(candles, outcomes), weigh(candles, outcomes)


def test_a_market_without_signal_leads_to_no_claim():
    beside_zero, claims, tried = 0, 0, 0
    made = Counter()
    for seed in range(4):
        _, _, metrics, verdicts, evidence = _run(0.0, seed)
        tried += len(metrics)
        beside_zero += sum(not m["rank_ic_low"] <= 0 <= m["rank_ic_high"] for m in metrics.values())
        claims += sum(verdict["claim"] for verdict in verdicts.values())
        made.update(name for name, models in claims_of(verdicts, evidence, metrics).items() if models)
    assert tried == 12
    assert beside_zero <= 3  # one in twenty is what an interval of 95 % allows; 4 of 12 has a chance of 0.2 %
    assert claims == 0
    promised = [name for name, claim in CLAIMS.items() if claim.markets]
    assert sum(made[name] for name in promised) <= 6  # of 4 markets x 9 claims, which come together or not at all


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_signal_is_found_to_the_extent_that_it_is_there(seed):
    options, outcomes, metrics, verdicts, evidence = _run(
        0.06, seed, days=400, windows=FoldOptions(train="270d", valid="30d", test="50d")
    )
    outcome = outcomes["ridge"]
    truth = planted_expectation(options, HORIZON).rename(columns={"expected": "prediction"})
    tested = outcome.predictions[["pair", "date"]].merge(truth, on=["pair", "date"]).assign(kind="return", fold=0)
    oracle = prediction_metrics(tested, outcome.labels, horizon=HORIZON, demeaned=True)
    assert oracle["rank_ic"] > 0.1
    for name, found in metrics.items():
        assert found["rank_ic_low"] > 0, name
        assert found["rank_ic"] <= oracle["rank_ic_high"], f"{name} knows more than there is to know"
    assert metrics["ridge"]["rank_ic_low"] <= oracle["rank_ic"] <= metrics["ridge"]["rank_ic_high"]
    assert metrics["ridge"]["rank_ic"] > 0.7 * oracle["rank_ic"]
    assert "ridge" in claims_of(verdicts, evidence, metrics)["rank_ic"]  # 50 days are too few to claim that it pays
