import json

import numpy as np
import pytest
from scipy.stats import binomtest

from agent_market.evaluation import certificate_for, certificate_section, certify, claims_of
from agent_market.evaluation.placebo import CLAIMS, binomial_interval

FACTS = {"data": "d1", "parameters": "p1", "code": "c1", "models": ["a", "b"]}


def row(world, **claims):
    figures = {"a": {"rank_ic": 0.01, "alpha_sharpe": 1.0}, "b": {"rank_ic": -0.01, "alpha_sharpe": None}}
    return {"world": world, "claims": {name: [] for name in CLAIMS} | claims, "figures": figures}


@pytest.mark.parametrize(("count", "n"), [(0, 40), (1, 40), (7, 40), (40, 40), (0, 1)])
def test_intervals_of_shares_are_the_exact_ones_of_scipy(count, n):
    theirs = binomtest(count, n).proportion_ci(0.95, method="exact")
    assert binomial_interval(count, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_what_is_claimed_where_nothing_is_has_a_rate_with_its_interval():
    rows = [row("markets", edge=["a"], pbo=["any"]), *(row("markets") for _ in range(19))]
    rows += [row("rotations") for _ in range(10)]
    certificate = certify(rows, FACTS)
    json.dumps(certificate, allow_nan=False)
    edge = certificate["worlds"]["markets"]["claims"]["edge"]
    assert (edge["count"], edge["rate"], edge["promise"], edge["models"]) == (1, 0.05, 0.05, {"a": 1})
    assert (edge["low"], edge["high"]) == pytest.approx(binomial_interval(1, 20))
    assert certificate["worlds"]["rotations"]["claims"]["edge"]["count"] == 0
    assert certificate["worlds"]["markets"]["figures"]["a"]["rank_ic_mean"] == pytest.approx(0.01)
    assert certificate["worlds"]["markets"]["figures"]["b"]["alpha_sharpe_mean"] is None
    assert certificate["passed"] is True
    assert "in 1 of 20 simulated markets without a signal and in 0 of 10 rotations" in certificate["sentence"]


def test_a_claim_made_too_often_fails_the_certificate_and_is_named():
    certificate = certify([row("markets", rank_ic=["b"]) for _ in range(6)] + [row("markets")] * 14, FACTS)
    assert certificate["passed"] is False
    assert certificate["too_often"] == [
        "RankIC above zero, corrected for the models (simulated markets without a signal)"
    ]
    assert "Made more often than promised: RankIC above zero" in certificate["sentence"]


def test_what_is_not_promised_cannot_fail():
    rows = [row("rotations", dsr=["a"], psr=["a", "b"], pbo=["any"], rank_ic_alone=["b"]) for _ in range(30)]
    certificate = certify(rows, FACTS)
    assert certificate["passed"] is True
    assert certificate["worlds"]["rotations"]["claims"]["psr"]["rate"] == 1.0


def test_sound_claims_rarely_fail_the_certificate():
    # 40 runs in which each promised claim is made by chance just as often as promised
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(80):
        rows = []
        for world in ("markets", "rotations"):
            promises = {name: getattr(claim, world) for name, claim in CLAIMS.items()}
            rows += [
                row(world, **{name: ["a"] for name, share in promises.items() if share and rng.random() < 0.05 * share})
                for _ in range(20)
            ]
        failed += not certify(rows, FACTS)["passed"]
    assert failed <= 9  # nominal 5 % of 80 at the most; 10 has a chance of 1 %


def test_no_run_is_no_certificate():
    certificate = certify([], FACTS)
    assert certificate["passed"] is False
    assert certificate["sentence"] == "no run was made"


def test_a_report_shows_only_the_certificate_of_its_own_candles_and_parameters():
    certificate = certify([row("markets")] * 20, FACTS)
    mine = certificate_for(certificate, data="d1", parameters="p1", models=["a", "b", "c"])
    assert (mine["valid"], mine["passed"], mine["worlds"]) == (True, True, certificate["worlds"])
    assert mine["sentence"].endswith("Not certified: c.")
    for data, parameters, named in (("d2", "p1", "candles"), ("d1", "p2", "parameters")):
        other = certificate_for(certificate, data=data, parameters=parameters, models=["a", "b"])
        assert (other["valid"], other["passed"]) == (False, False)
        assert f"made for other {named}, so it says nothing of this run" in other["sentence"]
    assert certificate_for(None, data="d1", parameters="p1", models=["a"]) is None


def test_the_report_has_each_claim_with_its_promise_and_what_was_made():
    rows = [row("markets", rank_ic=["b"]) for _ in range(6)] + [row("markets")] * 14 + [row("rotations")] * 10
    claims, figures = (table.data for table in certificate_section(certify(rows, FACTS)).tables)
    assert len(claims) == len(CLAIMS)
    made = claims.set_index("claim").loc["RankIC above zero, corrected for the models"]
    assert made["markets: promised"] == "≤ 2.5 %"
    assert made["markets: made"] == "6 of 20 [11.9, 54.3] % – too often"
    assert made["rotations: made"] == "0 of 10 [0.0, 30.8] %"
    assert claims.set_index("claim").loc["deflated Sharpe ratio above 95 %", "rotations: promised"] == "–"
    assert figures.set_index("model").loc["b", "markets: RankIC"].startswith("−0.0100")


def test_claims_are_read_from_what_a_run_left():
    verdicts = {
        "a": {"claim": True, "ic_ci": [0.01, 0.03], "alpha_sharpe_ci": [0.2, 3.0]},
        "b": {"claim": False, "ic_ci": [None, None], "alpha_sharpe_ci": [-1.0, 3.0]},
    }
    models = {
        "a": {"psr": 0.99, "dsr": 0.96, "alpha_psr": 0.99, "alpha_dsr": 0.97},
        "b": {"psr": 0.96, "dsr": 0.5, "alpha_psr": None, "alpha_dsr": None},
    }
    significance = {
        "models": models,
        "spa_p": 0.2,
        "reality_check_p": 0.04,
        "spa_best": "b",
        "alpha_spa_p": 0.01,
        "alpha_spa_best": "a",
        "pbo": None,
    }
    metrics = {"a": {"rank_ic_low": 0.01}, "b": {"rank_ic_low": None, "gate": True}}
    claims = claims_of(verdicts, significance, metrics)
    assert set(claims) == set(CLAIMS)
    assert {name: models for name, models in claims.items() if models} == {
        "edge": ["a"],
        "rank_ic": ["a"],
        "alpha_sharpe": ["a"],
        "alpha_dsr": ["a"],
        "dsr": ["a"],
        "alpha_spa": ["a"],
        "reality_check": ["b"],
        "gate": ["b"],
        "rank_ic_alone": ["a"],
        "psr": ["a", "b"],
    }
