import json

import numpy as np
import pandas as pd
import plotly.io
import pytest

from agent_market.evaluation import (
    ModelResults,
    equity_figure,
    ic_figure,
    ic_series,
    model_doubts,
    model_sections,
    render_report,
    section_views,
    slice_performance,
)
from agent_market.evaluation.account_figures import drawdown_table, trade_table
from agent_market.evaluation.attribution_figures import importance_stability
from agent_market.evaluation.prediction_figures import calibration_table

BALANCE = 1000.0
SECTIONS = [
    "Account", "Luck", "Predictions", "Where it works", "Trades", "Costs", "Attribution", "Drift", "Learning",
]  # fmt: skip


def results_of(run, model, **changes):
    """All that a model leaves behind, made up where the small run does not have it."""
    accounts = dict(list(run.equity.groupby("model")))
    dates = pd.DatetimeIndex(accounts[model]["date"])
    half = np.where(np.arange(len(dates)) < len(dates) // 2, "calm", "turbulent")
    regimes = pd.DataFrame(
        {
            "date": dates,
            "volatility": pd.Categorical(half, ["calm", "normal", "turbulent"]),
            "trend": pd.Categorical(["rising"] * len(dates), ["rising", "falling", "crash"]),
        }
    )
    folds = pd.DataFrame({"fold": range(3), "test_start": dates[[0, len(dates) // 3, 2 * len(dates) // 3]]})
    features = [f"momentum_{at}" for at in range(30)]
    rng = np.random.default_rng(0)
    share = np.arange(1.0, 31.0) / np.arange(1.0, 31.0).sum()
    by_fold = [pd.DataFrame({"fold": fold, "feature": features}) for fold in range(3)]
    attribution = pd.concat([part.assign(method="shap", value=share, share=share, direction=-0.5) for part in by_fold])
    drift = pd.concat([part.assign(psi=rng.uniform(0.0, 0.3, 30), ks=0.1) for part in by_fold])
    moved = pd.DataFrame({"fold": range(3), "psi": [0.01, 0.3, 0.02], "ks": 0.1, "mean_before": 0.0, "mean_test": 0.0})
    curve = pd.DataFrame(
        {"fold": [0, 0], "seed": [0, 0], "step": [1, 2], "loss": [1.0, 0.9], "ic": [0.0, 0.1], "gain": np.nan}
    )
    given = {
        "name": model,
        "predictions": run.predictions[model],
        "labels": run.labels,
        "equity": accounts[model],
        "benchmark": accounts["buy_and_hold"],
        "trades": made_up_trades(dates),
        "folds": folds,
        "verdict": run.verdicts[model],
        "slices": slice_performance(
            run.predictions[model], run.labels, accounts[model], accounts["buy_and_hold"], regimes, horizon=1
        ),
        "horizon": 1,
        "demeaned": False,
        "starting_balance": BALANCE,
        "trading_days": 365,
        "gross_equity": accounts[model].assign(equity=accounts[model]["equity"] * 1.1),
        "cost_curve": pd.DataFrame(
            {
                "multiple": [0.0, 1.0, 2.0],
                "cost": [0.0, 0.001, 0.002],
                "total_return": [0.3, 0.1, -0.1],
                "sharpe": [2.0, 1.0, -1.0],
            }
        ),
        "importance": run.importance[run.importance["model"] == model],
        "attribution": attribution,
        "feature_drift": drift,
        "prediction_drift": moved.assign(deviation_before=1.0, deviation_test=1.2),
        "learning_curve": curve,
        "trials": 2,
    }
    return ModelResults(**(given | changes))


def made_up_trades(dates, n=300):
    rng = np.random.default_rng(1)
    profit = rng.normal(0.0, 0.02, n)
    return pd.DataFrame(
        {
            "pair": np.where(np.arange(n) % 2, "P0/USDT", "P1/USDT"),
            "open_date": dates[:n],
            "trade_duration": rng.integers(60, 6000, n),
            "profit_ratio": profit,
            "profit_abs": 100.0 * profit,
            "exit_reason": np.where(np.arange(n) % 3, "exit_signal", "stop_loss"),
        }
    )


def test_a_model_page_has_all_its_parts_and_every_figure_names_its_axes(small_run):
    sections = model_sections(results_of(small_run, "ridge"))
    assert [section.title for section in sections] == SECTIONS
    for section in sections:
        for name, figure in section.figures.items():
            layout = json.loads(figure.to_json())["layout"]
            titles = [axis.get("title", {}).get("text") for key, axis in layout.items() if key[1:5] == "axis"]
            assert any(titles), name
            assert len(plotly.io.from_json(figure.to_json()).data) > 0, name
    json.dumps(section_views(sections), allow_nan=False)
    assert section_views(section_views(sections)) == section_views(sections)


def test_what_a_model_does_not_have_is_left_out(small_run):
    nothing = ("gross_equity", "cost_curve", "importance", "attribution", "feature_drift", "prediction_drift")
    bare = results_of(
        small_run,
        "ridge",
        **dict.fromkeys(nothing),
        learning_curve=None,
        trades=made_up_trades(pd.DatetimeIndex([]), 0),
    )
    assert [section.title for section in model_sections(bare)] == ["Account", "Luck", "Predictions", "Where it works"]
    assert model_doubts(bare, {}) == []


def test_a_policy_shows_what_it_does_and_has_no_calibration(small_run):
    said = small_run.predictions["ridge"]
    positions = said.assign(prediction=np.sign(said["prediction"]).clip(lower=0.0), kind="position")
    sections = {s.title: s for s in model_sections(results_of(small_run, "ridge", predictions=positions))}
    assert "Calibration" not in sections["Predictions"].figures
    mix = sections["Learning"].figures["Action mix"]
    assert [trace.name for trace in mix.data] == ["long", "flat"]
    np.testing.assert_allclose(np.sum([trace.y for trace in mix.data], axis=0), 100.0, rtol=1e-5)


def test_an_ensemble_shows_its_members_and_a_tuned_model_its_trials(small_run):
    members = {
        "ridge": {"weight": 0.75, "ic_before": 0.05, "ic": 0.03},
        "lstm": {"weight": 0.25, "ic_before": 0.1, "ic": 0.0},
    }
    drawn = small_run.figures["ic_decay"]
    results = results_of(small_run, "ridge", members=members, slice_figure=drawn, option_figure=drawn)
    sections = {section.title: section for section in model_sections(results)}
    assert sections["Members"].tables[0].data.to_dict("records")[1] == {
        "member": "lstm", "weight": 0.25, "ic_before": 0.1, "ic": 0.0,
    }  # fmt: skip
    assert list(sections["Tuning"].figures) == ["Trials by option", "Options that matter"]


def test_doubts_name_what_speaks_against_the_claim(small_run):
    verdict = small_run.verdicts["ridge"] | {"beta": 0.8}
    results = results_of(small_run, "ridge", verdict=verdict)
    doubts = " ".join(model_doubts(results, {"rank_ic_seed_mean": 0.02, "rank_ic_seed_std": 0.03}))
    for words in ("beta is 0.80", "At 2 times the assumed costs", "0.0200 ± 0.0300", "in fold 1 (0.30)"):
        assert words in doubts
    assert "rank correlation" not in doubts
    shuffled = results.attribution.assign(share=np.random.default_rng(0).random(90))
    unsteady = results_of(small_run, "ridge", attribution=shuffled)
    assert "rests on other features" in " ".join(model_doubts(unsteady, {}))


def test_drawdowns_are_those_worked_out_by_hand():
    dates = pd.date_range("2024-01-01", periods=7, freq="D", tz="UTC")
    table = drawdown_table(
        pd.DataFrame({"date": dates, "equity": [900.0, 1000.0, 1200.0, 600.0, 1200.0, 1100.0, 1150.0]}),
        starting_balance=1000.0,
    )
    assert table["depth (%)"].tolist() == [-50.0, -10.0, -8.33]
    assert table["from"].tolist() == [dates[2], dates[0], dates[4]]
    assert table["lowest"].tolist() == [dates[3], dates[0], dates[5]]
    assert table["recovered"].tolist()[:2] == [dates[4], dates[1]]
    assert pd.isna(table["recovered"].iloc[2])
    assert table["days"].tolist() == [2.0, 1.0, 2.0]


def test_trades_are_summed_by_pair():
    trades = pd.DataFrame(
        {
            "pair": ["A", "A", "B"],
            "profit_abs": [3.0, -1.0, 5.0],
            "profit_ratio": [0.03, -0.01, 0.05],
            "trade_duration": 60,
        }
    )
    table = trade_table(trades, "pair").set_index("pair")
    assert table.index.tolist() == ["B", "A"]
    assert table.loc["A"].to_dict() == {
        "trades": 2, "won (%)": 50.0, "mean profit (%)": 1.0, "mean hours": 1.0, "profit": 2.0,
    }  # fmt: skip


def test_a_forecast_that_is_right_lies_on_the_line_and_one_twice_too_bold_below(small_run):
    labels = small_run.labels
    truth = labels["return_1"].fillna(0.0).to_numpy()
    noise = np.random.default_rng(0).normal(0.0, 0.004, len(truth))
    outcome = labels.assign(return_1=truth + noise)
    said = small_run.predictions["ridge"]
    for bold, slope in ((1.0, 1.0), (2.0, 0.5)):
        table = calibration_table(said.assign(prediction=bold * truth), outcome, 1, demeaned=False)
        assert len(table) == 10
        assert table["rows"].sum() == len(said)
        assert np.polyfit(table["predicted"], table["realised"], 1)[0] == pytest.approx(slope, abs=0.03)
        assert (
            (table["low"] < slope * table["predicted"]) & (slope * table["predicted"] < table["high"])
        ).mean() >= 0.7


def test_folds_that_rank_alike_are_stable_and_folds_that_rank_in_reverse_are_not():
    def table(*ranks):
        parts = [pd.DataFrame({"fold": f, "feature": list("abcd"), "share": r}) for f, r in enumerate(ranks)]
        return pd.concat(parts).assign(method="shap")

    same = importance_stability(table([4, 3, 2, 1], [40, 30, 20, 10]), None).iloc[0]
    assert same["mean rank correlation"] == 1.0
    assert same["shared top 10"] == 4
    reverse = importance_stability(table([4, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1]), None).iloc[0]
    assert reverse["mean rank correlation"] == pytest.approx(-1.0 / 3.0, abs=1e-3)
    assert reverse["lowest"] == -1.0
    alone = importance_stability(table([4, 3, 2, 1]), None).iloc[0]
    assert np.isnan(alone["mean rank correlation"])


def test_five_years_of_hours_of_eight_pairs_and_nine_models_stay_below_eight_megabytes(evaluated):
    run = evaluated(n_dates=24 * 365 * 5, n_pairs=8, weights={"m0": 0.9})
    names = [f"m{number}" for number in range(9)]
    many = pd.concat([run.equity[run.equity["model"] == "m0"].assign(model=name) for name in names])
    rest = run.equity[run.equity["model"].isin(("buy_and_hold", "always_flat"))]
    figures = run.figures | {
        "equity": equity_figure(pd.concat([many, rest]), starting_balance=BALANCE),
        "ic": ic_figure(dict.fromkeys(names, ic_series(run.predictions["m0"], run.labels, 1))),
    }
    row = run.leaderboard[run.leaderboard["model"] == "m0"]
    page = section_views(model_sections(results_of(run, "m0", trades=made_up_trades(run.dates, 20_000))))
    files = render_report(
        leaderboard=pd.concat([row.assign(model=name) for name in names]),
        verdicts=dict.fromkeys(names, run.verdicts["m0"]),
        run={},
        figures=figures,
        model_sections=dict.fromkeys(names, page),
    )
    sizes = {name: len(text.encode()) for name, text in files.items()}
    assert len(sizes) == 11
    assert sum(sizes.values()) < 8_000_000, sizes
