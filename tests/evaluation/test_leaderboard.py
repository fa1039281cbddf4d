import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.evaluation import LEADERBOARD_COLUMNS, build_leaderboard

FLAT = {"always_flat": {"total_return": 0.0, "sharpe": None, "trades": 0}}


def test_models_with_an_edge_come_first_then_by_sharpe_then_benchmarks():
    models = {
        "lucky": {"sharpe": 3.0, "claim": False},
        "sure": {"sharpe": 1.0, "claim": True},
        "surer": {"sharpe": 2.0, "claim": True},
        "silent": {"sharpe": None, "claim": False},
    }
    table = build_leaderboard(models, {"buy_and_hold": {"sharpe": 9.0}} | FLAT)
    assert table["model"].tolist() == ["surer", "sure", "lucky", "silent", "buy_and_hold", "always_flat"]


def test_columns_and_types_are_always_the_same(tmp_path):
    full = build_leaderboard({"a": {"sharpe": 1.0, "claim": True, "trades": 3, "engines_agree": True}}, FLAT)
    bare = build_leaderboard({"a": {"sharpe": np.nan}}, {})
    assert list(full.columns) == list(bare.columns) == list(LEADERBOARD_COLUMNS)
    assert (full.dtypes == bare.dtypes).all()
    full.to_parquet(tmp_path / "leaderboard.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "leaderboard.parquet"), full)


def test_missing_figures_are_missing_values_and_never_infinite():
    table = build_leaderboard({"a": {"sharpe": np.inf, "claim": False}}, FLAT)
    assert table["sharpe"].isna().all()
    assert table["freqtrade_sharpe"].isna().all()
    assert table.loc[1, "edge"] is pd.NA


def test_a_run_without_models_still_has_its_benchmarks():
    assert build_leaderboard({}, FLAT)["model"].tolist() == ["always_flat"]


def test_a_model_may_not_take_the_name_of_a_benchmark():
    with pytest.raises(DataError, match="always_flat is the name of a benchmark"):
        build_leaderboard(FLAT, FLAT)
