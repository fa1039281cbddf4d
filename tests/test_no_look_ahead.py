"""From candles to equity: what comes after a date changes nothing up to that date."""

import numpy as np
import pandas as pd
import pytest

from agent_market import trading
from agent_market.factors import compute_factors
from agent_market.market import clean_candles, simulate
from agent_market.market.options import MarketOptions
from chain import run_chain
from panels import scramble_after

OPTIONS = MarketOptions(n_pairs=4, n_candles=24 * 140, seed=3, signal_strength=0.05)
CANDLES, _ = clean_candles(simulate(OPTIONS), OPTIONS)
CUT = pd.Timestamp("2023-04-25 07:00", tz="UTC")  # inside the second test window
# What an exchange says of its pairs is no market data: it is the same before and after.
MARKETS = trading.snapshot_markets(CANDLES, fee=0.001, trading_mode="spot")


def _until_cut(outcome):
    closed = outcome.trades[outcome.trades["close_date"] <= CUT].reset_index(drop=True)
    tables = {
        name: getattr(outcome, name)[lambda table: table["date"] <= CUT].reset_index(drop=True)
        for name in ("features", "predictions", "positions", "equity")
    }
    known = outcome.labels[outcome.labels["label_end_12"] <= CUT]
    return tables | {"trades": closed, "labels": known.filter(regex="pair|date|_12$").reset_index(drop=True)}


@pytest.fixture(scope="module", params=[{"adapter": "sklearn"}, {"adapter": "lightgbm", "n_estimators": 40}])
def before(request):
    return request.param, run_chain(CANDLES, request.param, markets=MARKETS)


def test_nothing_up_to_a_date_depends_on_later_candles(before):
    model, outcome = before
    changed = run_chain(scramble_after(CANDLES, CUT), model, markets=MARKETS)
    assert len(outcome.folds) == 2
    assert outcome.folds["test_start"].iloc[1] < CUT < outcome.folds["test_end"].iloc[1]
    expected, found = _until_cut(outcome), _until_cut(changed)
    assert len(expected["trades"]) > 20
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, check_exact=True, check_categorical=False, obj=name)
    after = outcome.predictions["date"] > CUT
    assert not np.allclose(outcome.predictions.loc[after, "prediction"], changed.predictions.loc[after, "prediction"])


def test_the_check_above_would_catch_a_factor_that_looks_ahead():
    def leaking(candles, factors, *, timeframe):
        features = compute_factors(candles, factors, timeframe=timeframe)
        ahead = candles.groupby("pair", observed=True)["close"].shift(-1) / candles["close"] - 1
        return features.assign(momentum_1=ahead.fillna(0).astype("float32"))

    runs = [
        _until_cut(run_chain(candles, {"adapter": "sklearn"}, markets=MARKETS, features=leaking))
        for candles in (CANDLES, scramble_after(CANDLES, CUT))
    ]
    assert not runs[0]["features"].equals(runs[1]["features"])
    assert not runs[0]["predictions"].equals(runs[1]["predictions"])
