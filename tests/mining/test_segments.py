"""Search, gate and vault."""

import pandas as pd
import pytest

from agent_market.errors import ParameterError
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.mining.options import SegmentOptions
from agent_market.mining.segments import cut
from mining.conftest import small

HOUR = pd.Timedelta("1h")


def test_segments_follow_one_another_with_a_purge_between(placebo):
    segments = cut(placebo, small(), timeframe="1h")
    first = placebo["date"].min()
    assert segments.search.start == first
    assert segments.search.end == first + 2400 * HOUR  # 60 % of 4000
    assert segments.gate.start == segments.search.end + 13 * HOUR  # horizon 12 + 1
    assert segments.gate.end == first + 3200 * HOUR
    assert segments.vault.start == segments.gate.end + 13 * HOUR
    assert segments.vault.end == placebo["date"].max() + HOUR


def test_no_label_of_a_segment_reaches_into_the_next(placebo):
    options = small()
    segments = cut(placebo, options, timeframe="1h")
    labels = build_labels(
        segments.search.visible(placebo), LabelOptions(horizons=(options.horizon,)), timeframe="1h"
    )  # fmt: skip
    assert labels["label_end_12"].max() < segments.search.end
    assert segments.search.visible(placebo)["date"].max() == segments.search.end - HOUR


def test_a_gate_too_short_to_tell_is_an_error(placebo):
    with pytest.raises(ParameterError, match=r"the gate would have 32 blocks of 24 candles, and 60 are needed"):
        cut(placebo, small(gate={"min_blocks": 60}), timeframe="1h")


def test_segments_must_leave_a_vault():
    with pytest.raises(ValueError, match=r"leave 0\.05 or more for the vault"):
        SegmentOptions(search=0.8, gate=0.2)
