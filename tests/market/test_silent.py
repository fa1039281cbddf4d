import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError
from agent_market.market import clean_candles, simulate
from agent_market.market.options import MarketOptions
from agent_market.market.silent import silent_twin

OPTIONS = MarketOptions(n_pairs=3, n_candles=3000, seed=5, signal_strength=0.1)


@pytest.fixture(scope="module")
def real():
    """A market with a short gap that is filled, a long one that is not, and a pair that is listed later."""
    raw = simulate(OPTIONS)
    at = raw.groupby("pair", observed=True).cumcount()
    gone = (raw["pair"] == "BTC/USDT") & (at.between(100, 103) | at.between(500, 600))
    gone |= (raw["pair"] == "SIM01/USDT") & (at < 1000)
    candles, _ = clean_candles(raw[~gone].reset_index(drop=True), OPTIONS)
    assert candles["filled"].sum() == 4
    return candles


def returns(candles, pair):
    own = candles[(candles["pair"] == pair) & ~candles.get("filled", pd.Series(False, candles.index))]
    return (own["close"] / own["open"] - 1.0).to_numpy()


def test_the_twin_cleaned_has_the_same_rows_and_the_same_candles_filled(real):
    raw = silent_twin(real, seed=1)
    candles, _ = clean_candles(raw, OPTIONS)
    pd.testing.assert_frame_equal(candles[["pair", "date", "filled"]], real[["pair", "date", "filled"]])
    assert (raw["high"] >= raw[["open", "close"]].max(axis=1)).all()
    assert (raw["low"] <= raw[["open", "close"]].min(axis=1)).all()


def test_each_pair_has_its_volatility_its_first_price_and_its_volume(real):
    raw = silent_twin(real, seed=1)
    for pair in real["pair"].cat.categories:
        mine, theirs = raw[raw["pair"] == pair], real[(real["pair"] == pair) & ~real["filled"]]
        assert mine["open"].iloc[0] == pytest.approx(theirs["open"].iloc[0])
        assert np.std(returns(raw, pair)) == pytest.approx(np.std(returns(real, pair)), rel=1e-9)
        assert mine["volume"].median() == pytest.approx(theirs["volume"].median(), rel=0.05)


def test_candles_follow_one_another_and_nothing_of_the_real_path_is_left(real):
    raw = silent_twin(real, seed=1)
    own = raw[raw["pair"] == "ETH/USDT"]
    assert own["open"].to_numpy()[1:] == pytest.approx(own["close"].to_numpy()[:-1])
    assert abs(np.corrcoef(returns(raw, "ETH/USDT"), returns(real, "ETH/USDT"))[0, 1]) < 0.08


def test_the_planted_signal_is_not_in_the_twin(real):
    # The wicks of a candle foretell the next one in the model, and must not in the twin.
    def foretold(candles):
        own = candles[candles["pair"] == "ETH/USDT"]
        body = own[["open", "close"]]
        lower, upper = body.min(axis=1) - own["low"], own["high"] - body.max(axis=1)
        hint = ((lower - upper) / (lower + upper)).to_numpy()
        return np.corrcoef(hint[:-1], (own["close"] / own["open"] - 1.0).to_numpy()[1:])[0, 1]

    assert foretold(real) > 0.06
    assert np.mean([foretold(silent_twin(real, seed=seed)) for seed in range(4)]) == pytest.approx(0.0, abs=0.03)


def test_same_seed_same_market(real):
    first, again, other = (silent_twin(real, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["close"] != other["close"]).mean() > 0.99


def test_one_candle_is_no_market(real):
    with pytest.raises(DataError, match="1 candles"):
        silent_twin(real.iloc[:1], seed=0)
