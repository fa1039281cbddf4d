"""What is said beside the figures of a run."""

import pandas as pd

from agent_market.evaluation import mined_caveat

FOLDS = pd.DataFrame(
    {
        "test_start": pd.to_datetime(["2024-01-01", "2024-01-31"], utc=True),
        "test_end": pd.to_datetime(["2024-01-31", "2024-03-01"], utc=True),
    }
)


def test_mined_factors_are_told_with_the_test_days_that_they_have_not_seen():
    told = mined_caveat({"a": "2024-01-10T00:00:00+00:00", "b": "2024-02-10T00:00:00+00:00"}, 30, FOLDS)
    assert told.startswith("2 of 30 factors were mined and tested on candles until 2024-02-10")
    assert told.endswith("20 of 60 test days come after it.")
    before = mined_caveat({"a": "2023-12-01T00:00:00+00:00"}, 30, FOLDS)
    assert before.endswith("60 of 60 test days come after it.")


def test_without_mined_factors_nothing_is_said():
    assert mined_caveat({}, 30, FOLDS) is None


def test_a_library_of_an_earlier_version_says_that_it_does_not_know():
    assert "nobody knows on which candles" in mined_caveat({"a": None}, 30, FOLDS)
