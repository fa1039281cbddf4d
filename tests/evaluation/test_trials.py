import numpy as np
import pandas as pd
import pytest

from agent_market.evaluation import ic_series
from agent_market.evaluation.trials import option_importance_figure, slice_figure, tuning_gain, tuning_sentence

DATES = pd.date_range("2024-01-01", periods=600, freq="h", tz="UTC").as_unit("ms")
PAIRS = ["A/B", "C/B", "D/B", "E/B"]
KEYS = pd.DataFrame([(pair, date) for pair in PAIRS for date in DATES], columns=["pair", "date"])
RNG = np.random.default_rng(0)
CAME = RNG.normal(size=len(KEYS))
LABELS = KEYS.assign(return_1=CAME)


def predictions(skill, seed):
    said = skill * CAME + np.random.default_rng(seed).normal(size=len(KEYS))
    return KEYS.assign(prediction=said, kind="return", fold=0)


@pytest.mark.parametrize(("better", "worse", "said"), [(0.4, 0.0, "beat"), (0.0, 0.4, "did worse than")])
def test_a_gain_is_the_mean_difference_of_dates_and_is_said_as_it_is(better, worse, said):
    tuned, configured = predictions(better, 1), predictions(worse, 2)
    gain = tuning_gain("m", tuned, configured, LABELS, horizon=1, trials=7)
    means = [ic_series(table, LABELS, 1)["rank_ic"].mean() for table in (tuned, configured)]
    assert [gain["tuned"], gain["configured"]] == pytest.approx(means)
    assert gain["gain"] == pytest.approx(means[0] - means[1])
    assert gain["gain_low"] < gain["gain"] < gain["gain_high"]
    assert f"of m (7 trials, chosen before all test windows) {said} the configured ones" in tuning_sentence(gain)


def test_what_may_be_luck_is_no_gain():
    gain = tuning_gain("m", predictions(0.2, 1), predictions(0.2, 2), LABELS, horizon=1, trials=7)
    assert gain["gain_low"] < 0 < gain["gain_high"]
    assert "did not beat" in tuning_sentence(gain)


def test_too_few_dates_are_said_to_be_too_few():
    few = predictions(0.2, 1).query("date < '2024-01-01 05:00+00:00'")
    gain = tuning_gain("m", few, few, LABELS, horizon=1, trials=7)
    assert gain["gain_low"] is None
    assert "too few dates" in tuning_sentence(gain)


def test_each_option_has_its_own_axis_and_pruned_trials_are_hollow():
    trials = pd.DataFrame(
        {
            "trial": [0, 1, 2],
            "value": [0.1, 0.2, 0.3],
            "pruned": [False, True, False],
            "score_0": 0.1,
            "alpha": [1.0, 10.0, 1000.0],
            "kind": ["a", "b", "a"],
        }
    )
    figure = slice_figure(trials, objective="rank_ic")
    assert [axis.title.text for axis in figure.select_xaxes()] == ["alpha", "kind"]
    assert next(figure.select_xaxes()).type == "log"
    by_look = {trace.marker.symbol: list(trace.text) for trace in figure.data[:2]}
    assert by_look == {"circle": ["trial 0", "trial 2"], "circle-open": ["trial 1"]}


def test_the_option_that_matters_most_is_on_top():
    table = pd.DataFrame({"option": ["alpha", "seed"], "importance": [0.8, 0.2]})
    assert list(option_importance_figure(table).data[0].y) == ["seed", "alpha"]
    assert option_importance_figure(table.iloc[:0]).data[0].y == ()
