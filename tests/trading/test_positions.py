import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.trading import QuantileRule, SignRule, ThresholdRule, TopKRule, decide_positions, wait_out_gaps
from agent_market.trading.positions import trailing_quantiles

RULES = [
    SignRule(deadband=0.2),
    ThresholdRule(enter=1.0, exit=0.2),
    QuantileRule(enter=0.8, exit=0.5, window="12h", min_history=10),
    TopKRule(k=1, keep=2),
]
FOUR = ("A/USDT", "B/USDT", "C/USDT", "D/USDT")


def _predictions(values, *, kind="return", pairs=("A/USDT",)):
    """One column of `values` (n_dates, n_pairs), or a list for one pair, as a table of predictions."""
    values = np.array(values, dtype="float64").reshape(-1, len(pairs))
    dates = pd.date_range("2024-01-01", periods=len(values), freq="h", tz="UTC", unit="ms")
    return pd.concat(
        [
            pd.DataFrame({"pair": pair, "date": dates, "fold": 0, "prediction": values[:, i], "kind": kind})
            for i, pair in enumerate(pairs)
        ],
        ignore_index=True,
    ).astype({"pair": "category"})


def _decided(values, rule, *, kind="return", allow_short=True):
    return decide_positions(_predictions(values, kind=kind), rule, allow_short=allow_short)["position"].tolist()


def test_sign_is_flat_inside_the_deadband_and_without_prediction():
    assert _decided([0.3, 0.1, 0.0, -0.1, -0.3, np.nan], SignRule(deadband=0.2)) == [1, 0, 0, 0, -1, 0]


def test_probability_is_measured_from_one_half():
    assert _decided([0.8, 0.55, 0.5, 0.2], SignRule(deadband=0.1), kind="probability") == [1, 0, 0, -1]


def test_threshold_holds_between_its_two_levels():
    values = [0.5, 1.1, 0.5, 0.2, 0.1, 0.5, -1.1, -0.5, -0.1, -0.5]
    assert _decided(values, ThresholdRule(enter=1.0, exit=0.2)) == [0, 1, 1, 1, 0, 0, -1, -1, 0, 0]


def test_missing_prediction_ends_what_was_held():
    assert _decided([1.1, np.nan, 0.5], ThresholdRule(enter=1.0, exit=0.2)) == [1, 0, 0]


def test_shorts_are_flat_where_not_allowed():
    assert _decided([1.0, -1.0], SignRule(), allow_short=False) == [1, 0]


def test_position_held_by_one_pair_does_not_pass_to_the_next():
    predictions = _predictions([[2.0, 0.5], [0.5, 0.5]], pairs=("A/USDT", "B/USDT"))
    decided = decide_positions(predictions, ThresholdRule(enter=1.0, exit=0.2), allow_short=True)
    assert decided["position"].tolist() == [1, 1, 0, 0]


def test_quantile_agrees_with_a_loop_over_dates():
    rule = QuantileRule(enter=0.8, exit=0.5, window="12h", min_history=10)
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[20:23, 1] = np.nan
    held, expected = np.zeros(3), np.zeros((60, 3))
    for t in range(60):
        seen = values[max(0, t - 11) : t + 1]
        seen = seen[~np.isnan(seen)]
        for pair, value in enumerate(values[t]):
            if len(seen) < 10 or np.isnan(value):
                held[pair] = 0
            elif value > np.quantile(seen, 0.8):
                held[pair] = 1
            elif value < np.quantile(seen, 0.2):
                held[pair] = -1
            elif held[pair] * (value - np.quantile(seen, 0.5)) < 0:
                held[pair] = 0
        expected[t] = held
    predictions = _predictions(values, pairs=("A/USDT", "B/USDT", "C/USDT"))
    decided = decide_positions(predictions, rule, allow_short=True)
    assert decided["position"].tolist() == expected.T.ravel().tolist()
    assert set(decided["position"]) == {-1, 0, 1}


def test_quantile_is_flat_until_there_is_enough_history():
    rule = QuantileRule(enter=0.5, exit=0.5, window="30d", min_history=4)
    assert _decided([1.0, 2.0, 3.0, 4.0, 5.0], rule) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_trailing_quantiles_agree_with_pandas(quantile):
    rng = np.random.default_rng(1)
    date = pd.Series(np.repeat(pd.date_range("2024-01-01", periods=90, freq="h", tz="UTC", unit="ms"), 3))
    date = date[rng.random(len(date)) < 0.7].reset_index(drop=True)
    values = pd.Series(rng.normal(size=len(date)).round(1))  # with ties
    values[rng.random(len(values)) < 0.1] = np.nan
    rolled = pd.Series(values.to_numpy(), index=pd.DatetimeIndex(date)).rolling("12h", min_periods=8).quantile(quantile)
    expected = rolled.groupby(level=0).last().reindex(date)
    found = trailing_quantiles(values, date, (0.3, quantile), window="12h", min_history=8)[:, 1]
    np.testing.assert_array_equal(found, expected)


def test_constant_predictions_never_open_a_position():
    assert set(_decided([0.3] * 30, QuantileRule(window="30d", min_history=5))) == {0}


def _best(values, *, allow_short=False, pairs=FOUR, kind="return", **options):
    """Positions by the rule top_k, as rows of dates and columns of pairs."""
    predictions = _predictions(values, pairs=pairs, kind=kind)
    decided = decide_positions(predictions, TopKRule(**options), allow_short=allow_short)
    return decided["position"].to_numpy().reshape(len(pairs), -1).T.tolist()


def test_top_k_is_long_the_best_and_short_the_worst_of_each_date():
    values = [[4, 3, 2, 1], [1, 4, 3, 2]]
    assert _best(values, k=1) == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert _best(values, k=2) == [[1, 1, 0, 0], [0, 1, 1, 0]]
    assert _best(values, k=1, allow_short=True) == [[1, 0, 0, -1], [-1, 1, 0, 0]]


def test_top_k_keeps_what_it_holds_until_it_leaves_the_best_keep():
    values = [[4, 3, 2, 1], [3, 4, 2, 1], [2, 4, 3, 1], [2, 3, 4, 1]]
    assert _best(values, k=1, keep=2) == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]


def test_top_k_keeps_shorts_by_the_mirrored_rule():
    values = [[4, 3, 2, 1], [4, 3, 1, 2], [4, 1, 2, 3]]
    assert _best(values, k=1, keep=2, allow_short=True) == [[1, 0, 0, -1], [1, 0, 0, -1], [1, -1, 0, 0]]


def test_top_k_lets_go_of_a_kept_pair_that_is_among_the_best_of_the_other_side():
    assert _best([[4, 3, 2, 1], [1, 4, 3, 2]], k=1, keep=4, allow_short=True)[1] == [0, 1, 0, -1]
    assert _best([[4, 3, 2, 1], [1, 2, 3, 4]], k=1, keep=4, allow_short=True)[1] == [-1, 0, 0, 1]


def test_top_k_replaces_at_most_n_drop_pairs_the_worst_first():
    values = [[4, 3, 2, 1], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert _best(values, k=2, n_drop=1) == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]]


def test_top_k_wants_the_minimal_score_for_entry_and_stay():
    values = [[2.0, 1.0, 0.1, -1.0], [0.5, 0.4, 0.1, -0.4], [0.4, 0.4, 0.1, -0.6]]
    options = {"k": 2, "keep": 3, "min_score": 0.5}
    assert _best(values, **options) == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert _best(values, **options, allow_short=True) == [[1, 1, 0, -1], [1, 0, 0, 0], [0, 0, 0, -1]]
    assert _best([[0.9, 0.4, 0.1]], k=2, min_score=0.1, pairs=FOUR[:3], kind="probability") == [[1, 0, 0]]


def test_top_k_breaks_ties_by_name():
    assert _best([[1, 1, 1, 1]], k=1, allow_short=True) == [[1, 0, 0, -1]]


def test_top_k_is_flat_where_a_pair_has_no_prediction_and_gives_its_place_away():
    values = [[4, 3, 2, 1], [np.nan, 3, 2, 1], [4, 3, 2, 1]]
    assert _best(values, k=1, keep=2) == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    predictions = _predictions(values, pairs=FOUR).dropna()
    decided = decide_positions(predictions, TopKRule(k=1, keep=2), allow_short=False)
    assert decided.loc[decided["pair"] == "B/USDT", "position"].tolist() == [0, 1, 1]
    assert decided.loc[decided["pair"] == "A/USDT", "position"].tolist() == [1, 0]


def test_top_k_of_fewer_pairs_than_it_wants():
    two, three = FOUR[:2], FOUR[:3]
    assert _best([[2, 1]], k=3, pairs=two) == [[1, 1]]
    assert _best([[2, 1]], k=3, pairs=two, allow_short=True) == [[1, -1]]
    assert _best([[3, 2, 1]], k=3, pairs=three, allow_short=True) == [[1, 0, -1]]  # the middle one is on no side
    assert _best([[2], [-1]], k=1, pairs=("A/USDT",), allow_short=True) == [[0], [0]]
    fewer = [[4, 3, 2, 1], [4, 3, np.nan, np.nan]]
    assert _best(fewer, k=2, allow_short=True) == [[1, 1, -1, -1], [1, -1, 0, 0]]


def test_model_that_decides_positions_itself_is_only_clipped():
    assert _decided([0.4, -3.0, np.nan], SignRule(), kind="position") == [0.4, -1.0, 0.0]
    assert _decided([0.4, -3.0, np.nan], SignRule(), kind="position", allow_short=False) == [0.4, 0.0, 0.0]


def test_rows_come_out_sorted_whatever_the_order_of_the_predictions():
    predictions = _predictions(np.random.default_rng(0).normal(size=(30, 2)), pairs=("A/USDT", "B/USDT"))
    shuffled = predictions.sample(frac=1, random_state=0)
    for rule in RULES:
        pd.testing.assert_frame_equal(
            decide_positions(shuffled, rule, allow_short=True), decide_positions(predictions, rule, allow_short=True)
        )


def _past_is_unmoved(decide) -> bool:
    """Whether decisions up to a date stay the same when all later predictions are replaced or cut off."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 2))
    cut, other = 40, values.copy()
    other[cut:] = 5 * rng.normal(size=(20, 2)) + 3
    whole, scrambled, short = (
        decide(_predictions(table, pairs=("A/USDT", "B/USDT"))) for table in (values, other, values[:cut])
    )
    before = whole["date"] < short["date"].max() + pd.Timedelta("1h")
    past = whole.loc[before, "position"].tolist()
    return past == scrambled.loc[before, "position"].tolist() == short["position"].tolist()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_positions_use_no_later_prediction(rule):
    assert _past_is_unmoved(lambda predictions: decide_positions(predictions, rule, allow_short=True))


def test_quantile_of_the_whole_sample_is_caught_as_a_leak():
    def leaking(predictions):
        level = predictions["prediction"].quantile(0.8)
        return predictions[["pair", "date"]].assign(position=(predictions["prediction"] > level).astype(float))

    assert not _past_is_unmoved(leaking)


def test_predictions_of_several_models_at_once_are_refused():
    twice = pd.concat([_predictions([1.0]), _predictions([2.0])])
    with pytest.raises(DataError, match="one model at a time"):
        decide_positions(twice, SignRule(), allow_short=True)


def test_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"return, probability, position, score.*found guess"):
        decide_positions(_predictions([1.0], kind="guess"), SignRule(), allow_short=True)


def test_over_a_short_gap_the_old_position_stays_until_the_market_opens_again():
    days = pd.to_datetime(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-19"], utc=True)
    positions = pd.DataFrame(
        {"pair": pd.Categorical(["A/USD"] * 5), "date": days.as_unit("ms"), "position": [1.0, 0.0, 1.0, 0.0, 1.0]}
    )
    waited = wait_out_gaps(positions, timeframe="1d", max_gap=3)
    assert waited["date"].dt.day.tolist() == [4, 5, 6, 7, 8, 9, 19]
    assert waited["position"].tolist() == [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    pd.testing.assert_frame_equal(wait_out_gaps(positions, timeframe="1d", max_gap=0), positions)


def test_a_gap_of_one_pair_takes_nothing_from_another():
    days = pd.to_datetime(["2024-01-05", "2024-01-08"] * 2, utc=True).as_unit("ms")
    positions = pd.DataFrame(
        {"pair": pd.Categorical(["A/USD"] * 2 + ["B/USD"] * 2), "date": days, "position": [1.0, 0.0, -1.0, 1.0]}
    )
    waited = wait_out_gaps(positions, timeframe="1d", max_gap=5)
    assert waited["position"].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 1.0]
