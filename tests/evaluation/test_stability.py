import numpy as np
import pandas as pd
import pytest

from agent_market.evaluation import profit_by_part, stability_metrics


@pytest.fixture
def account():
    """90 days, 1 % a day in January, nothing in February, -1 % a day in March; two pairs, one of them earned all."""
    days = pd.date_range("2024-01-01", periods=90, tz="UTC")
    steps = np.select([days.month == 1, days.month == 2], [0.01, 0.0], -0.01)
    equity = pd.DataFrame({"date": days, "equity": 1000.0 * np.cumprod(1.0 + steps)})
    trades = pd.DataFrame(
        {
            "pair": pd.Categorical(["A/USDT", "B/USDT", "A/USDT"]),
            "open_date": days[[3, 10, 20]] + pd.Timedelta("5h"),
            "profit_abs": [150.0, -80.0, 20.0],
        }
    )
    folds = pd.DataFrame({"fold": [0, 1], "test_start": days[[0, 45]], "test_end": [days[45], days[-1]]})
    return trades, equity, folds


def test_parts_have_what_their_days_brought(account):
    trades, equity, folds = account
    parts = profit_by_part(trades, equity, folds, starting_balance=1000.0).set_index(["part", "name"])
    months = parts.loc["month", "net_return"]
    assert months["2024-01"] == pytest.approx(1.01**31 - 1)
    assert months["2024-02"] == pytest.approx(0.0, abs=1e-12)
    assert months["2024-03"] == pytest.approx(0.99**30 - 1)
    assert parts.loc[("month", "2024-01"), "return_without"] == pytest.approx(0.99**30 - 1)
    assert parts.loc[("third", "1"), "net_return"] == pytest.approx(1.01**30 - 1)
    assert parts.loc[("fold", "0"), "net_return"] == pytest.approx(1.01**31 - 1)
    assert parts.loc[("fold", "1"), "net_return"] == pytest.approx(0.99**30 - 1)
    total = equity["equity"].iloc[-1] / 1000.0 - 1.0
    for part in ("third", "month", "fold"):
        assert np.prod(1 + parts.loc[part, "net_return"]) - 1 == pytest.approx(total), part


def test_pairs_have_the_profit_of_their_trades(account):
    trades, equity, folds = account
    parts = profit_by_part(trades, equity, folds, starting_balance=1000.0)
    pairs = parts[parts["part"] == "pair"].set_index("name")
    assert pairs["net_return"].to_dict() == pytest.approx({"A/USDT": 0.17, "B/USDT": -0.08})
    total = equity["equity"].iloc[-1] / 1000.0 - 1.0
    assert pairs["return_without"].to_dict() == pytest.approx({"A/USDT": total - 0.17, "B/USDT": total + 0.08})


def test_what_rests_on_one_part_is_seen(account):
    trades, equity, folds = account
    even = stability_metrics(profit_by_part(trades, equity, folds, starting_balance=1000.0))
    assert even["months_positive"] == pytest.approx(1 / 3)
    assert (even["best_month"], even["best_pair"]) == ("2024-01", "A/USDT")
    assert even["best_month_share"] == pytest.approx(31 * np.log(1.01) / (31 * np.log(1.01) + 30 * np.log(0.99)))
    assert even["best_pair_share"] == pytest.approx(0.17 / 0.09)
    assert even["pairs_positive"] == 0.5


def test_a_loss_has_no_best_share_and_no_trades_have_no_pairs(account):
    trades, equity, folds = account
    parts = profit_by_part(trades.iloc[:0], equity.iloc[45:], folds, starting_balance=1400.0)
    even = stability_metrics(parts)
    assert even["best_month_share"] is None
    assert even["months_positive"] == 0.0
    assert even["best_pair"] is None
