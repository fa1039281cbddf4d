import numpy as np
import pandas as pd
import pytest

from agent_market.evaluation import luck_section, profit_by_part, weigh_evidence


@pytest.fixture
def run():
    """Two models over 120 days, `good` with skill; what the section is made of."""
    rng = np.random.default_rng(1)
    days = pd.date_range("2024-01-01", periods=120, tz="UTC")
    benchmark = pd.Series(rng.normal(0.0, 0.02, 120), index=days)
    returns = {"good": 0.5 * benchmark + rng.normal(0.006, 0.01, 120), "bad": -0.002 + 0.0 * benchmark}
    trades = pd.DataFrame({"pair": ["A/USDT", "B/USDT"], "open_date": days[:2], "profit_abs": [900.0, -10.0]})
    folds = pd.DataFrame({"fold": [0], "test_start": days[:1], "test_end": days[-1:]})
    parts = []
    for model, series in returns.items():
        equity = pd.DataFrame({"date": days, "equity": 1000.0 * (1.0 + series.to_numpy()).cumprod()})
        own = trades if model == "good" else trades.iloc[:0]
        parts.append(profit_by_part(own, equity, folds, starting_balance=1000.0).assign(model=model))
    found = weigh_evidence(returns, benchmark, {"good": 5, "bad": 1}, repetitions=300)
    return found, pd.concat(parts, ignore_index=True), {"good": 0.00123, "bad": None}


def test_the_section_says_what_was_tried_and_how_likely_the_best_is_luck(run):
    section = luck_section(*run)
    assert section.text[0] == "120 days, 2 models, 6 trials in all, tuning counted."
    assert "the best of them, good, would look as good with a chance of" in section.text[1]
    assert section.text[-1].startswith("Probability of backtest overfitting: < 0.1 %")


def test_each_model_has_its_row_and_a_dash_where_it_has_no_figure(run):
    ratios, even = (table.data.set_index("model") for table in luck_section(*run).tables)
    assert ratios.loc["good", "break-even cost per side"] == "0.123 %"
    assert ratios.loc["bad", ["break-even cost per side", "days needed"]].tolist() == ["–", "never"]
    assert ratios.loc["good", "trials"] == 5
    assert even.loc["good", "pairs up"] == "50 %"
    assert even.loc["good", "without the best pair"].endswith("% (A/USDT)")
    assert even.loc["bad", "without the best pair"] == "–"
    assert even.loc["bad", "months up"] == "0 %"


def test_one_model_for_a_few_days_has_counts_only():
    days = pd.date_range("2024-01-01", periods=10, tz="UTC")
    flat = pd.Series(0.0, index=days)
    equity = pd.DataFrame({"date": days, "equity": 1000.0})
    trades = pd.DataFrame({"pair": [], "open_date": days[:0], "profit_abs": []})
    folds = pd.DataFrame({"fold": [0], "test_start": days[:1], "test_end": days[-1:]})
    parts = profit_by_part(trades, equity, folds, starting_balance=1000.0).assign(model="one")
    section = luck_section(weigh_evidence({"one": flat}, flat, {"one": 1}), parts, {"one": None})
    assert section.text == ["10 days, 1 model, 1 trial in all, tuning counted."]
    assert section.tables[0].data.loc[0, "PSR"] == "–"
