"""A network through the export: it looks back over windows of candles, and its arithmetic is float32."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agent_market import trading
from agent_market.live import LiveSignals, export_user_data, load_traded_model, save_traded_model
from agent_market.testing.fake_binance import FakeBinance
from causality import assert_causal
from exported import assert_same_trades, python, trades_in
from panels import scramble_after
from traded_models import frames_until, pipeline_signals, walked

HOUR = pd.Timedelta(hours=1)


@pytest.fixture(scope="module")
def chain(raw, market):
    return walked(raw, market, "lstm")


def assert_same_predictions(found, expected):
    """Candle for candle and fold for fold, to float32 rounding of the largest."""
    both = expected.merge(found, on=["pair", "date"], suffixes=("", "_live"))
    assert len(both) == len(expected)
    np.testing.assert_array_equal(both["fold"], both["fold_live"])
    rounding = 8 * np.finfo("float32").eps * expected["prediction"].abs().max()
    np.testing.assert_allclose(both["prediction_live"], both["prediction"], rtol=0, atol=rounding)


def test_predictions_of_the_stored_network_equal_the_pipelines_candle_for_candle(chain, tmp_path):
    save_traded_model(chain.traded, tmp_path / "one")
    again = load_traded_model(tmp_path / "one")
    found = again.predict(again.features(again.clean(chain.raw)))
    assert len(chain.predictions) > 1000
    assert chain.predictions["prediction"].std() > 0
    assert_same_predictions(found, chain.predictions)
    wrong = found.assign(prediction=found["prediction"] * (1 + 1e-4))
    with pytest.raises(AssertionError):
        assert_same_predictions(wrong, chain.predictions)


def test_candle_by_candle_it_foretells_what_it_foretells_at_once(chain):
    dates, signals = np.sort(chain.raw["date"].unique()), chain.traded.signals(chain.raw)
    entered = signals["date"][signals["enter_long"]].to_numpy()
    begin = np.searchsorted(dates, entered[len(entered) // 2]) - 8
    live, first, last = LiveSignals(chain.traded, history=500), dates[begin], dates[begin + 15]
    for date in dates[begin : begin + 16]:
        assert live.update(frames_until(chain.raw, date), now=date + 2 * HOUR)
    raw = chain.raw[chain.raw["date"] <= last]
    whole = chain.traded.predict(chain.traded.features(chain.traded.clean(raw)))
    whole = whole[whole["date"].between(first, last)]
    assert len(whole) > 45
    assert_same_predictions(live._predictions, whole)
    found, expected = (
        signals[signals["date"].between(first, last)].astype({"pair": "str"}).reset_index(drop=True)
        for signals in (live.signals, chain.traded.signals(raw))
    )
    assert expected["enter_long"].any()
    pd.testing.assert_frame_equal(found, expected)


def test_what_it_foretells_does_not_depend_on_what_comes_later_and_does_on_what_came_before(chain):
    def foretell(raw):
        return chain.traded.predict(chain.traded.features(chain.traded.clean(raw)))

    cut = chain.candles["date"].max() - 40 * HOUR
    before, after = foretell(chain.raw), foretell(scramble_after(chain.raw, cut))
    early = before["date"] <= cut
    assert_same_predictions(after[after["date"] <= cut], before[early])
    assert not np.allclose(after["prediction"][~early], before["prediction"][~early], rtol=1e-3)
    assert_causal(chain.traded.signals, chain.raw, cuts=(0.9,))


@pytest.mark.slow
def test_freqtrade_run_by_a_user_makes_the_pipelines_trades(chain, tmp_path):
    candles, traded = chain.candles, chain.traded
    markets = trading.snapshot_markets(candles, fee=0.001, trading_mode="spot")
    frames = {(str(pair), "1h", "spot"): rows.drop(columns="pair") for pair, rows in candles.groupby("pair")}
    folder = tmp_path / "user_data"
    with FakeBinance(frames, now=candles["date"].max()) as fake:
        market = traded.market.model_copy(update={"exchange_options": fake.exchange_options()})
        its = replace(traded, market=market)
        export_user_data(folder, its, candles=candles, predictions=chain.predictions, markets=markets)
        command = ("backtesting", "--userdir", "user_data", "--config", "user_data/config.json", "--cache", "none")
        run = python("-m", "freqtrade", *command, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    expected = trading.simulate(
        candles, pipeline_signals(chain), markets, traded.backtest, timeframe="1h", trading_mode="spot"
    )
    assert_same_trades(trades_in(folder), expected.trades)
