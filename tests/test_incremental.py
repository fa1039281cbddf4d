"""A run a day later asks the exchange for that day, and computes its rows alone."""

import numpy as np
import pandas as pd
import pytest

from agent_market.datasets import PanelDataset
from agent_market.factors import store
from agent_market.factors.options import FeatureOptions
from agent_market.market import MarketOptions
from agent_market.pipelines.data_engineering.nodes import clean_candles, fetch_candles
from agent_market.pipelines.feature_store.nodes import build_features, select_factors
from agent_market.testing import FakeBinance
from exchanges import hourly

PAIRS = ("BTC/USDT", "ETH/USDT", "XRP/USDT")
N_CANDLES, DAY = 2000, 24
LOOK_BACK = 168
"""Candles before its own that a factor of the set `basic` reads at most, where it forgets at all."""


@pytest.fixture
def read(monkeypatch):
    """How many candles the factor engine is given in each call."""
    calls = []
    original = store._compute_piece

    def spy(candles, *others):
        calls.append(len(candles))
        return original(candles, *others)

    monkeypatch.setattr(store, "_compute_piece", spy)
    return calls


def run(market: MarketOptions, folder, features: FeatureOptions) -> pd.DataFrame:
    """The nodes that make features of an exchange's candles, as a run has them, with the table that is stored."""
    candles, _ = clean_candles(fetch_candles(market), market)
    stored = PanelDataset(filepath=str(folder), load_args={"lazy": True, "optional": True}).load()
    factors = select_factors(features, None)
    table = PanelDataset(filepath=str(folder))
    table.save(build_features(candles, factors, stored, features, market))
    return table.load()


def test_a_day_later_only_that_day_is_downloaded_and_computed(tmp_path, read, caplog):
    caplog.set_level("INFO")
    begin = pd.Timestamp.now("UTC").floor("h") - (N_CANDLES + DAY) * pd.Timedelta("1h")
    frames = {
        (pair, "1h", "spot"): hourly(N_CANDLES + DAY + 5, start=str(begin.tz_localize(None)), seed=number)
        for number, pair in enumerate(PAIRS)
    }
    features = FeatureOptions()
    with FakeBinance(frames, now=begin + (N_CANDLES + 0.5) * pd.Timedelta("1h")) as fake:
        market = MarketOptions(
            source="exchange",
            pairs=PAIRS,
            start=str(begin),
            datadir=str(tmp_path / "binance"),
            exchange_options=fake.exchange_options("spot"),
        )
        first = run(market, tmp_path / "features", features)
        rows_first = len(first)
        assert rows_first == N_CANDLES * len(PAIRS)
        read.clear()
        fake.requests.clear()

        fake.now = None  # a day has passed
        second = run(market, tmp_path / "features", features)
        n_read = sum(read)
        asked = [request for request in fake.requests if "klines" in request]
    n_new = len(second) - rows_first
    assert n_new in (DAY * len(PAIRS), (DAY + 1) * len(PAIRS))  # the hour may have turned meanwhile
    last = int((begin + (N_CANDLES - 1) * pd.Timedelta("1h")).timestamp() * 1000)
    assert [f"startTime={last}" in request for request in asked] == [True] * len(PAIRS), "one request each, from there"

    assert f"{rows_first} of {len(second)} rows of features are kept" in caplog.text
    # Averages that never forget (ema) go through all candles, as before; the others through a week before the new ones.
    assert n_read == len(second) + n_new + LOOK_BACK * len(PAIRS)
    anew = run(market.model_copy(update={"offline": True}), tmp_path / "anew", features)
    pd.testing.assert_frame_equal(second, anew, check_exact=True)
    assert np.array_equal(
        second.drop(columns=["pair", "date"]).to_numpy().view(np.uint32),
        anew.drop(columns=["pair", "date"]).to_numpy().view(np.uint32),
    )
