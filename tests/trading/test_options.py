import pytest
from pydantic import ValidationError

from agent_market.trading import BacktestOptions, QuantileRule, SignRule, ThresholdRule, TopKRule
from agent_market.trading.options import NOT_MODELLED


@pytest.mark.parametrize(
    ("block", "rule"),
    [
        ({"rule": "sign"}, SignRule()),
        ({"rule": "threshold", "enter": 0.01}, ThresholdRule(enter=0.01)),
        ({"rule": "quantile", "window": "12h"}, QuantileRule(window="12h")),
        ({"rule": "top_k", "k": 3, "hold": 6}, TopKRule(k=3, hold=6)),
    ],
)
def test_rule_names_its_options(block, rule):
    assert BacktestOptions(positions=block).positions == rule


def test_unknown_rule_lists_the_known_ones():
    with pytest.raises(ValidationError, match=r"'signs'.*'threshold', 'quantile', 'top_k', 'package\.module\.func"):
        BacktestOptions(positions={"rule": "signs"})
    with pytest.raises(ValidationError, match="'sign', 'threshold', 'quantile', 'top_k'"):
        BacktestOptions(positions={"k": 2})


@pytest.mark.parametrize("block", [{"rule": "sign", "enter": 0.1}, {"rule": "quantile", "hodl": 6}])
def test_option_of_another_rule_or_misspelt_is_refused(block):
    with pytest.raises(ValidationError, match="Extra inputs"):
        BacktestOptions(positions=block)


@pytest.mark.parametrize("levels", [(0.01, 0.02), (0.01, -0.02)])
def test_threshold_that_could_be_long_and_short_at_once_is_refused(levels):
    with pytest.raises(ValidationError, match="exit must lie between -enter and enter"):
        ThresholdRule(enter=levels[0], exit=levels[1])


def test_quantile_that_could_be_long_and_short_at_once_is_refused():
    with pytest.raises(ValidationError, match=r"exit must lie from 1 - enter to enter \(0.1 to 0.9\), found 0.05"):
        QuantileRule(enter=0.9, exit=0.05)


def test_top_k_that_keeps_fewer_than_it_opens_is_refused():
    with pytest.raises(ValidationError, match=r"keep must be at least k \(3\), found 2"):
        TopKRule(k=3, keep=2)


def test_top_k_without_room_for_k_trades_is_refused():
    with pytest.raises(ValidationError, match=r"positions\.k is 6, but max_open_trades is 5"):
        BacktestOptions(positions={"rule": "top_k", "k": 6}, max_open_trades=5)


def test_quantiles_may_meet_their_mirror_image():
    assert QuantileRule(enter=0.7, exit=0.3).exit == 0.3  # 1 - 0.7 is a little above 0.3 in binary


def test_cost_per_side_is_fee_plus_slippage():
    assert BacktestOptions(fee=0.001, slippage=0.0002).cost_per_side == 0.0012


def test_a_stop_that_trails_from_its_offset_on_needs_a_distance():
    """freqtrade refuses it, too, in words about the offset."""
    given = {"trailing_stop": True, "trailing_stop_positive_offset": 0.02, "trailing_only_offset_is_reached": True}
    with pytest.raises(ValueError, match="needs trailing_stop_positive, the distance"):
        BacktestOptions(**given)
    assert BacktestOptions(**given, trailing_stop_positive=0.01).trailing_only_offset_is_reached


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protections", [{"method": "CooldownPeriod", "stop_duration_candles": 5}]),
        ("enable_protections", True),
        ("timeframe_detail", "1m"),
        ("position_adjustment_enable", True),
        ("max_entry_position_adjustment", 3),
        ("use_custom_stoploss", True),
        ("order_types", {"entry": "limit"}),
        ("order_time_in_force", {"entry": "FOK"}),
        ("unfilledtimeout", {"entry": 10}),
        ("entry_pricing", {"price_side": "same"}),
        ("exit_pricing", {"price_side": "same"}),
        ("custom_price_max_distance_ratio", 0.1),
        ("amount_reserve_percent", 0.1),
        ("amend_last_stake_amount", True),
        ("last_stake_amount_min_ratio", 0.5),
        ("available_capital", 5000),
        ("margin_mode", "cross"),
    ],
)
def test_what_the_engine_does_not_model_is_refused_by_name_with_the_way_out(name, value):
    with pytest.raises(
        ValidationError, match=rf"{name} is .*, but the embedded engine does not know .*freqtrade export"
    ):
        BacktestOptions(**{name: value})


def test_nothing_that_is_an_option_is_said_to_be_unknown():
    assert not NOT_MODELLED.keys() & BacktestOptions.model_fields.keys()


def test_a_setting_of_another_name_is_refused_too():
    with pytest.raises(ValidationError, match="Extra inputs"):
        BacktestOptions(max_open_trade=3)
