import json

import numpy as np
import pandas as pd
import plotly.io
import pytest

from agent_market.errors import DataError
from agent_market.evaluation import equity_figure, importance_figure, importance_shares, monthly_figure
from agent_market.evaluation.drawing import OKABE_ITO


def test_every_figure_survives_json_and_names_its_axes(small_run):
    for name, figure in small_run.figures.items():
        again = plotly.io.from_json(figure.to_json())
        assert len(again.data) == len(figure.data) > 0, name
        layout = json.loads(figure.to_json())["layout"]
        axes = [axis for key, axis in layout.items() if key[:5] in ("xaxis", "yaxis")]
        assert sum("title" in axis for axis in axes) >= 1, name
        assert layout["title"]["text"], name


def test_equity_and_drawdown_of_all_models_and_benchmarks(small_run):
    figure = small_run.figures["equity"]
    assert len(figure.data) == 2 * 4
    assert [trace.name for trace in figure.data[::2]] == ["ridge", "<b>noise & co</b>", "buy_and_hold", "always_flat"]
    table = small_run.equity[small_run.equity["model"] == "ridge"]
    assert figure.data[0].y[-1] == pytest.approx(table["equity"].iloc[-1] / 1000.0, rel=1e-5)
    assert min(figure.data[1].y) == pytest.approx(
        100.0 * small_run.leaderboard.set_index("model").loc["ridge", "max_drawdown"], rel=1e-4
    )
    assert [button.args[0] for button in figure.layout.updatemenus[0].buttons] == [
        {"yaxis.type": "linear"},
        {"yaxis.type": "log"},
    ]


def test_long_runs_of_many_models_stay_light():
    dates = pd.date_range("2020-01-01", periods=40_000, freq="h", tz="UTC").as_unit("ms")
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"model": f"m{at}", "date": dates, "equity": 1000 * np.exp(rng.normal(0, 0.01, 40_000).cumsum())})
        for at in range(12)
    ]
    figure = equity_figure(pd.concat(parts), starting_balance=1000.0)
    assert all(len(trace.x) <= 2000 for trace in figure.data)
    assert len(figure.to_json()) < 1_500_000


def test_no_two_of_twenty_four_models_look_alike():
    dates = pd.date_range("2024-01-01", periods=3, freq="D", tz="UTC")
    parts = [pd.DataFrame({"model": f"m{at}", "date": dates, "equity": 1.0}) for at in range(24)]
    figure = equity_figure(pd.concat(parts), starting_balance=1.0)
    looks = {(trace.line.color, trace.line.dash) for trace in figure.data}
    assert len(looks) == 24
    assert {colour for colour, _ in looks} == set(OKABE_ITO)


def test_cumulative_ic_ends_at_the_sum_of_the_series(small_run):
    trace = small_run.figures["ic"].data[0]
    row = small_run.leaderboard.set_index("model").loc["ridge"]
    assert trace.y[-1] == pytest.approx(row["rank_ic"] * (24 * 60 - 2), rel=1e-4)


def test_decay_shows_each_horizon_with_its_interval(small_run):
    figure = small_run.figures["ic_decay"]
    assert list(figure.layout.xaxis.ticktext) == ["1", "4"]
    assert (np.array(figure.data[0].error_y.arrayminus) > 0.0).all()


def test_importance_is_the_mean_share_over_folds():
    table = pd.DataFrame(
        {"fold": [0, 0, 1, 1], "feature": ["a", "b", "a", "b"], "importance": [3.0, 1.0, 50.0, 50.0], "model": "m"}
    )
    shares = importance_shares(table).set_index("feature")
    assert shares.loc["a"].to_dict() == {"share": 0.625, "low": 0.5, "high": 0.75}
    assert shares["share"].sum() == pytest.approx(1.0)


def test_importance_shows_the_top_twenty_of_one_model_at_a_time(small_run):
    figure = small_run.figures["importance"]
    assert [trace.visible for trace in figure.data] == [True, False]
    assert len(figure.data[0].y) == 20
    assert figure.data[0].y[-1] == "momentum_29"
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["ridge", "<b>noise & co</b>"]


def test_a_model_without_any_importance_is_an_empty_picture():
    table = pd.DataFrame({"model": ["m"], "fold": [0], "feature": ["a"], "importance": [0.0]})
    assert len(importance_figure(table).data[0].y) == 0


def test_monthly_returns_are_those_of_the_chosen_models(small_run):
    figure = monthly_figure(small_run.equity, starting_balance=1000.0, models=["buy_and_hold", "ridge"])
    assert [trace.name for trace in figure.data] == ["buy_and_hold", "ridge"]
    assert [trace.visible for trace in figure.data] == [True, False]
    total = small_run.leaderboard.set_index("model").loc["ridge", "total_return"]
    assert figure.data[1].z[0][12] == pytest.approx(100.0 * total, abs=1e-3)
    with pytest.raises(DataError, match="no model 'lstm'"):
        monthly_figure(small_run.equity, starting_balance=1000.0, models=["lstm"])
