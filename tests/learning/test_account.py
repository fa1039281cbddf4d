import numpy as np
import pandas as pd
import pytest

from agent_market.learning.account import account_policy
from agent_market.trading.env import EnvOptions
from panels import random_candles, scramble_after

ENV = EnvOptions(trading_mode="futures", fee=0.001, slippage=0.0)
HOUR = pd.Timedelta("1h")


def predictions_of(candles: pd.DataFrame, n_folds: int = 2, seed: int = 0) -> pd.DataFrame:
    """Random positions of two seeds, and as their vote those of the first, in candles 100 to 299."""
    rng = np.random.default_rng(seed)
    number = candles.groupby("pair", observed=True).cumcount()
    table = candles.loc[(number >= 100) & (number < 300), ["pair", "date"]].reset_index(drop=True)
    for name in ("prediction_seed0", "prediction_seed1"):
        table[name] = np.repeat(rng.choice([-1.0, 0.0, 1.0], len(table) // 4), 4)
    since = (table["date"] - table["date"].min()) // HOUR
    return table.assign(prediction=table["prediction_seed0"], fold=since * n_folds // 200, kind="position")


@pytest.fixture
def candles() -> pd.DataFrame:
    return random_candles(n_pairs=2)


def account(candles, predictions, **changes):
    return account_policy(predictions, candles, ENV, **{"cost_factor": 2.0, "timeframe": "1h"} | changes)


def test_one_trade_earns_what_can_be_worked_out_by_hand(candles):
    predictions = predictions_of(candles, n_folds=1)
    first = (predictions["pair"] == "AA/USDT") & (predictions["date"] == predictions["date"].min())
    hold = first | first.shift(1, fill_value=False)
    predictions = predictions.assign(prediction=hold.astype(float)).drop(
        columns=["prediction_seed0", "prediction_seed1"]
    )
    found = account(candles, predictions)
    opens = candles["open"].to_numpy()
    bought, sold = opens[101], opens[103]
    row = found.intervals.set_index("seed").loc["ensemble"]
    assert row["net"] == pytest.approx(np.log(sold / bought * 0.999 - 0.001) / 2, abs=1e-12)
    assert row["net_raised_costs"] == pytest.approx(np.log(sold / bought * 0.998 - 0.002) / 2, abs=1e-12)
    assert row["entries"] == 1
    assert row["exposure"] == pytest.approx(2 / 400)
    assert found.positions.sum() == 2
    assert found.returns[0, 0] == pytest.approx(opens[102] / opens[101] - 1)


def test_windows_and_seeds_are_counted_one_by_one(candles):
    predictions = predictions_of(candles)
    found = account(candles, predictions)
    table = found.intervals.set_index(["fold", "seed"])
    assert set(table.index) == {(fold, seed) for fold in (0, 1) for seed in ("seed0", "seed1", "ensemble")}
    for fold in (0, 1):
        assert table.loc[(fold, "ensemble")].equals(table.loc[(fold, "seed0")])
        assert table.loc[(fold, "seed0"), "net"] != table.loc[(fold, "seed1"), "net"]
        dates = predictions.loc[predictions["fold"] == fold, "date"]
        assert (table.loc[(fold, "ensemble"), "start"], table.loc[(fold, "ensemble"), "end"]) == (
            dates.min(),
            dates.max(),
        )
    assert (table["net_raised_costs"] < table["net"]).all()
    assert found.net.sum() == pytest.approx(table.xs("ensemble", level="seed")["net"].sum())
    one = account(candles, predictions[predictions["pair"] == "AA/USDT"]).net
    other = account(candles, predictions[predictions["pair"] == "BB/USDT"]).net
    np.testing.assert_allclose(found.net, (one + other) / 2, atol=1e-14)


def test_a_hole_in_the_candles_ends_what_is_held_and_earns_nothing(candles):
    hole = (candles["pair"] == "AA/USDT") & candles["date"].between(candles["date"][150], candles["date"][160])
    predictions = predictions_of(candles).assign(prediction=1.0)
    kept = candles[~hole].reset_index(drop=True)
    found = account(kept, predictions.merge(kept[["pair", "date"]], on=["pair", "date"]))
    at_hole = (found.net.index >= candles["date"][150]) & (found.net.index <= candles["date"][160])
    assert (found.positions[0, at_hole] == 0).all()
    assert (found.returns[0, at_hole] == 0).all()
    assert np.isfinite(found.net).all()


def test_what_was_earned_up_to_a_date_does_not_know_what_comes_later(candles):
    predictions, cut = predictions_of(candles), candles["date"][200]
    before, after = (account(table, predictions).net for table in (candles, scramble_after(candles, cut)))
    known = before.index <= cut - 2 * HOUR  # a decision earns until the open after the next
    assert before[known].equals(after[known])
    assert not np.allclose(before[~known], after[~known])


def test_what_only_trains_is_left_out(candles):
    predictions = predictions_of(candles)
    costly = ENV.model_copy(update={"cost_multiplier": 5.0, "drawdown_penalty": 1.0, "window": 7})
    again = account_policy(predictions, candles, costly, cost_factor=2.0, timeframe="1h")
    assert again.net.equals(account(candles, predictions).net)
